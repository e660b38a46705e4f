// What encoding takes on this machine: a block of seeded weights for each grid of a plan, on all workers at once. Reading and writing are
// left out, which go on meanwhile.

import { uniform } from '../numerics/random.ts';
import type { Pool } from '../workers/pool.ts';
import { matrixOf, type QuantizedTensor } from './format.ts';
import type { Plan } from './plan.ts';

/** Weights of a block that is timed. */
const SAMPLE = 1 << 18;
/** Runs on every worker of which the fastest counts; the first makes tables. */
const RUNS = 3;

/** @returns seconds that the workers of a pool take to encode a plan's weights */
export async function encodingSeconds(plan: Plan, pool: Pool, scaleSearch: boolean): Promise<number> {
  const kinds = new Map<string, { sample: QuantizedTensor; weights: number }>();
  for (const item of plan.items) {
    if (item.kind !== 'quantize') continue;
    const { rows, cols, scheme } = item.quantized;
    const key = `${scheme.grid.name} ${scheme.groupSize} ${cols}`;
    const kind = kinds.get(key) ?? { sample: item.quantized, weights: 0 };
    kind.weights += rows * cols;
    kinds.set(key, kind);
  }
  let seconds = 0;
  for (const { sample, weights } of kinds.values()) {
    const rows = Math.ceil(SAMPLE / sample.cols);
    const bytes = sampleOf(rows * sample.cols);
    const matrix = matrixOf(sample, rows);
    const encode = () =>
      pool.run({
        kind: 'encode',
        matrix,
        weights: { bytes: bytes.slice(), dtype: 'BF16' },
        options: { firstRow: 0, scaleSearch },
      });
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run++) {
      const began = performance.now();
      await Promise.all(Array.from({ length: pool.size }, encode));
      best = Math.min(best, performance.now() - began);
    }
    seconds += ((best / 1000) * weights) / (pool.size * rows * sample.cols);
  }
  return seconds;
}

// Bell-shaped, as weights are: the search takes other ways through zeros.
function sampleOf(count: number): Uint8Array<ArrayBuffer> {
  const next = uniform(0);
  const values = Float32Array.from({ length: count }, () => (next() + next() + next() - 1.5) / 16);
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
}
