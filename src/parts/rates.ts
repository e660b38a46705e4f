// What quantizing takes of one core, to divide work by: only ratios count. Measured by `npm run bench -- encode` and by whole checkpoints
// (bench/RESULTS.md, "Encoding"), on a 2.2 GHz core. A machine with other ratios divides less evenly, and writes the same bytes.

import { type Grid, isTrellis } from '../grids/grid.ts';
import type { PlanItem } from '../quantize/plan.ts';

/** Million weights a second, by grid. */
const RATES: Readonly<Record<string, number>> = {
  ...{ p1n4: 390, p1n8: 450, p1n16: 540, p1n32: 255, p1n64: 265, p1n256: 250 },
  ...{ p2n16: 320, p2n64: 285, p2n256: 273, p2n1024: 215 },
  ...{ p3n512: 39, p3n4096: 25, p4n256: 52, p4n1024: 33, p4n4096: 16 },
  ...{ t2: 56, t2q: 56, t2c: 150, t3: 37, t3c: 84, t3f: 180, t3z: 17 },
  ...{ t4: 71, t4c: 59, t4f: 158, t4q: 21, t4x: 38, t4z: 16 },
  ...{ t5: 32, t5z: 15, t6: 24, t6z: 13 },
};
/** Of a grid that somebody made: trellises as `t4`, points as those of three and four dimensions, by their number. */
const TRELLIS_RATE = 71;
const POINTS_RATE = 20_000;
/** Five scales are tried for each group, and one is taken. */
const SEARCHES = 6;
/** Seconds to read or write a byte, checksums counted. */
const BYTE_SECONDS = 1.2e-9;

/** Predicted seconds of one core. */
export function itemSeconds(item: PlanItem, scaleSearch: boolean): number {
  if (item.kind === 'grid') return 0;
  const { byteLength } = item.tensor.encoded ?? item.tensor;
  if (item.kind === 'copy') return 2 * byteLength * BYTE_SECONDS;
  const { rows, cols, scheme } = item.quantized;
  const moved = byteLength + (rows * cols * scheme.grid.bits) / (8 * scheme.grid.p);
  return (rows * cols * (scaleSearch ? SEARCHES : 1)) / (rateOf(scheme.grid) * 1e6) + moved * BYTE_SECONDS;
}

function rateOf(grid: Grid): number {
  return RATES[grid.name] ?? (isTrellis(grid) ? TRELLIS_RATE : POINTS_RATE / grid.n);
}
