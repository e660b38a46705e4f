// The 16 levels of two data types for weights divided by their group's largest magnitude, computed from their definitions.
// Both have -1, 0 and 1 as levels, seven of them negative and eight positive.

/**
 * NF4 (Dettmers et al. 2023): quantiles of N(0, 1) at equal steps of probability on either side of zero, the largest scaled to 1.
 * The outermost probability is the mean of those that 15 and 16 equal parts leave outside by half a part.
 */
export function nf4Levels(): Float32Array {
  const outermost = 1 - (1 / 30 + 1 / 32) / 2;
  const side = (count: number) =>
    Array.from(
      { length: count },
      (_, k) => quantile(outermost - (k * (outermost - 0.5)) / count) / quantile(outermost),
    );
  return Float32Array.from([...side(7).map((level) => -level), 0, ...side(8).reverse()]);
}

const STEPS = 4096;

/**
 * AF4 (Yoshida 2023): the levels of least expected |x - level(x)|, where x is a Gaussian weight divided by the largest magnitude
 * of its group of `groupSize`. Each free level is the median of what is rounded to it. The table printed with the paper keeps
 * its two levels beside zero at half that distance, so it is another one; these levels err less on Gaussian weights.
 */
export function af4Levels(groupSize: number): Float32Array {
  // Σ density up to the end of each of STEPS equal parts of [0, 1].
  const cumulative = new Float64Array(STEPS + 1);
  for (let i = 0; i < STEPS; i++) cumulative[i + 1] = cumulative[i] + density((i + 0.5) / STEPS, groupSize);
  const mass = (x: number) => {
    const i = Math.min(STEPS - 1, Math.floor(x * STEPS));
    return cumulative[i] + (x * STEPS - i) * (cumulative[i + 1] - cumulative[i]);
  };
  const valueBelow = (wanted: number) => {
    const i = cumulative.findIndex((sum) => sum >= wanted);
    return (i - (cumulative[i] - wanted) / (cumulative[i] - cumulative[i - 1])) / STEPS;
  };
  const side = (count: number) => {
    const levels = Array.from({ length: count + 1 }, (_, k) => k / count); // 0 and 1 stay
    for (let change = 1; change > 1e-7; ) {
      const borders = levels.slice(1).map((level, k) => mass((levels[k] + level) / 2));
      change = 0;
      for (let k = 1; k < count; k++) {
        const median = valueBelow((borders[k - 1] + borders[k]) / 2);
        change = Math.max(change, Math.abs(median - levels[k]));
        levels[k] = median;
      }
    }
    return levels.slice(1);
  };
  return Float32Array.from([
    ...side(7)
      .map((level) => -level)
      .reverse(),
    0,
    ...side(8),
  ]);
}

// Density at x in [0, 1), but for a factor, of a weight that is not its group's largest: m is the largest magnitude, of
// density g φ(m) (2Φ(m) - 1)^(g - 1), and the others are Gaussian between -m and m.
function density(x: number, groupSize: number): number {
  let sum = 0;
  for (let m = 0.02; m < 8; m += 0.02) {
    const inside = 2 * normalBelow(m) - 1;
    sum += gauss(m) * inside ** (groupSize - 2) * m * gauss(m * x);
  }
  return sum;
}

function gauss(x: number): number {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

const counts = new Map<number, number>();

// Φ(x) = ½ + φ(x) · (x + x³/3 + x⁵/15 + …)
function normalBelow(x: number): number {
  let value = counts.get(x);
  if (value === undefined) {
    let [sum, term] = [0, x];
    for (let k = 3; Math.abs(term) > 1e-17; k += 2) {
      sum += term;
      term *= (x * x) / k;
    }
    value = 0.5 + gauss(x) * sum;
    counts.set(x, value);
  }
  return value;
}

function quantile(probability: number): number {
  let [low, high] = [-8, 8];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (normalBelow(middle) < probability) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
