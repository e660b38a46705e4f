// Powers by sums and products alone, so that every engine gives the same bits: Math.pow may differ in the last one.

const LN2_HIGH = 0.6931471803691238; // 32 bits, so that a small integer times it is exact
const LN2_LOW = 1.9082149292705877e-10;

/** base^exponent for a positive base, to about 1e-15 relatively where the result is between 2^-1000 and 2^1000. */
export function power(base: number, exponent: number): number {
  return exp(exponent * log(base));
}

// ln x = k ln 2 + 2 atanh((m - 1) / (m + 1)), x = 2^k m, m within a factor √2 of 1.
function log(x: number): number {
  let k = 0;
  let m = x;
  for (; m > Math.SQRT2; k++) m /= 2;
  for (; m < Math.SQRT1_2; k--) m *= 2;
  const z = (m - 1) / (m + 1);
  let sum = 0;
  for (let n = 25; n >= 1; n -= 2) sum = sum * z * z + 1 / n;
  return k * LN2_HIGH + (k * LN2_LOW + 2 * z * sum);
}

// e^x = 2^k e^r, Σ r^n / n! by Horner's rule.
function exp(x: number): number {
  const k = Math.round(x / Math.LN2);
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let n = 16; n >= 1; n--) sum = 1 + (r / n) * sum;
  let result = sum;
  for (let i = 0; i < Math.abs(k); i++) result = k > 0 ? result * 2 : result / 2;
  return result;
}
