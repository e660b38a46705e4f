// Ratios of sums over windows, such as means over tokens, with standard errors.

/** An estimate and its standard error; NaN where there is but one window. */
export interface Estimate {
  value: number;
  error: number;
}

/**
 * Σ a / Σ b, to first order as if windows were independent. With the tokens of windows for `b` it is a mean over tokens.
 * @param a of each window
 * @param b of each window
 */
export function ratioOf(a: readonly number[], b: readonly number[]): Estimate {
  const total = sum(b);
  const value = sum(a) / total;
  const squares = a.reduce((squares, dividend, i) => squares + (dividend - value * b[i]) ** 2, 0);
  return { value, error: Math.sqrt((squares * a.length) / (a.length - 1)) / Math.abs(total) };
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The value that this share of them does not exceed. */
export function quantileOf(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}
