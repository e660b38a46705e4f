// CRC-32 of parts, joined: a register after n more bytes is what it was times x^8n, plus that of the bytes alone. Polynomials over two
// elements, modulo that of CRC-32; the highest bit of a word is x^0, as the register has it.

const POLYNOMIAL = 0xedb88320;
const ONE = 0x80000000;

/** a · b */
function times(a: number, b: number): number {
  let product = 0;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

// x^(8 · 2^k)
const POWERS: number[] = [0x00800000];

/** x^8n for n bytes. */
function powerOf(bytes: number): number {
  let power = ONE;
  for (let k = 0; bytes > 0; k++, bytes = Math.floor(bytes / 2)) {
    if (k === POWERS.length) POWERS.push(times(POWERS[k - 1], POWERS[k - 1]));
    if (bytes % 2 === 1) power = times(power, POWERS[k]);
  }
  return power;
}

const KNOWN = 256;
const powers = new Map<number, number>(); // powers of the lengths of blocks, which are few

/** Joins checksums. @param first of the bytes in front @param second of the `bytes` behind them, alone */
export function joinCrc32(first: number, second: number, bytes: number): number {
  if (first === 0) return second; // nothing in front, for one
  let power = powers.get(bytes);
  if (power === undefined) {
    power = powerOf(bytes);
    if (powers.size < KNOWN) powers.set(bytes, power);
  }
  return (times(power, first) ^ second) >>> 0;
}
