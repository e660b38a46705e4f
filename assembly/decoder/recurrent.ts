// What layers do that keep a state instead of keys and values: causal convolutions over channels, and the gated delta rule.
//   convolution:  y_t = Σ_k w_k x_(t - taps + 1 + k) + b,  k ascending; the state is the last taps - 1 inputs
//   delta rule:   S ← S e^g;  δ = (v - kᵀ S) β;  S ← S + k δᵀ;  y = qᵀ S,   S (k, v), sums over k ascending
// A token at a time gives what all at once give.

import { storeUpTo4 } from './gate';
import { exp4 } from './math';
import { inner } from './sums';

// Four f32, of which up to three lie behind the last.
// @ts-ignore: decorator
@inline
function taps4(weights: usize, channel: usize, taps: usize, k: usize, count: usize): v128 {
  const at = weights + ((channel * taps + k) << 2);
  let w = v128.load32_zero(at);
  if (count > 1) w = v128.load32_lane(at + (taps << 2), w, 1);
  if (count > 2) w = v128.load32_lane(at + (taps << 3), w, 2);
  if (count > 3) w = v128.load32_lane(at + taps * 12, w, 3);
  return w;
}

/**
 * Convolves `tokens` (at least 1) of `channels`, from `x` to `y`, which is elsewhere; a token is `stride` and `yStride` f32 further, or
 * back where they are negative: gradients go so, from the last token to the first.
 * `weights` are (channels, taps), `bias` (channels), 0 for none. `state` holds the inputs before the first, (taps - 1) rows that are
 * `rowStride` f32 apart, oldest first; 0s if `first`. It is left with the last inputs. `silu` is 0 or 1. Up to three f32 behind the
 * channels are read.
 */
export function convolve(
  x: usize, stride: usize, channels: usize, tokens: usize, weights: usize, bias: usize, taps: usize, state: usize,
  rowStride: usize, first: i32, silu: i32, y: usize, yStride: usize,
): void {
  const before = taps - 1;
  const one = f32x4.splat(1);
  for (let c: usize = 0; c < channels; c += 4) {
    const count = min<usize>(channels - c, 4);
    const offset = c << 2;
    if (first) for (let r: usize = 0; r < before; r++) storeUpTo4(state + ((r * rowStride) << 2) + offset, f32x4.splat(0), count);
    for (let t: usize = 0; t < tokens; t++) {
      let sum = f32x4.splat(0);
      for (let k: usize = 0; k < taps; k++) {
        const from = t + k;
        const at = from < before ? state + ((from * rowStride) << 2) : x + (((from - before) * stride) << 2);
        sum = f32x4.add(sum, f32x4.mul(taps4(weights, c, taps, k, count), v128.load(at + offset)));
      }
      if (bias) sum = f32x4.add(sum, v128.load(bias + offset));
      if (silu) sum = f32x4.div(sum, f32x4.add(one, exp4(f32x4.neg(sum))));
      storeUpTo4(y + ((t * yStride) << 2) + offset, sum, count);
    }
    for (let r: usize = 0; r < before; r++) {
      const from = tokens + r;
      const at = from < before ? state + ((from * rowStride) << 2) : x + (((from - before) * stride) << 2);
      storeUpTo4(state + ((r * rowStride) << 2) + offset, v128.load(at + offset), count);
    }
  }
}

/** x · factor / √(Σx² + ε) of `count` vectors of `cols` f32, `stride` f32 apart, in place; the sum by the rule for sums. */
export function unitNorm(x: usize, count: usize, cols: usize, stride: usize, epsilon: f32, factor: f32): void {
  for (; count > 0; count--, x += stride << 2) {
    const r: f32 = (<f32>1 / sqrt<f32>(inner(x, x, cols) + epsilon)) * factor;
    for (let i: usize = 0; i < cols; i++) store<f32>(x + (i << 2), load<f32>(x + (i << 2)) * r);
  }
}

// ln(1 + u) of four f32 from 0 to 1: 2 artanh(u / (2 + u)), its series.
// @ts-ignore: decorator
@inline
function log1p4(u: v128): v128 {
  const s = f32x4.div(u, f32x4.add(u, f32x4.splat(2)));
  const q = f32x4.mul(s, s);
  let p = f32x4.splat(<f32>(1.0 / 15));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 13)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 11)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 9)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 7)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 5)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(<f32>(1.0 / 3)));
  p = f32x4.add(f32x4.mul(p, q), f32x4.splat(1));
  return f32x4.mul(f32x4.add(s, s), p);
}

/**
 * The gates of one token's `heads`: `decay` = e^(-e^rate · softplus(decay + bias)), `beta` = 1 / (1 + e^-beta), in place. All are read
 * up to the next multiple of four.
 */
export function deltaGates(decay: usize, rate: usize, bias: usize, beta: usize, heads: usize): void {
  const one = f32x4.splat(1);
  for (let h: usize = 0; h < heads; h += 4) {
    const at = h << 2;
    const count = heads - h;
    const a = f32x4.add(v128.load(decay + at), v128.load(bias + at));
    const rest = log1p4(exp4(f32x4.neg(f32x4.abs(a))));
    const softplus = f32x4.add(f32x4.max(a, f32x4.splat(0)), rest);
    const g = f32x4.mul(exp4(v128.load(rate + at)), softplus);
    const b = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(v128.load(beta + at)))));
    storeUpTo4(decay + at, exp4(f32x4.neg(g)), count);
    storeUpTo4(beta + at, b, count);
  }
}

/**
 * The gated delta rule of one head over `tokens`: `q` and `k` (keys), `v` and `y` (values) f32, a token `stride` f32 further, of y
 * `yStride`; `decay` and `beta`, a token `gateStride` f32 further. `state` is (keys, values), 0s if `first`.
 */
export function deltaRule(
  q: usize, k: usize, v: usize, stride: usize, decay: usize, beta: usize, gateStride: usize, tokens: usize, keys: usize,
  values: usize, state: usize, first: i32, y: usize, yStride: usize,
): void {
  if (first) memory.fill(state, 0, (keys * values) << 2);
  const row = values << 2;
  let j: usize = 0;
  for (; j + 8 <= values; j += 8) {
    const column = state + (j << 2);
    for (let t: usize = 0; t < tokens; t++) {
      const token = (t * stride) << 2;
      const d = v128.load32_splat(decay + ((t * gateStride) << 2));
      const b = v128.load32_splat(beta + ((t * gateStride) << 2));
      let m0 = f32x4.splat(0);
      let m1 = m0;
      let at = column;
      let key = k + token;
      for (const end = key + (keys << 2); key < end; key += 4, at += row) {
        const weight = v128.load32_splat(key);
        m0 = f32x4.add(m0, f32x4.mul(f32x4.mul(v128.load(at), d), weight));
        m1 = f32x4.add(m1, f32x4.mul(f32x4.mul(v128.load(at, 16), d), weight));
      }
      const value = v + token + (j << 2);
      m0 = f32x4.mul(f32x4.sub(v128.load(value), m0), b);
      m1 = f32x4.mul(f32x4.sub(v128.load(value, 16), m1), b);
      let o0 = f32x4.splat(0);
      let o1 = o0;
      at = column;
      key = k + token;
      let query = q + token;
      for (const end = key + (keys << 2); key < end; key += 4, query += 4, at += row) {
        const weight = v128.load32_splat(key);
        const s0 = f32x4.add(f32x4.mul(v128.load(at), d), f32x4.mul(weight, m0));
        const s1 = f32x4.add(f32x4.mul(v128.load(at, 16), d), f32x4.mul(weight, m1));
        v128.store(at, s0);
        v128.store(at, s1, 16);
        const seen = v128.load32_splat(query);
        o0 = f32x4.add(o0, f32x4.mul(s0, seen));
        o1 = f32x4.add(o1, f32x4.mul(s1, seen));
      }
      const to = y + ((t * yStride + j) << 2);
      v128.store(to, o0);
      v128.store(to, o1, 16);
    }
  }
  for (; j < values; j++) {
    const column = state + (j << 2);
    for (let t: usize = 0; t < tokens; t++) {
      const token = (t * stride) << 2;
      const d = load<f32>(decay + ((t * gateStride) << 2));
      let m: f32 = 0;
      for (let i: usize = 0; i < keys; i++) m += load<f32>(column + i * row) * d * load<f32>(k + token + (i << 2));
      const delta = (load<f32>(v + token + (j << 2)) - m) * load<f32>(beta + ((t * gateStride) << 2));
      let o: f32 = 0;
      for (let i: usize = 0; i < keys; i++) {
        const s = load<f32>(column + i * row) * d + load<f32>(k + token + (i << 2)) * delta;
        store<f32>(column + i * row, s);
        o += s * load<f32>(q + token + (i << 2));
      }
      store<f32>(y + ((t * yStride + j) << 2), o);
    }
  }
}
