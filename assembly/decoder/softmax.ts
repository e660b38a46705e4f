// Softmax:  x_i = e^(x_i - max) · (1 / Σ), the sum by the rule for sums.

import { exponential } from './math';
import { sum } from './sums';

/** Softmax of `count` (at least 1) f32 at `x`, in place. Reads and may change what follows, up to the next multiple of four. */
export function softmax(x: usize, count: usize): void {
  let most = load<f32>(x);
  for (let i: usize = 1; i < count; i++) most = max<f32>(most, load<f32>(x + (i << 2)));
  const shift = f32x4.splat(most);
  for (let i: usize = 0; i < count; i += 4) v128.store(x + (i << 2), f32x4.sub(v128.load(x + (i << 2)), shift));
  exponential(x, x, count);
  const factor = f32x4.splat(<f32>1 / sum(x, count));
  for (let i: usize = 0; i < count; i += 4) v128.store(x + (i << 2), f32x4.mul(v128.load(x + (i << 2)), factor));
}
