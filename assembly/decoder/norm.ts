// Root mean square norm:  y = (x · r) ∘ w,  r = 1 / √(Σx² / cols + ε), the sum by the rule for sums (Zhang, Sennrich,
// arXiv 1910.07467). r is rounded to f32 and multiplied first, as the models' authors do, so that w meets a vector of length √cols.

import { inner } from './sums';

/** Norms `count` vectors of `cols` f32 from `x` to `y`, which may be `x`. `weights` has `cols` f32. */
export function rmsNorm(x: usize, weights: usize, count: usize, cols: usize, epsilon: f32, y: usize): void {
  for (; count > 0; count--) {
    const r: f32 = <f32>1 / sqrt<f32>(inner(x, x, cols) / <f32>cols + epsilon);
    const factor = f32x4.splat(r);
    let i: usize = 0;
    for (; i + 4 <= cols; i += 4) {
      const scaled = f32x4.mul(v128.load(x + (i << 2)), factor);
      v128.store(y + (i << 2), f32x4.mul(scaled, v128.load(weights + (i << 2))));
    }
    for (; i < cols; i++) store<f32>(y + (i << 2), load<f32>(x + (i << 2)) * r * load<f32>(weights + (i << 2)));
    x += cols << 2;
    y += cols << 2;
  }
}
