// GPTQ (Frantar, Ashkboos, Hoefler and Alistarh 2022), in f64: columns are rounded one after the other, those that inputs weigh most first
// ("act-order"), and what a column misses goes to the columns that are left, as H⁻¹ says. A group takes its minimum and maximum from
// the weights as they are when it begins. Groups are asymmetric: a scale in f16 and a zero.
//
// With H + λ = A D Aᵀ, A unit upper triangular, the Cholesky factor of H⁻¹ is D^-½ A⁻¹, so column i gives −e_i A⁻¹_ij to column j.

import { f16ToF32Bits, f32ToF16 } from '../src/reference/float.ts';
import type { Restored } from './baselines.ts';

/** λ, relative to the mean of the diagonal of H: the preset of its authors. */
const DAMPING = 0.01;

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);

/**
 * Quantizes weights (rows, cols) and restores them. The order of columns is not counted among the bits.
 * @param inputs Σ x xᵀ of the matrix' inputs, (cols, cols)
 */
export function gptq(
  weights: Float32Array,
  rows: number,
  cols: number,
  { inputs, bits, groupSize }: { inputs: Float32Array; bits: number; groupSize: number },
): Restored {
  const order = Array.from({ length: cols }, (_, i) => i).sort(
    (a, b) => inputs[b * cols + b] - inputs[a * cols + a] || a - b,
  );
  const inverse = inverseOf(factorOf(inputs, order), cols);
  // A row for each column, in order.
  const left = order.map((col) => Float64Array.from({ length: rows }, (_, row) => weights[row * cols + col]));
  const dequantized = new Float32Array(weights.length);
  const most = 2 ** bits - 1;
  const [scales, zeros] = [new Float64Array(rows), new Float64Array(rows)];
  for (const [i, column] of left.entries()) {
    if (i % groupSize === 0) {
      const group = left.slice(i, i + groupSize);
      for (let row = 0; row < rows; row++) {
        const values = group.map((values) => values[row]);
        const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
        scales[row] = toF16((high - low) / most) || 1;
        zeros[row] = Math.min(most, Math.round(-low / scales[row]));
      }
    }
    const missed = column.map((value, row) => {
      const code = Math.min(most, Math.max(0, Math.round(value / scales[row]) + zeros[row]));
      const restored = (code - zeros[row]) * scales[row];
      dequantized[row * cols + order[i]] = restored;
      return value - restored;
    });
    for (let j = i + 1; j < cols; j++) {
      const [factor, target] = [inverse[i * cols + j], left[j]];
      for (let row = 0; row < rows; row++) target[row] -= missed[row] * factor;
    }
  }
  return { dequantized, bitsPerWeight: bits + (Math.ceil(cols / groupSize) * (16 + bits)) / cols };
}

// A, (n, n).
function factorOf(inputs: Float32Array, order: readonly number[]): Float64Array {
  const n = order.length;
  const h = new Float64Array(n * n);
  for (const [i, row] of order.entries()) {
    for (const [j, col] of order.entries()) h[i * n + j] = inputs[row * n + col];
  }
  const damping = (DAMPING * order.reduce((sum, _, i) => sum + h[i * n + i], 0)) / n;
  for (let i = 0; i < n; i++) h[i * n + i] += damping || 1;
  for (let k = n - 1; k >= 0; k--) {
    const pivot = h[k * n + k];
    const column = Float64Array.from({ length: k }, (_, i) => h[i * n + k]);
    for (let i = 0; i < k; i++) {
      const factor = column[i] / pivot;
      for (let j = 0; j <= i; j++) h[i * n + j] -= factor * column[j];
      for (let j = 0; j < i; j++) h[j * n + i] = h[i * n + j];
      h[i * n + k] = factor;
    }
    h[k * n + k] = 1;
  }
  return h;
}

// A⁻¹ of a unit upper triangular A; reads no element below the diagonal.
function inverseOf(a: Float64Array, n: number): Float64Array {
  const inverse = new Float64Array(n * n);
  for (let i = n - 1; i >= 0; i--) {
    inverse[i * n + i] = 1;
    for (let k = i + 1; k < n; k++) {
      const factor = a[i * n + k];
      for (let j = k; j < n; j++) inverse[i * n + j] -= factor * inverse[k * n + j];
    }
  }
  return inverse;
}

// The f16 nearest to x.
function toF16(x: number): number {
  floats[0] = x;
  words[0] = f16ToF32Bits(f32ToF16(words[0]));
  return floats[0];
}
