// exp and log in f64 from +, −, ×, ÷ and bits alone, each of which every engine rounds alike: Math.exp and Math.log may
// differ between engines in the last bit, and a sampled token or a reported figure with them. Both are within 1e-15 relative.
//
// exp: x = k ln 2 + r, |r| ≤ ln 2 / 2, by the series of eʳ to r¹³ (the next term is below 5e-18), times 2ᵏ.
// log: x = 2ᵉ m, m in [√½, √2), by the series of 2 artanh s, s = (m − 1) / (m + 1), to s²³, plus e ln 2.

// ln 2 in two parts; the first ends in 21 zero bits, so that its product with an exponent is exact.
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;

const value = new Float64Array(1);
const words = new Uint32Array(value.buffer); // low, high: typed arrays are little-endian on every host of WebAssembly

/** eˣ. */
export function exp(x: number): number {
  if (x > 709.782712893384) return Number.POSITIVE_INFINITY;
  if (x < -745.2) return 0;
  if (Number.isNaN(x)) return x;
  const k = Math.floor(x * Math.LOG2E + 0.5);
  const r = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1 / 6227020800; // 1/13!
  sum = sum * r + 1 / 479001600;
  sum = sum * r + 1 / 39916800;
  sum = sum * r + 1 / 3628800;
  sum = sum * r + 1 / 362880;
  sum = sum * r + 1 / 40320;
  sum = sum * r + 1 / 5040;
  sum = sum * r + 1 / 720;
  sum = sum * r + 1 / 120;
  sum = sum * r + 1 / 24;
  sum = sum * r + 1 / 6;
  sum = sum * r + 0.5;
  sum = 1 + (r + r * r * sum);
  if (k > 1000) return sum * powerOfTwo(k - 64) * 18446744073709552000; // 2⁶⁴
  if (k < -1000) return sum * powerOfTwo(k + 128) * 2.938735877055719e-39; // 2⁻¹²⁸
  return sum * powerOfTwo(k);
}

/** ln x. */
export function log(x: number): number {
  if (!(x > 0)) return x === 0 ? Number.NEGATIVE_INFINITY : Number.NaN;
  if (x === Number.POSITIVE_INFINITY) return x;
  const subnormal = x < 2.2250738585072014e-308;
  value[0] = subnormal ? x * 18014398509481984 : x; // 2⁵⁴
  let e = (words[1] >>> 20) - 1022 - (subnormal ? 54 : 0);
  words[1] = (words[1] & 0xfffff) | (1022 << 20); // [½, 1)
  let m = value[0];
  if (m < Math.SQRT1_2) {
    m *= 2;
    e--;
  }
  const s = (m - 1) / (m + 1);
  const z = s * s;
  let sum = 1 / 23;
  for (let n = 21; n >= 3; n -= 2) sum = sum * z + 1 / n;
  return e * LN2_HIGH + (2 * s + (2 * s * z * sum + e * LN2_LOW));
}

/** ln Σ eˣ of a row. */
export function logSumExp(row: ArrayLike<number>): number {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) if (row[i] > top) top = row[i];
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += exp(row[i] - top);
  return top + log(sum);
}

// 2ᵏ, −1022 ≤ k ≤ 1023: the exponent's bits.
function powerOfTwo(k: number): number {
  words[0] = 0;
  words[1] = (k + 1023) << 20;
  return value[0];
}
