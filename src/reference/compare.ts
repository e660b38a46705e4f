// Scalar twin of assembly/compare.ts.

/** [Σ (x - y)², Σ x²] in f64, four partial sums each. */
export function compare(x: Float32Array, y: Float32Array): [number, number] {
  const errors = [0, 0, 0, 0];
  const norms = [0, 0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    errors[i % 4] += (x[i] - y[i]) ** 2;
    norms[i % 4] += x[i] ** 2;
  }
  const fold = ([a, b, c, d]: number[]) => a + c + (b + d);
  return [fold(errors), fold(norms)];
}
