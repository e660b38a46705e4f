// Element by element: the gates of the feed-forward layer, multiples and sums of vectors, soft caps.
//   silu(g) = g / (1 + e^-g)
//   gelu(g) = ½ g (1 + tanh √(2/π) (g + 0.044715 g³)) = g / (1 + e^-z),  z = g (c₁ + c₃ g²),  c₁ = 2 √(2/π),  c₃ = 0.044715 c₁
//   cap(x) = c tanh(x / c)

import { exp4, tanh4 } from './math';

/** c₁ of gelu. */
export const GELU_1: f32 = 1.5957691216057308;
/** c₃ of gelu. */
export const GELU_3: f32 = 0.07135481282659707;

// @ts-ignore: decorator
@inline
export function storeUpTo4(to: usize, v: v128, count: usize): void {
  if (count >= 4) {
    v128.store(to, v);
    return;
  }
  v128.store32_lane(to, v, 0);
  if (count > 1) v128.store32_lane(to, v, 1, 4);
  if (count > 2) v128.store32_lane(to, v, 2, 8);
}

/** `gate` = silu(gate) · up, `count` f32; both are read up to the next multiple of four. */
export function siluTimes(gate: usize, up: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, up += 16) {
    const g = v128.load(gate);
    const silu = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(g))));
    const y = f32x4.mul(silu, v128.load(up));
    storeUpTo4(gate, y, count);
    count -= min<usize>(count, 4);
  }
}

/** `gate` = gelu(gate) · up, `count` f32; both are read up to the next multiple of four. */
export function geluTimes(gate: usize, up: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, up += 16) {
    const g = v128.load(gate);
    const slope = f32x4.add(f32x4.splat(GELU_1), f32x4.mul(f32x4.splat(GELU_3), f32x4.mul(g, g)));
    const gelu = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(f32x4.mul(g, slope)))));
    storeUpTo4(gate, f32x4.mul(gelu, v128.load(up)), count);
    count -= min<usize>(count, 4);
  }
}

/** α of gpt-oss's gate. */
export const ALPHA: f32 = 1.702;
/** The most that gpt-oss's gate takes of its inputs. */
export const LIMIT: f32 = 7;

/**
 * gpt-oss's gate: `y` = (u + 1) · g / (1 + e^-αg), α = 1.702, g at most 7 and u from -7 to 7, of `count` pairs g, u of f32 at `x`, which
 * are read up to the next multiple of four pairs.
 */
export function clampedGate(x: usize, y: usize, count: usize): void {
  const one = f32x4.splat(1);
  const limit = f32x4.splat(LIMIT);
  for (; count > 0; x += 32, y += 16) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const g = f32x4.min(v128.shuffle<i32>(a, b, 0, 2, 4, 6), limit);
    const u = f32x4.max(f32x4.min(v128.shuffle<i32>(a, b, 1, 3, 5, 7), limit), f32x4.neg(limit));
    const gated = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(f32x4.mul(g, f32x4.splat(ALPHA))))));
    storeUpTo4(y, f32x4.mul(f32x4.add(u, one), gated), count);
    count -= min<usize>(count, 4);
  }
}

/** max(x, 0)², `count` f32, in place; they are read up to the next multiple of four. */
export function reluSquared(x: usize, count: usize): void {
  for (; count > 0; x += 16) {
    const y = f32x4.max(v128.load(x), f32x4.splat(0));
    storeUpTo4(x, f32x4.mul(y, y), count);
    count -= min<usize>(count, 4);
  }
}

/** `x` += `y`, `count` f32. */
export function add(x: usize, y: usize, count: usize): void {
  for (; count >= 4; count -= 4, x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
  for (; count > 0; count--, x += 4, y += 4) store<f32>(x, load<f32>(x) + load<f32>(y));
}

/** `x` · `y` element by element, `count` f32, to `x`. */
export function multiply(x: usize, y: usize, count: usize): void {
  for (; count >= 4; count -= 4, x += 16, y += 16) v128.store(x, f32x4.mul(v128.load(x), v128.load(y)));
  for (; count > 0; count--, x += 4, y += 4) store<f32>(x, load<f32>(x) * load<f32>(y));
}

/** `x` = x / (1 + e^-gate), `count` f32; both are read up to the next multiple of four. */
export function sigmoidTimes(x: usize, gate: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, x += 16) {
    storeUpTo4(x, f32x4.div(v128.load(x), f32x4.add(one, exp4(f32x4.neg(v128.load(gate))))), count);
    count -= min<usize>(count, 4);
  }
}

/** `x` · `factor`, `count` f32, in place. */
export function scale(x: usize, factor: f32, count: usize): void {
  const factors = f32x4.splat(factor);
  for (; count >= 4; count -= 4, x += 16) v128.store(x, f32x4.mul(v128.load(x), factors));
  for (; count > 0; count--, x += 4) store<f32>(x, load<f32>(x) * factor);
}

/** 1 / (1 + e^-x), `count` f32, in place; they are read up to the next multiple of four. */
export function sigmoid(x: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; x += 16) {
    storeUpTo4(x, f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(v128.load(x))))), count);
    count -= min<usize>(count, 4);
  }
}

/** cap · tanh(x / cap), `count` f32, in place; they are read up to the next multiple of four. */
export function softCap(x: usize, cap: f32, count: usize): void {
  const caps = f32x4.splat(cap);
  for (; count > 0; x += 16) {
    storeUpTo4(x, f32x4.mul(caps, tanh4(f32x4.div(v128.load(x), caps))), count);
    count -= min<usize>(count, 4);
  }
}
