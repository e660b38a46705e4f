// A trellis: a code's value depends on the codes just before it, by sums of small integers out of three tables (FORMAT.md).
// The encoder chooses the best sequence of codes, which errs less than the best grid of points at the same bits.
// One by labels has two tables, for a code and for the exclusive or of the codes before: many states for few integers, and codes of
// five and six bits, whose bits above the fourth add multiples of 16.

import { integer, list, type Reader, refuseValue, typedArray } from '../check.ts';
import { show } from '../excerpt.ts';
import { parseTrellisName } from './name.ts';

/** Entries of one table: an index is four bits. */
export const TABLE_ENTRIES = 16;
/** Columns from which on a trellis errs as its MSE says, to 1 %: the ends of shorter rows cost more. */
export const TRELLIS_COLS = 128;
/** The largest integer: seven bits, so that products of bytes are exact on every machine. */
const LARGEST_INTEGER = 127;
/** That of six bits, whose products take wider ones. */
const LARGEST_OF_SIX = 255;
/** Entries of a table for labels, which stands twice. */
const LABELS = 8;

/** Codes of a row that are chosen together: each value also depends on the codes before it. */
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
  /** An integer, 0 to 127, of six bits to 255. */
  readonly zero: number;
  /** What this index adds to the integer, what the one before it does, and the one before that; by labels two tables. */
  readonly tables: Uint8Array; // (3, 16), by labels (2, 16)
  /** Low bits of the codes before, the last one first, that make a label: (3, 3) or (3, 3, 2). */
  readonly kept?: readonly number[] | undefined;
}

/** Low bits that labels are made of, as kernels have them. */
const KEPT: readonly string[] = ['3,3', '3,3,2'];
const lowBits = list(integer(0, 3), 3, 'an array');

/** Reads what makes labels. */
export const givenKept: Reader<readonly number[]> = (subject, value) => {
  const kept = lowBits(subject, value);
  return KEPT.includes(String(kept)) ? kept : refuseValue(subject, '[3, 3] or [3, 3, 2]', kept);
};

/** Tables of a trellis. */
export function tableCount({ kept }: Pick<Trellis, 'kept'>): number {
  return kept ? 2 : 3;
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
export function memoryOf({ bits, tables, kept }: Pick<Trellis, 'bits' | 'tables' | 'kept'>): readonly number[] {
  if (kept) return kept;
  const [second, third] = [1, 2].map((i) => bitsUsed(tables.subarray(i * TABLE_ENTRIES, (i + 1) * TABLE_ENTRIES)));
  if (bits === 2) return third > 0 ? [2, 2, 2] : [2, 2];
  return third > 0 ? [Math.max(second, third), third] : [second];
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
  if (trellis.kept !== undefined) givenKept(`kept of trellis ${name}`, trellis.kept);
  const tables = typedArray(
    Uint8Array,
    tableCount(trellis) * TABLE_ENTRIES,
    'bytes',
  )(`tables of trellis ${name}`, trellis.tables);
  if (typeof step !== 'number' || !(step > 0 && Number.isFinite(step) && Math.fround(step) === step)) {
    throw new RangeError(`step of trellis ${name} must be an f32 above 0: got ${show(step)}`);
  }
  const most = bits === 6 ? LARGEST_OF_SIX : LARGEST_INTEGER;
  integer(0, most)(`zero of trellis ${name}`, zero);
  const mosts = Array.from({ length: tableCount(trellis) }, (_, i) =>
    Math.max(...tables.subarray(i * TABLE_ENTRIES, (i + 1) * TABLE_ENTRIES)),
  );
  const largest = mosts.reduce((sum, value) => sum + value, 16 * (2 ** Math.max(0, bits - 4) - 1));
  if (largest > most) {
    throw new RangeError(`tables of trellis ${name} must sum to ${most} at most: they reach ${largest}`);
  }
  if (bits === 3 && tables.some((entry, i) => entry !== tables[i & ~8])) {
    throw new RangeError(`tables of trellis ${name} must repeat their first eight entries: one differs`);
  }
  if (trellis.kept) checkLabels(name, bits, tables);
  else checkMemory(name, bits, tables);
}

function checkMemory(name: string, bits: number, tables: Uint8Array): void {
  const supported = MEMORIES[bits];
  if (!supported)
    throw new RangeError(`trellis ${name} must have labels above four bits: it has ${bits} bits and none`);
  const memory = String(memoryOf({ bits, tables }));
  if (!supported.includes(memory)) {
    const memories = supported.map((bits) => `(${bits})`).join(', ');
    throw new RangeError(`trellis ${name} must remember ${memories} bits of the codes before: got (${memory})`);
  }
}

function checkLabels(name: string, bits: number, tables: Uint8Array): void {
  if (bits < 3) throw new RangeError(`trellis ${name} must have at least three bits to have labels: it has ${bits}`);
  const [entries, labels] = [tables.subarray(0, TABLE_ENTRIES), tables.subarray(TABLE_ENTRIES)];
  if (labels.some((entry, i) => entry !== labels[i % LABELS])) {
    throw new RangeError(`labels of trellis ${name} must repeat their first eight entries: one differs`);
  }
  if (Math.min(...entries) !== 0 || Math.min(...labels) !== 0) {
    throw new RangeError(`tables of trellis ${name} must each have 0 as their least entry: one has more`);
  }
  if (Math.max(...labels) > LARGEST_INTEGER) {
    throw new RangeError(
      `labels of trellis ${name} must be ${LARGEST_INTEGER} at most: they reach ${Math.max(...labels)}`,
    );
  }
}
