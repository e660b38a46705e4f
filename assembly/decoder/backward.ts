// Gradients of a decoder's layers with respect to their inputs; those of weights are never formed. A vector of gradients is named for
// the value that it belongs to, with a d before it.
//   y = (x · r) ∘ w:      dx = r · g - x · (r³ · Σ g x / cols),  g = w ∘ dy,  r = 1 / √(Σ x² / cols + ε)
//   h = silu(g) ∘ u:      du = dh · g s,  dg = (dh · u) · s (1 + g (1 - s)),  s = 1 / (1 + e^-g)
//   h = gelu(g) ∘ u:      du = dh · g s,  dg = (dh · u) · s (1 + g z' (1 - s)),  s = 1 / (1 + e^-z),  z' = c₁ + 3 c₃ g²  (gate.ts)
//   h = (u + 1) ∘ g s (gate.ts):     du = dh · g s,  dg = dh (u + 1) · s (1 + α g (1 - s)),  s = 1 / (1 + e^-αg);  0 beyond the limits
//   p = softmax(s), y = Σ p_t v_t:    dv_t += p_t dy,  dp_t = dy · v_t,  ds_t = p_t (dp_t - Σ p dp), times 1 - (s / c)² behind a cap

import { widen, weightBytes } from '../float';
import { lowest } from './attention';
import { ALPHA, GELU_1, GELU_3, LIMIT, softCap, storeUpTo4 } from './gate';
import { exp4 } from './math';
import { mixWide } from './mix';
import { softmax } from './softmax';
import { inner } from './sums';

/** Rows and columns of W that are widened at a time, and then meet all vectors. */
const TILE: usize = 64;
const TILE_BYTES: usize = TILE << 2;

// y += Σ_t d_t · w_t for two vectors: `rows` rows of a tile, in order, `cols` columns. Both vectors may be the same.
// @ts-ignore: decorator
@inline
function addRows(d: usize, e: usize, tile: usize, rows: usize, cols: usize, y: usize, z: usize): void {
  let i: usize = 0;
  for (; i + 16 <= cols; i += 16) {
    const at = i << 2;
    let y0 = v128.load(y + at);
    let y1 = v128.load(y + at, 16);
    let y2 = v128.load(y + at, 32);
    let y3 = v128.load(y + at, 48);
    let z0 = v128.load(z + at);
    let z1 = v128.load(z + at, 16);
    let z2 = v128.load(z + at, 32);
    let z3 = v128.load(z + at, 48);
    let w = tile + at;
    for (let t: usize = 0; t < rows << 2; t += 4, w += TILE_BYTES) {
      const a = v128.load32_splat(d + t);
      const b = v128.load32_splat(e + t);
      const w0 = v128.load(w);
      y0 = f32x4.add(y0, f32x4.mul(a, w0));
      z0 = f32x4.add(z0, f32x4.mul(b, w0));
      const w1 = v128.load(w, 16);
      y1 = f32x4.add(y1, f32x4.mul(a, w1));
      z1 = f32x4.add(z1, f32x4.mul(b, w1));
      const w2 = v128.load(w, 32);
      y2 = f32x4.add(y2, f32x4.mul(a, w2));
      z2 = f32x4.add(z2, f32x4.mul(b, w2));
      const w3 = v128.load(w, 48);
      y3 = f32x4.add(y3, f32x4.mul(a, w3));
      z3 = f32x4.add(z3, f32x4.mul(b, w3));
    }
    v128.store(y + at, y0);
    v128.store(y + at, y1, 16);
    v128.store(y + at, y2, 32);
    v128.store(y + at, y3, 48);
    v128.store(z + at, z0);
    v128.store(z + at, z1, 16);
    v128.store(z + at, z2, 32);
    v128.store(z + at, z3, 48);
  }
  for (; i < cols; i++) {
    let a = load<f32>(y + (i << 2));
    let b = load<f32>(z + (i << 2));
    for (let t: usize = 0; t < rows; t++) {
      const w = load<f32>(tile + t * TILE_BYTES + (i << 2));
      a += load<f32>(d + (t << 2)) * w;
      b += load<f32>(e + (t << 2)) * w;
    }
    store<f32>(y + (i << 2), a);
    store<f32>(z + (i << 2), b);
  }
}

/**
 * y += Wᵀ d for `count` vectors, rows in ascending order: `w` is the first of `cols` columns of (rows, stride) of `dtype`, `d`
 * (count, dStride) f32, `y` (count, yStride). `scratch` holds 64 · 64 f32.
 */
export function addTransposed(
  w: usize, dtype: u32, rows: usize, cols: usize, stride: usize, d: usize, count: usize, dStride: usize, y: usize, yStride: usize,
  scratch: usize,
): void {
  const width = weightBytes(dtype);
  for (let c: usize = 0; c < cols; c += TILE) {
    const some = min(TILE, cols - c);
    for (let r: usize = 0; r < rows; r += TILE) {
      const deep = min(TILE, rows - r);
      for (let t: usize = 0; t < deep; t++) {
        widen(w + ((r + t) * stride + c) * width, dtype, 0, some, scratch + t * TILE_BYTES);
      }
      for (let j: usize = 0; j < count; j += 2) {
        const next = min(j + 1, count - 1); // beyond the last vector, the last again
        const from = d + (r << 2);
        const to = y + (c << 2);
        addRows(
          from + ((j * dStride) << 2), from + ((next * dStride) << 2), scratch, deep, some,
          to + ((j * yStride) << 2), to + ((next * yStride) << 2),
        );
      }
    }
  }
}

/** Gradients `d` behind `rmsNorm` of `count` vectors `x` of `cols` f32 become those before it, in place; `weights` 0 for ones. */
export function rmsNormBack(x: usize, weights: usize, d: usize, count: usize, cols: usize, epsilon: f32): void {
  for (; count > 0; count--) {
    const r: f32 = <f32>1 / sqrt<f32>(inner(x, x, cols) / <f32>cols + epsilon);
    let i: usize = 0;
    if (weights) {
      for (; i + 4 <= cols; i += 4) {
        const at = d + (i << 2);
        v128.store(at, f32x4.mul(v128.load(at), v128.load(weights + (i << 2))));
      }
      for (; i < cols; i++) store<f32>(d + (i << 2), load<f32>(d + (i << 2)) * load<f32>(weights + (i << 2)));
    }
    const k: f32 = r * r * r * (inner(d, x, cols) / <f32>cols);
    const factor = f32x4.splat(r);
    const along = f32x4.splat(k);
    for (i = 0; i + 4 <= cols; i += 4) {
      const at = d + (i << 2);
      const straight = f32x4.mul(factor, v128.load(at));
      v128.store(at, f32x4.sub(straight, f32x4.mul(along, v128.load(x + (i << 2)))));
    }
    for (; i < cols; i++) {
      store<f32>(d + (i << 2), r * load<f32>(d + (i << 2)) - k * load<f32>(x + (i << 2)));
    }
    x += cols << 2;
    d += cols << 2;
  }
}

/**
 * Gradients `d` of silu(gate) ∘ up to those of the gate, in place, and of `up`, to `dUp`: `count` f32. All are read up to the next
 * multiple of four.
 */
export function siluTimesBack(gate: usize, up: usize, d: usize, dUp: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, up += 16, d += 16, dUp += 16) {
    const g = v128.load(gate);
    const dh = v128.load(d);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(g))));
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(g, f32x4.sub(one, s))));
    const a = f32x4.mul(f32x4.mul(dh, v128.load(up)), slope);
    const b = f32x4.mul(dh, f32x4.mul(g, s));
    storeUpTo4(d, a, count);
    storeUpTo4(dUp, b, count);
    count -= min<usize>(count, 4);
  }
}

/** As siluTimesBack, of gelu(gate) ∘ up. */
export function geluTimesBack(gate: usize, up: usize, d: usize, dUp: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, up += 16, d += 16, dUp += 16) {
    const g = v128.load(gate);
    const dh = v128.load(d);
    const cubic = f32x4.mul(f32x4.splat(GELU_3), f32x4.mul(g, g));
    const z = f32x4.mul(g, f32x4.add(f32x4.splat(GELU_1), cubic));
    const steep = f32x4.add(f32x4.splat(GELU_1), f32x4.mul(f32x4.splat(3), cubic));
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(z))));
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(f32x4.mul(g, steep), f32x4.sub(one, s))));
    storeUpTo4(d, f32x4.mul(f32x4.mul(dh, v128.load(up)), slope), count);
    storeUpTo4(dUp, f32x4.mul(dh, f32x4.mul(g, s)), count);
    count -= min<usize>(count, 4);
  }
}

/**
 * Gradients `d` of clampedGate, `count` f32, to those of its pairs g, u at `x`, to `dx`. `d` is read up to the next multiple of four, `x` of
 * four pairs.
 */
export function clampedGateBack(x: usize, d: usize, dx: usize, count: usize): void {
  const one = f32x4.splat(1);
  const alpha = f32x4.splat(ALPHA);
  const limit = f32x4.splat(LIMIT);
  const least = f32x4.neg(limit);
  for (; count > 0; x += 32, d += 16, dx += 32) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const gates = v128.shuffle<i32>(a, b, 0, 2, 4, 6);
    const ups = v128.shuffle<i32>(a, b, 1, 3, 5, 7);
    const g = f32x4.min(gates, limit);
    const u = f32x4.max(f32x4.min(ups, limit), least);
    const dh = v128.load(d);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(f32x4.mul(g, alpha)))));
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(f32x4.mul(alpha, g), f32x4.sub(one, s))));
    const dg = v128.and(f32x4.mul(f32x4.mul(dh, f32x4.add(u, one)), slope), f32x4.le(gates, limit));
    const inside = v128.and(f32x4.le(ups, limit), f32x4.ge(ups, least));
    const du = v128.and(f32x4.mul(dh, f32x4.mul(g, s)), inside);
    storeUpTo4(dx, v128.shuffle<i32>(dg, du, 0, 4, 1, 5), count << 1);
    if (count > 2) storeUpTo4(dx + 16, v128.shuffle<i32>(dg, du, 2, 6, 3, 7), (count - 2) << 1);
    count -= min<usize>(count, 4);
  }
}

/** Gradients `d` of max(x, 0)² to those of `x`, `count` f32, in place. Both are read up to the next multiple of four. */
export function reluSquaredBack(x: usize, d: usize, count: usize): void {
  const two = f32x4.splat(2);
  for (; count > 0; x += 16, d += 16) {
    const slope = f32x4.mul(two, f32x4.max(v128.load(x), f32x4.splat(0)));
    storeUpTo4(d, f32x4.mul(v128.load(d), slope), count);
    count -= min<usize>(count, 4);
  }
}

// y += a · x, `count` f32.
// @ts-ignore: decorator
@inline
function addScaled(a: f32, x: usize, count: usize, y: usize): void {
  const factor = f32x4.splat(a);
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) {
    const at = y + (i << 2);
    v128.store(at, f32x4.add(v128.load(at), f32x4.mul(factor, v128.load(x + (i << 2)))));
  }
  for (; i < count; i++) store<f32>(y + (i << 2), load<f32>(y + (i << 2)) + a * load<f32>(x + (i << 2)));
}

/**
 * Gradients of `attend` from position 0 on. `q`, `dy` and `dq` are the first of `heads` heads of the first token, the next token is `stride`
 * f32 further; `keys` and `values` are (tokens, dim) f32; rows of `dk` and `dv` are `kvStride` f32 apart. A token sees `window`
 * positions; 0 for all. `cap` is that of scores, 0 for none. `sinks` are (heads), 0 for none. `scratch` holds 3 · (tokens + 4) f32.
 */
export function attendBack(
  q: usize, dy: usize, dq: usize, tokens: usize, heads: usize, stride: usize, dim: usize, keys: usize, values: usize, dk: usize,
  dv: usize, kvStride: usize, window: usize, scale: f32, cap: f32, sinks: usize, scratch: usize,
): void {
  const p = scratch;
  const ds = scratch + ((tokens + 4) << 2);
  const capped = ds + ((tokens + 4) << 2);
  for (let t: usize = 0; t < tokens; t++) {
    memory.fill(dk + ((t * kvStride) << 2), 0, dim << 2);
    memory.fill(dv + ((t * kvStride) << 2), 0, dim << 2);
  }
  for (let t: usize = 0; t < tokens; t++) {
    const low = lowest(t, window);
    const count = t + 1 - low;
    const k = keys + ((low * dim) << 2);
    const v = values + ((low * dim) << 2);
    for (let h: usize = 0; h < heads; h++) {
      const at = (t * stride + h * dim) << 2;
      for (let i: usize = 0; i < count; i++) {
        store<f32>(p + (i << 2), inner(q + at, k + ((i * dim) << 2), dim) * scale);
      }
      if (cap > 0) {
        softCap(p, cap, count);
        memory.copy(capped, p, count << 2);
      }
      if (sinks) store<f32>(p + (count << 2), load<f32>(sinks + (h << 2)));
      softmax(p, count + (sinks ? 1 : 0));
      for (let i: usize = 0; i < count; i++) store<f32>(ds + (i << 2), inner(dy + at, v + ((i * dim) << 2), dim));
      const mean = inner(p, ds, count);
      for (let i: usize = 0; i < count; i++) {
        const weight = load<f32>(p + (i << 2));
        let slope = weight * (load<f32>(ds + (i << 2)) - mean) * scale;
        if (cap > 0) {
          const part = load<f32>(capped + (i << 2)) / cap;
          slope *= <f32>1 - part * part;
        }
        store<f32>(ds + (i << 2), slope);
        addScaled(slope, q + at, dim, dk + (((low + i) * kvStride) << 2));
        addScaled(weight, dy + at, dim, dv + (((low + i) * kvStride) << 2));
      }
      memory.fill(dq + at, 0, dim << 2);
      mixWide(ds, k, dim << 2, count, dim, dq + at);
    }
  }
}
