// Causal attention of the query heads that share one head of keys and values:
//   s_t = (q · k_t) · scale, or the soft cap of that,  p = softmax(s),  y = Σ_t p_t v_t in ascending t
// A row is one query head of one token. Rows are worked on in tiles, keys and values in blocks of 32, which are widened to f32 once
// for all rows of a tile; neither changes a bit.

import { f16ToF32 } from '../float';
import { softCap } from './gate';
import { softmax } from './softmax';
import { inner } from './sums';

const BLOCK: usize = 32;

// Address of `count` cache rows as f32: widened to `scratch`, or where they are.
// @ts-ignore: decorator
@inline
function wide(cache: usize, start: usize, count: usize, dim: usize, narrow: i32, scratch: usize): usize {
  if (!narrow) return cache + ((start * dim) << 2);
  f16ToF32(cache + ((start * dim) << 1), scratch, count * dim);
  return scratch;
}

// y += Σ p_t v_t over `count` rows of `dim` f32 at `v`, in order.
// @ts-ignore: decorator
@inline
export function accumulate(p: usize, v: usize, count: usize, dim: usize, y: usize): void {
  const stride = dim << 2;
  let i: usize = 0;
  for (; i + 16 <= dim; i += 16) {
    const at = y + (i << 2);
    let a = v128.load(at);
    let b = v128.load(at, 16);
    let c = v128.load(at, 32);
    let d = v128.load(at, 48);
    let row = v + (i << 2);
    for (let t: usize = 0; t < count; t++, row += stride) {
      const weight = v128.load32_splat(p + (t << 2));
      a = f32x4.add(a, f32x4.mul(weight, v128.load(row)));
      b = f32x4.add(b, f32x4.mul(weight, v128.load(row, 16)));
      c = f32x4.add(c, f32x4.mul(weight, v128.load(row, 32)));
      d = f32x4.add(d, f32x4.mul(weight, v128.load(row, 48)));
    }
    v128.store(at, a);
    v128.store(at, b, 16);
    v128.store(at, c, 32);
    v128.store(at, d, 48);
  }
  for (; i < dim; i++) {
    let a = load<f32>(y + (i << 2));
    for (let t: usize = 0; t < count; t++) a += load<f32>(p + (t << 2)) * load<f32>(v + t * stride + (i << 2));
    store<f32>(y + (i << 2), a);
  }
}

/**
 * Attends with `heads` query heads of `tokens` tokens, the first at position `first`. `q` and `y` are the first of these heads
 * of the first token; a token is `stride` f32 further, a head `dim`. `keys` and `values` are (positions, dim), f16 if `narrow`, else
 * f32. A token sees `window` positions, itself among them; 0 for all. `cap` is that of scores, 0 for none. `sinks` are (heads), 0 for none. `scratch` holds `tile` rows of `span` scores, `span` at least
 * `first + tokens + 4`, as softmax runs over, and 32 · dim f32.
 */
export function attend(
  q: usize, y: usize, tokens: usize, heads: usize, stride: usize, dim: usize, keys: usize, values: usize, narrow: i32,
  first: usize, window: usize, scale: f32, cap: f32, sinks: usize, tile: usize, span: usize, scratch: usize,
): void {
  const widened = scratch + ((tile * span) << 2);
  const rows = tokens * heads;
  for (let r0: usize = 0; r0 < rows; r0 += tile) {
    const r1 = min(r0 + tile, rows);
    const low = lowest(first + r0 / heads, window);
    const high = first + (r1 - 1) / heads + 1;
    for (let t0 = low; t0 < high; t0 += BLOCK) {
      const t1 = min(t0 + BLOCK, high);
      const k = wide(keys, t0, t1 - t0, dim, narrow, widened);
      for (let r = r0; r < r1; r++) {
        const position = first + r / heads;
        const query = q + (((r / heads) * stride + (r % heads) * dim) << 2);
        const scores = scratch + (((r - r0) * span) << 2);
        const end = min(t1, position + 1);
        for (let t = max(t0, lowest(position, window)); t < end; t++) {
          store<f32>(scores + ((t - low) << 2), inner(query, k + (((t - t0) * dim) << 2), dim) * scale);
        }
      }
    }
    for (let r = r0; r < r1; r++) {
      const position = first + r / heads;
      const start = lowest(position, window);
      const scores = scratch + (((r - r0) * span + start - low) << 2);
      if (cap > 0) softCap(scores, cap, position + 1 - start);
      // A sink is a score behind the others, of which no value is taken.
      if (sinks) store<f32>(scores + ((position + 1 - start) << 2), load<f32>(sinks + ((r % heads) << 2)));
      softmax(scores, position + 1 - start + (sinks ? 1 : 0));
      memory.fill(y + (((r / heads) * stride + (r % heads) * dim) << 2), 0, dim << 2);
    }
    for (let t0 = low; t0 < high; t0 += BLOCK) {
      const t1 = min(t0 + BLOCK, high);
      const v = wide(values, t0, t1 - t0, dim, narrow, widened);
      for (let r = r0; r < r1; r++) {
        const position = first + r / heads;
        const start = max(t0, lowest(position, window));
        const end = min(t1, position + 1);
        if (start >= end) continue;
        const scores = scratch + (((r - r0) * span + start - low) << 2);
        const at = y + (((r / heads) * stride + (r % heads) * dim) << 2);
        accumulate(scores, v + (((start - t0) * dim) << 2), end - start, dim, at);
      }
    }
  }
}

// The first position that one at `position` sees.
// @ts-ignore: decorator
@inline
export function lowest(position: usize, window: usize): usize {
  return window == 0 || position < window ? 0 : position + 1 - window;
}
