// Scalar twin of assembly/decoder/gram.ts: sums of outer products of vectors with themselves.

const f = Math.fround;
/** Vectors whose products are summed before they meet those of others. */
const TILE = 64;

/**
 * S + Σ w_t x_t x_tᵀ.
 * @param x (count, n) @param weights (count); ones if left out
 * @param s the lower triangle of (n, n), row by row
 */
export function addGram(x: Float32Array, weights: Float32Array | undefined, s: Float32Array): Float32Array {
  const n = (Math.sqrt(8 * s.length + 1) - 1) / 2;
  const sums = s.slice();
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j <= i; j++, at++) {
      for (let first = 0; first < x.length; first += TILE * n) {
        let sum = 0;
        for (let t = first; t < Math.min(x.length, first + TILE * n); t += n) {
          const weighted = weights ? f(weights[t / n] * x[t + i]) : x[t + i];
          sum = f(sum + f(weighted * x[t + j]));
        }
        sums[at] = f(sums[at] + sum);
      }
    }
  }
  return sums;
}
