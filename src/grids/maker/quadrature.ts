// Gauss quadrature on [0, 1] with weight r^power: exact for r^power times any polynomial of degree < 2·nodes.
// Recurrence of the shifted Jacobi polynomials; nodes by bisection between the zeros of the previous polynomial;
// weights from Christoffel's formula w = 1 / Σ p_k(x)² over the orthonormal p_k.

/** A quadrature rule: Σ weights · f(nodes) for the integral. */
export interface QuadratureRule {
  /** Where the function is evaluated, in [0, 1], (count). */
  readonly nodes: Float64Array;
  /** What each value counts, (count); their sum is ∫ r^power. */
  readonly weights: Float64Array;
}

/** @returns the Gauss rule of `count` nodes for ∫₀¹ r^power f(r) dr. */
export function gaussRule(count: number, power: number): QuadratureRule {
  const shift = (k: number) =>
    power === 0 ? 0.5 : 0.5 * (1 + (power * power) / ((2 * k + power) * (2 * k + power + 2)));
  const gain = (k: number) => {
    const twice = (2 * k + power) ** 2;
    return (k * k * (k + power) ** 2) / (twice * (twice - 1));
  };
  const monic = (degree: number, x: number) => {
    let previous = 0;
    let current = 1;
    for (let k = 0; k < degree; k++) {
      const next = (x - shift(k)) * current - (k > 0 ? gain(k) * previous : 0);
      previous = current;
      current = next;
    }
    return current;
  };
  let zeros: number[] = [];
  for (let degree = 1; degree <= count; degree++) {
    const fences = [0, ...zeros, 1];
    zeros = zeros.concat(0).map((_, i) => {
      let [low, high] = [fences[i], fences[i + 1]];
      const sign = monic(degree, low) > 0;
      for (let halving = 0; halving < 60; halving++) {
        const middle = (low + high) / 2;
        if (monic(degree, middle) > 0 === sign) low = middle;
        else high = middle;
      }
      return (low + high) / 2;
    });
  }
  const weights = zeros.map((x) => {
    let norm = 1 / (power + 1);
    let sum = 0;
    for (let k = 0; k < count; k++) {
      if (k > 0) norm *= gain(k);
      sum += monic(k, x) ** 2 / norm;
    }
    return 1 / sum;
  });
  return { nodes: Float64Array.from(zeros), weights: Float64Array.from(weights) };
}
