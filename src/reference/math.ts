// Scalar twin of assembly/decoder/math.ts: exp and tanh in f32, cosines and sines of rope in f64.

const f = Math.fround;

const LN2_HIGH = f(0.693145751953125);
const LN2_LOW = f(1.4286068203094173e-6);

/** e^x: 0 below -87, e^88 above 88. */
export function exp32(x: number): number {
  if (x < -87) return 0;
  const low = Math.min(x, 88);
  const n = roundEven(f(low * f(Math.LOG2E)));
  const r = f(f(low - f(n * LN2_HIGH)) - f(n * LN2_LOW));
  let p = f(1 / 5040);
  for (const coefficient of [1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1, 1]) p = f(f(p * r) + f(coefficient));
  return f(p * 2 ** n);
}

/** tanh x: its series below ½, from e^(-2 |x|) above. */
export function tanh(x: number): number {
  const size = Math.abs(x);
  if (!(size < 0.5)) {
    const e = exp32(f(size * -2));
    return Math.sign(x) * f(f(1 - e) / f(1 + e));
  }
  const s = f(x * x);
  let p = f(-929569 / 638512875);
  for (const coefficient of [21844 / 6081075, -1382 / 155925, 62 / 2835, -17 / 315, 2 / 15, -1 / 3]) {
    p = f(f(p * s) + f(coefficient));
  }
  return f(x + f(x * f(s * p)));
}

/** Cosines of `position` times each frequency, then sines, (2 · frequencies). */
export function angles(frequencies: Float64Array, position: number): Float32Array {
  const half = frequencies.length;
  const y = new Float32Array(2 * half);
  for (const [i, frequency] of frequencies.entries()) {
    const angle = position * frequency;
    const k = roundEven(angle * 0.6366197723675814);
    const r = angle - k * 1.5707963267341256 - k * 6.077100506303966e-11 - k * 2.0222662487959506e-21;
    const [c, s] = [cosNear(r), sinNear(r)];
    [y[i], y[half + i]] = [
      [c, s],
      [-s, c],
      [-c, -s],
      [s, -c],
    ][((k % 4) + 4) % 4] as [number, number];
  }
  return y;
}

function sinNear(r: number): number {
  let p = -1 / 1307674368000;
  for (const coefficient of [6227020800, -39916800, 362880, -5040, 120, -6]) p = p * (r * r) + 1 / coefficient;
  return r + r * (r * r) * p;
}

function cosNear(r: number): number {
  let p = 1 / 20922789888000;
  for (const coefficient of [-87178291200, 479001600, -3628800, 40320, -720, 24, -2]) p = p * (r * r) + 1 / coefficient;
  return 1 + r * r * p;
}

// To the nearest integer, ties to even.
function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
