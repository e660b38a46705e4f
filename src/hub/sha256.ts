// SHA-256 of bytes that come in pieces (FIPS 180-4): what runtimes have of their own wants them whole.

/** A digest that is fed in pieces. */
export interface Digest {
  /** Takes the next bytes. */
  update(bytes: Uint8Array): unknown;
  /** @returns the digest in hexadecimal digits; nothing may follow */
  digest(encoding: 'hex'): string;
}

const BLOCK = 64;
// Of the first 64 primes: the first 32 bits behind the point of their cube roots; for the first eight, of their square roots.
const ROUNDS = Int32Array.from(firstPrimes(64), (prime) => fractionOf(prime, 3));
const START = Int32Array.from(firstPrimes(8), (prime) => fractionOf(prime, 2));

/** Starts a digest. */
export function startSha256(): Digest {
  const state = START.slice();
  const words = new Int32Array(BLOCK);
  const rest = new Uint8Array(BLOCK);
  let byteLength = 0;

  function update(bytes: Uint8Array): void {
    let from = 0;
    const held = byteLength % BLOCK;
    byteLength += bytes.length;
    if (held > 0) {
      from = Math.min(BLOCK - held, bytes.length);
      rest.set(bytes.subarray(0, from), held);
      if (held + from < BLOCK) return;
      compress(state, words, rest, 0);
    }
    for (; from + BLOCK <= bytes.length; from += BLOCK) compress(state, words, bytes, from);
    rest.set(bytes.subarray(from));
  }

  return {
    update,
    digest() {
      const bits = BigInt(byteLength) * 8n;
      const tail = new Uint8Array(BLOCK - ((byteLength + 8) % BLOCK) + 8);
      tail[0] = 0x80;
      new DataView(tail.buffer).setBigUint64(tail.length - 8, bits);
      update(tail);
      return [...state].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
    },
  };
}

function compress(state: Int32Array, words: Int32Array, bytes: Uint8Array, from: number): void {
  for (let i = 0, at = from; i < 16; i++, at += 4) {
    words[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const x = words[i - 15];
    const y = words[i - 2];
    const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
    const high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
    words[i] = (words[i - 16] + low + words[i - 7] + high) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i++) {
    const sum = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const first = (h + sum + ((e & f) ^ (~e & g)) + ROUNDS[i] + words[i]) | 0;
    const second = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
  state[5] += f;
  state[6] += g;
  state[7] += h;
}

const turn = (word: number, by: number): number => (word >>> by) | (word << (32 - by));

function firstPrimes(count: number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return primes;
}

// The largest x with x^power ≤ prime · 2^(32 · power), without what stands in front of the point: exact, in integers.
function fractionOf(prime: number, power: number): number {
  const wanted = BigInt(prime) << BigInt(32 * power);
  let root = 0n;
  for (let bit = 1n << 37n; bit > 0n; bit >>= 1n) if ((root + bit) ** BigInt(power) <= wanted) root += bit;
  return Number(root & 0xffffffffn);
}
