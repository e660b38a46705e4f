// N(0, 1): density, tail and seeded draws.
// Tail Q(x) = φ(x)·K(x): 1/2 − φ·Σ x^(2k+1)/(2k+1)!! below 2, the continued fraction 1/(x + 1/(x + 2/(x + …))) above.
// All terms of both are positive, so both keep full f64 accuracy.

/** The density of N(0, 1) at x. */
export function density(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/** Probability that N(0, 1) exceeds `x`, for x ≥ 0. */
export function tail(x: number): number {
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let k = 3; term > sum * 1e-17; k += 2) {
      term *= (x * x) / k;
      sum += term;
    }
    return 0.5 - density(x) * sum;
  }
  let fraction = x;
  for (let k = 200; k > 0; k--) fraction = x + k / fraction;
  return density(x) / fraction;
}

/** Seeded uniform draws from [0, 1): the 32-bit generator sfc32. */
export type Random = () => number;

/** @returns a generator of uniform draws that depends on `seed` alone. */
export function random(seed: number): Random {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed | 0;
  let counter = 1;
  const next = () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 4294967296;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** One draw from N(0, 1), by Box and Muller's cosine. */
export function normal(uniform: Random): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
