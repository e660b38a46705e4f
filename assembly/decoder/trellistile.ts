// A band of a trellis' codes to four rows of a tile, for products with several activations.

import { narrowBytes } from './activation';
import { turn } from './band';
import { first2, high, integers, lastOf, low } from './indices';
import { TILE_STRIDE } from './tile';

// The indices of eight steps, 16 bytes each, to `to`; that of the step before stands in front of it.
// @ts-ignore: decorator
@inline
function indices(at: usize, bits: u32, to: usize): void {
  if (bits == 2) {
    for (const end = at + 32; at < end; at += 16, to += 64) {
      const v = v128.load(at);
      v128.store(to, first2(v128.load(to - 16), v));
      v128.store(to, low(v), 16);
      v128.store(to, low(i16x8.shr_u(v, 2)), 32);
      v128.store(to, high(v), 48);
    }
    return;
  }
  for (let k: usize = 0; k < 3; k++) {
    const v = v128.load(at + (k << 4));
    v128.store(to + (k << 5), low(v));
    v128.store(to + (k << 5), high(v), 16);
  }
  const last = lastOf(at, bits);
  v128.store(to, low(last), 96);
  v128.store(to, high(last), 112);
}

/** Decodes `count` columns of a band, and up to 31 more, to a tile as nibbleRow does. `block` holds 416 bytes. */
export function trellisRows(
  at: usize, before: usize, values: usize, bits: u32, tile: usize, count: usize, block: usize,
): void {
  const t0 = v128.load(values);
  const t1 = v128.load(values, 16);
  const t2 = v128.load(values, 32);
  const steps = block + 32;
  const u = steps + 128;
  const rows = u + 128;
  const last = lastOf(before, bits);
  v128.store(steps, low(last), 96);
  v128.store(steps, high(last), 112);
  for (const end = tile + narrowBytes(count); tile < end; tile += narrowBytes(32), at += bits << 4) {
    v128.store(block, v128.load(steps, 96));
    v128.store(block, v128.load(steps, 112), 16);
    indices(at, bits, steps);
    let before2 = v128.load(block);
    let before1 = v128.load(block, 16);
    for (let k: usize = 0; k < 128; k += 32) {
      const n0 = v128.load(steps + k);
      const n1 = v128.load(steps + k, 16);
      v128.store(u + k, integers(n0, before1, before2, t0, t1, t2, 3));
      v128.store(u + k, integers(n1, n0, before1, t0, t1, t2, 3), 16);
      before2 = n0;
      before1 = n1;
    }
    turn(u, rows);
    for (let row: usize = 0; row < 4; row++) {
      const to = tile + row * TILE_STRIDE;
      const even = v128.load(rows + (row << 5));
      const odd = v128.load(rows + (row << 5), 16);
      v128.store(to, even);
      if (ASC_FEATURE_RELAXED_SIMD) {
        v128.store(to, odd, 16);
      } else {
        v128.store(to, i16x8.shr_u(even, 8), 16);
        v128.store(to, odd, 32);
        v128.store(to, i16x8.shr_u(odd, 8), 48);
      }
    }
  }
}
