// How far an approximation is from the original, in f64: four partial sums, element i goes to sum i mod 4 in order,
// then (0 + 2) + (1 + 3). A difference of two f32 is exact in f64 unless they are 2^29 apart, so t² keeps its digits where both
// matrices nearly agree.

/** Two f64 to `sums`: Σ (x_i - y_i)² and Σ x_i² over `count` f32. */
export function compare(x: usize, y: usize, count: usize, sums: usize): void {
  let error0 = f64x2.splat(0);
  let error1 = error0;
  let norm0 = error0;
  let norm1 = error0;
  for (let i: usize = 0; i < count; i += 4) {
    let a = v128.load(x + (i << 2));
    let b = v128.load(y + (i << 2));
    if (i + 4 > count) {
      // Lanes beyond the end count as zero.
      const lanes = i32x4.lt_u(i32x4(0, 1, 2, 3), i32x4.splat(<i32>(count - i)));
      a = v128.and(a, lanes);
      b = v128.and(b, lanes);
    }
    const a0 = f64x2.promote_low_f32x4(a);
    const a1 = f64x2.promote_low_f32x4(v128.shuffle<f64>(a, a, 1, 1));
    const d0 = f64x2.sub(a0, f64x2.promote_low_f32x4(b));
    const d1 = f64x2.sub(a1, f64x2.promote_low_f32x4(v128.shuffle<f64>(b, b, 1, 1)));
    error0 = f64x2.add(error0, f64x2.mul(d0, d0));
    error1 = f64x2.add(error1, f64x2.mul(d1, d1));
    norm0 = f64x2.add(norm0, f64x2.mul(a0, a0));
    norm1 = f64x2.add(norm1, f64x2.mul(a1, a1));
  }
  const error = f64x2.add(error0, error1);
  const norm = f64x2.add(norm0, norm1);
  store<f64>(sums, f64x2.extract_lane(error, 0) + f64x2.extract_lane(error, 1));
  store<f64>(sums, f64x2.extract_lane(norm, 0) + f64x2.extract_lane(norm, 1), 8);
}
