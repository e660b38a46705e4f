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

/** Rows of a matrix that is timed with error feedback: the difference of two tells what a row takes, and what the matrix. */
const REFINED_ROWS = [32, 96] as const;
/** Widest matrix that is timed; wider ones take in proportion. */
const REFINED_COLS = 1024;

/**
 * What refining takes: of each kind of matrix a part is refined, whose inputs correlate a little.
 * @param hasOutputs whether gradients of outputs count, too
 * @returns seconds that the workers of a pool take
 */
export async function refiningSeconds(plan: Plan, pool: Pool, hasOutputs: boolean): Promise<number> {
  const kinds = new Map<string, { sample: QuantizedTensor; all: QuantizedTensor[] }>();
  for (const item of plan.items) {
    if (item.kind !== 'quantize') continue;
    const { cols, scheme } = item.quantized;
    const key = `${scheme.grid.name} ${scheme.groupSize} ${Math.min(cols, REFINED_COLS)}`;
    const kind = kinds.get(key) ?? { sample: item.quantized, all: [] };
    kind.all.push(item.quantized);
    kinds.set(key, kind);
  }
  let seconds = 0;
  for (const { sample, all } of kinds.values()) {
    const cols = Math.min(sample.cols, REFINED_COLS);
    const times: number[] = [];
    for (const rows of [REFINED_ROWS[0], ...REFINED_ROWS]) {
      const began = performance.now();
      await pool.run({
        kind: 'refine',
        matrix: { ...matrixOf(sample, rows), cols },
        weights: { bytes: sampleOf(rows * cols), dtype: 'BF16' },
        weighing: { inputs: [correlated(cols)], damping: 0.1, outputDamping: 0.1 },
      });
      times.push((performance.now() - began) / 1000);
    }
    const [, few, many] = times; // the first makes tables
    const row = Math.max(0, many - few) / (REFINED_ROWS[1] - REFINED_ROWS[0]);
    const factors = Math.max(0, few - REFINED_ROWS[0] * row);
    // A matrix takes cols³ / 3 for its factors; sums over rows in f32 take half as long for each product.
    const product = (3 * factors) / cols ** 3;
    for (const matrix of all) {
      const wide = matrix.cols / cols;
      seconds += factors * wide ** 2 + matrix.rows * row * wide;
      if (hasOutputs && matrix.rows <= 2 * matrix.cols)
        seconds += (matrix.rows ** 3 / 3 + (matrix.rows ** 2 * matrix.cols) / 4) * product;
    }
  }
  return seconds / pool.size;
}

function correlated(n: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n * n }, (_, i) => 0.5 ** Math.abs(Math.floor(i / n) - (i % n)));
}

// Bell-shaped, as weights are: the search takes other ways through zeros.
function sampleOf(count: number): Uint8Array<ArrayBuffer> {
  const next = uniform(0);
  const values = Float32Array.from({ length: count }, () => (next() + next() + next() - 1.5) / 16);
  return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16).buffer);
}
