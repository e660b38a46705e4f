// Scalar twin of the rule for sums in assembly/lanes.ts: sixteen partial sums, folded by halves.

const f = Math.fround;

/** Inner product of two f32 vectors. */
export function dot(a: Float32Array, b: Float32Array): number {
  return total(a.map((value, i) => f(value * b[i])));
}

/** Sum of a vector of f32. */
export function total(x: Float32Array): number {
  const sums = new Float32Array(16);
  for (let i = 0; i < x.length; i++) sums[i % 16] = f(sums[i % 16] + x[i]);
  for (let half = 8; half >= 1; half /= 2) {
    for (let j = 0; j < half; j++) sums[j] = f(sums[j] + sums[j + half]);
  }
  return sums[0];
}
