// A trellis: a code's value depends on the codes just before it, by sums of small integers out of three tables (FORMAT.md).
// The encoder chooses the best sequence of codes, which errs less than the best grid of points at the same bits.

import { integer, typedArray } from '../check.ts';
import { show } from '../excerpt.ts';
import { parseTrellisName } from './name.ts';

/** Entries of one table: an index is four bits. */
export const TABLE_ENTRIES = 16;
/** Columns from which on a trellis errs as its MSE says, to 1 %: the ends of shorter rows cost more. */
export const TRELLIS_COLS = 128;
/** The largest integer: seven bits, so that products of bytes are exact on every machine. */
const LARGEST_INTEGER = 127;

export interface Trellis {
  /** `t4`, `t4q`: bits of a code, and a letter where there are several. */
  readonly name: string;
  /** A code stands for one weight. */
  readonly p: 1;
  /** Bits of one code. */
  readonly bits: number;
  /** Mean squared error per weight on N(0, 1). */
  readonly mse: number;
  /** A value is step · (integer - zero). An f32. */
  readonly step: number;
  /** An integer, 0 to 127. */
  readonly zero: number;
  /** What this index adds to the integer, what the one before it does, and the one before that. */
  readonly tables: Uint8Array; // (3, 16)
}

/** Low bits of a code that its table depends on. */
function bitsUsed(table: Uint8Array): number {
  let bits = 0;
  while (bits < 4 && !table.every((entry, i) => entry === table[i % 2 ** bits])) bits++;
  return bits;
}

/**
 * Bits that the encoder remembers of the codes before, the latest first: what the tables depend on.
 * At 2 bits an index is a code and the one before it, so the tables remember up to three codes.
 */
export function memoryOf({ bits, tables }: Pick<Trellis, 'bits' | 'tables'>): readonly number[] {
  const [second, third] = [1, 2].map((i) => bitsUsed(tables.subarray(i * TABLE_ENTRIES, (i + 1) * TABLE_ENTRIES)));
  if (bits === 2) return third! > 0 ? [2, 2, 2] : [2, 2];
  return third! > 0 ? [Math.max(second!, third!), third!] : [second!];
}

/** Memories that the kernels handle, by bits. */
const MEMORIES: Readonly<Record<number, readonly string[]>> = {
  2: ['2,2', '2,2,2'],
  3: ['3', '2,2', '3,3'],
  4: ['2', '4', '2,2', '3,3'],
};

/**
 * Checks a trellis that came from outside.
 * @throws {TypeError} when its tables are no bytes; {RangeError} when its members do not agree or the kernels cannot handle it
 */
export function checkTrellis(trellis: Trellis): void {
  const { name, p, bits, step, zero } = trellis;
  const size = parseTrellisName(name);
  if (!size) throw new RangeError(`name of a trellis must be t<bits>: got ${show(name)}`);
  if (p !== 1 || bits !== size.bits) {
    throw new RangeError(`p and bits of trellis ${name} must be 1, ${size.bits}: got ${show(p)}, ${show(bits)}`);
  }
  const tables = typedArray(Uint8Array, 3 * TABLE_ENTRIES, 'bytes')(`tables of trellis ${name}`, trellis.tables);
  if (typeof step !== 'number' || !(step > 0 && Number.isFinite(step) && Math.fround(step) === step)) {
    throw new RangeError(`step of trellis ${name} must be an f32 above 0: got ${show(step)}`);
  }
  integer(0, LARGEST_INTEGER)(`zero of trellis ${name}`, zero);
  const largest = [0, 1, 2].reduce(
    (sum, i) => sum + Math.max(...tables.subarray(i * TABLE_ENTRIES, (i + 1) * TABLE_ENTRIES)),
    0,
  );
  if (largest > LARGEST_INTEGER) {
    throw new RangeError(`tables of trellis ${name} must sum to ${LARGEST_INTEGER} at most: they reach ${largest}`);
  }
  if (bits === 3 && tables.some((entry, i) => entry !== tables[i & ~8])) {
    throw new RangeError(`tables of trellis ${name} must repeat their first eight entries: they do not`);
  }
  const memory = String(memoryOf({ bits, tables }));
  if (!MEMORIES[bits].includes(memory)) {
    const memories = MEMORIES[bits].map((bits) => `(${bits})`).join(', ');
    throw new RangeError(`trellis ${name} must remember ${memories} bits of the codes before: it does (${memory})`);
  }
}
