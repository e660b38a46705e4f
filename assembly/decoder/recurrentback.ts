// Gradients of the delta rule and of attention's gates, as backward.ts has those of other layers. Of a causal convolution there is nothing
// here: it is `convolve` itself, with tokens in opposite order.
//   y = x s,  s = 1 / (1 + e^-g):    dx = dy s,  dg = dy x s (1 - s)
//   delta rule, R = S e^g;  m = kᵀ R;  r = v - m;  δ = r β;  S' = R + k δᵀ;  y = qᵀ S', from the last token to the first:
//     dS' += q dyᵀ;  dq = S' dy;  dδ = dS'ᵀ k;  dβ = dδ · r;  dv = β dδ = -dm
//     dk = dS' δ + R dm;  dR = dS' + k dmᵀ;  d(e^g) = Σ dR ∘ S;  dS = e^g dR
// Columns of S do not meet: four go through all tokens, then the next four. Their states are kept, one for each token.

import { loadTail } from '../lanes';
import { storeUpTo4 } from './gate';
import { exp4 } from './math';

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
    for (let i: usize = 0; i < keys; i++, before += 16, own += 16) {
      const s = v128.load(before);
      const e = v128.load(own);
      addLanes(dq + token + (i << 2), f32x4.mul(v128.load(before + size), out));
      addLanes(dk + token + (i << 2), f32x4.add(f32x4.mul(e, delta), f32x4.mul(f32x4.mul(s, d), dm)));
      const r = f32x4.add(e, f32x4.mul(v128.load32_splat(k + token + (i << 2)), dm));
      dd = f32x4.add(dd, f32x4.mul(r, s));
      v128.store(own, f32x4.mul(r, d));
    }
    addLanes(dDecay + gate, dd);
  }
}
