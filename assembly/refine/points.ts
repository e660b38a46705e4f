// The codes of a row of grid points with error feedback. Vectors of p weights go from left to right: each takes the point nearest to
//   t_k + Σ_{j<k} e_j U_jk,  e_j = t_j − q_j
// Then sweeps go over all of them again: with f = e H, a change d of a vector's errors changes the loss e H eᵀ by 2 f·d + d H_bb dᵀ. The
// point nearest to where its diagonal has the minimum is tried, and taken if the loss falls.

import { nearest1 } from '../line';
import { nearest2 } from '../plane';
import { rowsOf, rowStride } from '../rows';
import { nearest3, nearest4 } from '../space';

/** What a change must gain of what it costs alone: roundings gain less. */
const LEAST: f32 = 0.000001;

// Workspace: what the search for a point reads and writes.
const VECTOR: usize = 0; // 64 f32, zeros behind the vector
const CODE: usize = 256; // 16 u16
const SCRATCH: usize = 320; // that of nearest2
const ROWS: usize = SCRATCH + 4160;

/** Bytes of workspace of a row of `cols`. */
export function refinePointsBytes(cols: usize): usize {
  return ROWS + 2 * ((cols + 64) << 2);
}

function nearestOne(work: usize, p: usize, table: usize, n: usize): u32 {
  const z = work + VECTOR;
  const code = work + CODE;
  if (p == 1) nearest1(z, 1, table, n, code);
  else if (p == 2) nearest2(z, 1, table, n, code, work + SCRATCH);
  else if (p == 3) nearest3(z, 1, table, n, code);
  else nearest4(z, 1, table, n, code);
  return load<u16>(code);
}

// y += factor · x, elements `first` to `end`.
function add(y: usize, factor: f32, x: usize, first: usize, end: usize): void {
  const f = f32x4.splat(factor);
  let k = first;
  for (; k + 4 <= end; k += 4) {
    const at = y + (k << 2);
    v128.store(at, f32x4.add(v128.load(at), f32x4.mul(f, v128.load(x + (k << 2)))));
  }
  for (; k < end; k++) store<f32>(y + (k << 2), load<f32>(y + (k << 2)) + factor * load<f32>(x + (k << 2)));
}

/**
 * Codes of a row to `codes`, u16, what they stand for to `values`, and what each missed of its target to `missed`, f32 of unit RMS.
 * `z`: rotated weights of unit RMS, 64 zeros behind. `fed`, `inverses`, `sigmas`: as of refineSequence. `rows`: of each column where its row of U
 * stands, as if from column 0 on; `begins`, `ends`: the columns of its part. `squares`: as `rows`, of H. `values` has room for 4 more.
 */
export function refinePoints(
  cols: usize, z: usize, fed: usize, inverses: usize, sigmas: usize,
  rows: usize, squares: usize, begins: usize, ends: usize, table: usize, p: usize, n: usize, sweeps: usize,
  codes: usize, values: usize, missed: usize, work: usize,
): void {
  const own = work + ROWS;
  const slopes = own + ((cols + 64) << 2);
  const points = rowsOf(table);
  const stride = rowStride(p);
  memory.fill(work, 0, SCRATCH);
  for (let k: usize = 0; k < cols << 2; k += 4) {
    store<f32>(own + k, load<f32>(z + k) + load<f32>(fed + k) * load<f32>(inverses + k));
  }
  for (let k: usize = 0, v = codes; k < cols; k += p, v += 2) {
    const count = min(p, cols - k);
    for (let i: usize = 0; i < p; i++) {
      const at = (k + i) << 2;
      store<f32>(work + (i << 2), i < count ? load<f32>(z + at) + load<f32>(fed + at) * load<f32>(inverses + at) : 0);
    }
    const code = nearestOne(work, p, table, n);
    store<u16>(v, <u16>code);
    const point = points + <usize>code * stride;
    for (let i: usize = 0; i < count; i++) {
      const at = (k + i) << 2;
      const value = load<f32>(point + (i << 2));
      store<f32>(values + at, value);
      store<f32>(missed + at, load<f32>(work + (i << 2)) - value);
    }
    for (let i: usize = 0; i < count; i++) {
      const at = (k + i) << 2;
      const e = load<f32>(sigmas + at) * (load<f32>(own + at) - load<f32>(values + at));
      add(fed, e, <usize>load<u32>(rows + at), k + i + 1, <usize>load<u32>(ends + at));
    }
  }
  if (sweeps == 0) return;
  memory.fill(slopes, 0, cols << 2);
  for (let k: usize = 0; k < cols; k++) {
    const at = k << 2;
    const e = load<f32>(sigmas + at) * (load<f32>(own + at) - load<f32>(values + at));
    add(slopes, e, <usize>load<u32>(squares + at), <usize>load<u32>(begins + at), <usize>load<u32>(ends + at));
  }
  for (; sweeps > 0; sweeps--) {
    for (let k: usize = 0, v = codes; k < cols; k += p, v += 2) {
      sweepOne(k, min(p, cols - k), slopes, inverses, sigmas, squares, begins, ends, table, p, n, v, values, work);
    }
  }
  // What is missed of a target after the sweeps: with the errors before it fed back anew.
  memory.fill(slopes, 0, cols << 2);
  for (let k: usize = 0; k < cols; k++) {
    const at = k << 2;
    const distance = load<f32>(own + at) - load<f32>(values + at);
    store<f32>(missed + at, distance + load<f32>(slopes + at) * load<f32>(inverses + at));
    const e = load<f32>(sigmas + at) * distance;
    add(slopes, e, <usize>load<u32>(rows + at), k + 1, <usize>load<u32>(ends + at));
  }
}

// Tries another point for the vector at column `k`.
function sweepOne(
  k: usize, count: usize, slopes: usize, inverses: usize, sigmas: usize,
  squares: usize, begins: usize, ends: usize, table: usize, p: usize, n: usize,
  v: usize, values: usize, work: usize,
): void {
  for (let i: usize = 0; i < p; i++) {
    let x: f32 = 0;
    const at = (k + i) << 2;
    if (i < count) {
      const h = load<f32>(<usize>load<u32>(squares + at) + at);
      x = load<f32>(values + at) + load<f32>(slopes + at) / h * load<f32>(inverses + at);
    }
    store<f32>(work + (i << 2), x);
  }
  const code = nearestOne(work, p, table, n);
  if (code == load<u16>(v)) return;
  const point = rowsOf(table) + <usize>code * rowStride(p);
  let change: f32 = 0;
  let alone: f32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const at = (k + i) << 2;
    const d = load<f32>(sigmas + at) * (load<f32>(values + at) - load<f32>(point + (i << 2)));
    store<f32>(work + 16 + (i << 2), d);
    const row = <usize>load<u32>(squares + at);
    let sum: f32 = 0;
    for (let j: usize = 0; j < i; j++) {
      const other = (k + j) << 2;
      if (<usize>load<u32>(begins + at) <= k + j) sum += load<f32>(work + 16 + (j << 2)) * load<f32>(row + other);
    }
    alone += d * (d * load<f32>(row + at) + 2 * sum);
    change += 2 * d * load<f32>(slopes + at);
  }
  if (!(change + alone < -LEAST * alone)) return;
  store<u16>(v, <u16>code);
  for (let i: usize = 0; i < count; i++) {
    const at = (k + i) << 2;
    store<f32>(values + at, load<f32>(point + (i << 2)));
    const d = load<f32>(work + 16 + (i << 2));
    add(slopes, d, <usize>load<u32>(squares + at), <usize>load<u32>(begins + at), <usize>load<u32>(ends + at));
  }
}
