// Element by element: the gate of the feed-forward layer, and sums of two vectors.
//   silu(g) = g / (1 + e^-g)

import { exp4 } from './math';

/** `gate` = silu(gate) · up, `count` f32; both are read up to the next multiple of four. */
export function siluTimes(gate: usize, up: usize, count: usize): void {
  const one = f32x4.splat(1);
  for (; count > 0; gate += 16, up += 16) {
    const g = v128.load(gate);
    const silu = f32x4.div(g, f32x4.add(one, exp4(f32x4.neg(g))));
    const y = f32x4.mul(silu, v128.load(up));
    if (count >= 4) {
      v128.store(gate, y);
      count -= 4;
    } else {
      v128.store32_lane(gate, y, 0);
      if (count > 1) v128.store32_lane(gate, y, 1, 4);
      if (count > 2) v128.store32_lane(gate, y, 2, 8);
      count = 0;
    }
  }
}

/** `x` += `y`, `count` f32. */
export function add(x: usize, y: usize, count: usize): void {
  for (; count >= 4; count -= 4, x += 16, y += 16) v128.store(x, f32x4.add(v128.load(x), v128.load(y)));
  for (; count > 0; count--, x += 4, y += 4) store<f32>(x, load<f32>(x) + load<f32>(y));
}
