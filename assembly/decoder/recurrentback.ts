// Gradients of what recurrent.ts does, and of gates, as backward.ts has those of other layers. Of a causal convolution there is nothing
// here: it is `convolve` itself, with tokens in opposite order.
//   y = x r f,  r = 1 / √(Σ x² + ε):       dx = f r (dy - x r² Σ dy x)
//   d = e^(-e^rate softplus(a + bias)):    da = -dd · d e^rate / (1 + e^-(a + bias))
//   b = 1 / (1 + e^-x):                    dx = db · b (1 - b)
//   delta rule, R = S e^g;  m = kᵀ R;  r = v - m;  δ = r β;  S' = R + k δᵀ;  y = qᵀ S', from the last token to the first:
//     dS' += q dyᵀ;  dq = S' dy;  dδ = dS'ᵀ k;  dβ = dδ · r;  dv = β dδ = -dm
//     dk = dS' δ + R dm;  dR = dS' + k dmᵀ;  d(e^g) = Σ dR ∘ S;  dS = e^g dR
// Columns of S do not meet: four go through all tokens, then the next four. Their states are kept, one for each token.

import { loadTail } from '../lanes';
import { storeUpTo4 } from './gate';
import { exp4 } from './math';
import { inner } from './sums';

/** Gradients `d` of silu(x) to those of `x`, `count` f32, in place. Both are read up to the next multiple of four. */
export function siluBack(x: usize, d: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; x += 16, d += 16) {
    const v = v128.load(x);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(v))));
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(v, f32x4.sub(one, s))));
    storeUpTo4(d, f32x4.mul(v128.load(d), slope), count);
    count -= min<usize>(count, 4);
  }
}

/**
 * Gradients `d` of x / (1 + e^-gate) to those of `x`, in place, and of `gate`, to `dGate`: `count` f32. All are read up to the next
 * multiple of four.
 */
export function sigmoidTimesBack(x: usize, gate: usize, d: usize, dGate: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; x += 16, gate += 16, d += 16, dGate += 16) {
    const dy = v128.load(d);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(v128.load(gate)))));
    const slope = f32x4.mul(s, f32x4.sub(one, s));
    const b = f32x4.mul(f32x4.mul(dy, v128.load(x)), slope);
    storeUpTo4(d, f32x4.mul(dy, s), count);
    storeUpTo4(dGate, b, count);
    count -= min<usize>(count, 4);
  }
}

/** Gradients `d` behind `unitNorm` of `count` vectors `x` of `cols` f32, one after the other, become those before it, in place. */
export function unitNormBack(x: usize, d: usize, count: usize, cols: usize, epsilon: f32, factor: f32): void {
  for (; count > 0; count--, x += cols << 2, d += cols << 2) {
    const r: f32 = <f32>1 / sqrt<f32>(inner(x, x, cols) + epsilon);
    const f: f32 = r * factor;
    const k: f32 = f * (r * r) * inner(d, x, cols);
    for (let i: usize = 0; i < cols; i++) {
      const at = d + (i << 2);
      store<f32>(at, f * load<f32>(at) - k * load<f32>(x + (i << 2)));
    }
  }
}

/**
 * Gradients of one token's `heads` decays and betas, which `deltaGates` made, to those of what it made them of, in place; `a` is that
 * of decays. All are read up to the next multiple of four.
 */
export function deltaGatesBack(
  a: usize, rate: usize, bias: usize, decay: usize, beta: usize, dDecay: usize, dBeta: usize, heads: usize,
): void {
  const one = f32x4.splat(1);
  for (let h: usize = 0; h < heads; h += 4) {
    const at = h << 2;
    const count = heads - h;
    const sum = f32x4.add(v128.load(a + at), v128.load(bias + at));
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(sum))));
    const slope = f32x4.mul(f32x4.mul(v128.load(decay + at), exp4(v128.load(rate + at))), s);
    const b = v128.load(beta + at);
    storeUpTo4(dDecay + at, f32x4.neg(f32x4.mul(v128.load(dDecay + at), slope)), count);
    storeUpTo4(dBeta + at, f32x4.mul(v128.load(dBeta + at), f32x4.mul(b, f32x4.sub(one, b))), count);
  }
}

// @ts-ignore: decorator
@inline
function loadUpTo4(x: usize, count: usize): v128 {
  return count >= 4 ? v128.load(x) : loadTail(x, count);
}

// Σ of four lanes: (0 + 2) + (1 + 3).
// @ts-ignore: decorator
@inline
function lanes(v: v128): f32 {
  const two = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(two, 0) + f32x4.extract_lane(two, 1);
}

// The same of four vectors.
// @ts-ignore: decorator
@inline
function lanes4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}

// @ts-ignore: decorator
@inline
function addLanes(y: usize, v: v128): void {
  store<f32>(y, load<f32>(y) + lanes(v));
}

/**
 * What `deltaBack` needs of up to four `columns` of one head, as `deltaRule` makes it of `tokens` from 0s on: S before each token and
 * behind the last, (tokens + 1, keys, 4), then v - m, (tokens, 4), to `kept`. Lanes beyond the columns are 0s.
 */
export function deltaStates(
  k: usize, v: usize, stride: usize, decay: usize, beta: usize, gateStride: usize, tokens: usize, keys: usize, columns: usize,
  kept: usize,
): void {
  const size = keys << 4;
  memory.fill(kept, 0, size);
  let rests = kept + (tokens + 1) * size;
  let at = kept;
  for (let t: usize = 0; t < tokens; t++, rests += 16) {
    const key = k + ((t * stride) << 2);
    const d = v128.load32_splat(decay + ((t * gateStride) << 2));
    let m = f32x4.splat(0);
    for (let i: usize = 0; i < keys; i++) {
      m = f32x4.add(m, f32x4.mul(f32x4.mul(v128.load(at + (i << 4)), d), v128.load32_splat(key + (i << 2))));
    }
    const rest = f32x4.sub(loadUpTo4(v + ((t * stride) << 2), columns), m);
    v128.store(rests, rest);
    const delta = f32x4.mul(rest, v128.load32_splat(beta + ((t * gateStride) << 2)));
    for (let i: usize = 0; i < keys; i++, at += 16) {
      const s = f32x4.add(f32x4.mul(v128.load(at), d), f32x4.mul(v128.load32_splat(key + (i << 2)), delta));
      v128.store(at + size, s);
    }
  }
}

/**
 * Gradients of the delta rule by those of these columns of its outputs, `dy`, a token `yStride` f32 further: added to `dq`, `dk`,
 * `dDecay` and `dBeta`, and written to `dv`. All lie as what they belong to does. `kept` is by `deltaStates`; `ds` holds (keys, 4) f32.
 */
export function deltaBack(
  q: usize, k: usize, stride: usize, decay: usize, beta: usize, gateStride: usize, tokens: usize, keys: usize, columns: usize,
  kept: usize, dy: usize, yStride: usize, dq: usize, dk: usize, dv: usize, dDecay: usize, dBeta: usize, ds: usize,
): void {
  const size = keys << 4;
  const rests = kept + (tokens + 1) * size;
  memory.fill(ds, 0, size);
  for (let t = tokens; t-- > 0; ) {
    const token = (t * stride) << 2;
    const gate = (t * gateStride) << 2;
    const d = v128.load32_splat(decay + gate);
    const b = v128.load32_splat(beta + gate);
    const out = loadUpTo4(dy + ((t * yStride) << 2), columns);
    const rest = v128.load(rests + (t << 4));
    const delta = f32x4.mul(rest, b);
    let dDelta = f32x4.splat(0);
    for (let i: usize = 0; i < keys; i++) {
      const at = ds + (i << 4);
      const own = f32x4.add(v128.load(at), f32x4.mul(v128.load32_splat(q + token + (i << 2)), out));
      v128.store(at, own);
      dDelta = f32x4.add(dDelta, f32x4.mul(own, v128.load32_splat(k + token + (i << 2))));
    }
    addLanes(dBeta + gate, f32x4.mul(dDelta, rest));
    const dValue = f32x4.mul(dDelta, b);
    storeUpTo4(dv + token, dValue, columns);
    const dm = f32x4.neg(dValue);
    let dd = f32x4.splat(0);
    let before = kept + t * size;
    let own = ds;
    let i: usize = 0;
    for (; i + 4 <= keys; i += 4, before += 64, own += 64) {
      const s0 = v128.load(before);
      const s1 = v128.load(before, 16);
      const s2 = v128.load(before, 32);
      const s3 = v128.load(before, 48);
      const e0 = v128.load(own);
      const e1 = v128.load(own, 16);
      const e2 = v128.load(own, 32);
      const e3 = v128.load(own, 48);
      const behind = before + size;
      const query = dq + token + (i << 2);
      const seen = lanes4(
        f32x4.mul(v128.load(behind), out), f32x4.mul(v128.load(behind, 16), out), f32x4.mul(v128.load(behind, 32), out),
        f32x4.mul(v128.load(behind, 48), out),
      );
      v128.store(query, f32x4.add(v128.load(query), seen));
      const key = dk + token + (i << 2);
      const learnt = lanes4(
        keyLanes(e0, delta, s0, d, dm), keyLanes(e1, delta, s1, d, dm), keyLanes(e2, delta, s2, d, dm),
        keyLanes(e3, delta, s3, d, dm),
      );
      v128.store(key, f32x4.add(v128.load(key), learnt));
      const from = k + token + (i << 2);
      const r0 = f32x4.add(e0, f32x4.mul(v128.load32_splat(from), dm));
      const r1 = f32x4.add(e1, f32x4.mul(v128.load32_splat(from, 4), dm));
      const r2 = f32x4.add(e2, f32x4.mul(v128.load32_splat(from, 8), dm));
      const r3 = f32x4.add(e3, f32x4.mul(v128.load32_splat(from, 12), dm));
      dd = f32x4.add(dd, f32x4.mul(r0, s0));
      dd = f32x4.add(dd, f32x4.mul(r1, s1));
      dd = f32x4.add(dd, f32x4.mul(r2, s2));
      dd = f32x4.add(dd, f32x4.mul(r3, s3));
      v128.store(own, f32x4.mul(r0, d));
      v128.store(own, f32x4.mul(r1, d), 16);
      v128.store(own, f32x4.mul(r2, d), 32);
      v128.store(own, f32x4.mul(r3, d), 48);
    }
    for (; i < keys; i++, before += 16, own += 16) {
      const s = v128.load(before);
      const e = v128.load(own);
      addLanes(dq + token + (i << 2), f32x4.mul(v128.load(before + size), out));
      addLanes(dk + token + (i << 2), keyLanes(e, delta, s, d, dm));
      const r = f32x4.add(e, f32x4.mul(v128.load32_splat(k + token + (i << 2)), dm));
      dd = f32x4.add(dd, f32x4.mul(r, s));
      v128.store(own, f32x4.mul(r, d));
    }
    addLanes(dDecay + gate, dd);
  }
}

// dS' ∘ δ + R ∘ dm of one key.
// @ts-ignore: decorator
@inline
function keyLanes(e: v128, delta: v128, s: v128, d: v128, dm: v128): v128 {
  return f32x4.add(f32x4.mul(e, delta), f32x4.mul(f32x4.mul(s, d), dm));
}
