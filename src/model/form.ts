// Which form products of bytes take, of several activations and of one: assembly/decoder/dots.ts has them, equal in bits. Processors and
// engines run one or another up to twice as quickly; nothing tells which they are, so a loop of each is timed.

import { forms } from '../kernels/decoder/load.ts';
import { activationBytes, bandRowBytes, PAIR_ROWS, productScratchBytes } from '../kernels/decoder/sizes.ts';
import { FUSED, integerTable, isBanded, PAIRS, setForm } from '../kernels/decoder/table.ts';
import type { Filling } from './loading/batches.ts';

/** What is multiplied: 20 KB, which a first-level cache holds. */
const [COLS, GROUP_SIZE] = [1024, 1024];
/** Several activations. */
const SEVERAL = 8;
/** Activations of a loop, however many a call takes: some 100 µs. */
const ACTIVATIONS = 320;
/** Loops of each form, in turns. Engines compile what has run some hundred times. */
const ROUNDS = 4;
/**
 * The share of the first form's time that another one may take at most. Eights take 0.74 to 0.79 of it, and less, where they are what they are
 * for; 0.87 to 0.93 before an engine has compiled them, and 1.3 and more in one that does not pack vectors.
 */
const SHARES: readonly number[] = [1, 0.95, 0.84, 0.84];

/** Has the tables of all memories say which form products take: where there are several, the quickest one. */
export function chooseForm(places: readonly Filling[]): void {
  const tables = places.flatMap(({ buffer, layout }) =>
    layout.tables
      .filter(({ grid, integers }) => integers && isBanded(grid))
      .map(({ integers }) => new Uint8Array(buffer, integers)),
  );
  if (tables.length === 0) return;
  const [form, alone] = forms.length > 1 ? [quickest(places, SEVERAL), quickest(places, 1)] : [forms[0], forms[0]];
  for (const table of tables) setForm(table, form, alone);
}

// One activation knows no eights.
const formsOf = (count: number): readonly number[] => (count === 1 ? forms.filter((form) => form <= PAIRS) : forms);

function quickest(places: readonly Filling[], count: number): number {
  const times = timesOf(places[0], count);
  if (!times?.[0]) return FUSED; // no room, or a clock that stands still
  const quick = times.map((time, i) => (time <= SHARES[i] * times[0] ? time : Number.POSITIVE_INFINITY));
  return formsOf(count)[quick.indexOf(Math.min(...quick))];
}

/** Has the engine see what will be timed, so that it compiles it while weights are read. */
export function prepareForms(places: readonly Filling[]): void {
  if (forms.length > 1) for (const count of [SEVERAL, 1]) timesOf(places[0], count);
}

// Milliseconds of the quickest loop of each form; of all loops where a clock is too coarse for one. Works where blocks of weights are
// staged; a model so small that this has no room runs as it is.
function timesOf({ kernels, buffer, layout }: Filling, count: number): number[] | undefined {
  const table = layout.staging.address + kernels.crc32TableBytes();
  const bytes = integerTable({ p: 1, bits: 4, step: 1, zero: 0, tables: new Uint8Array(48) });
  const bandBytes = PAIR_ROWS * bandRowBytes(COLS, 4);
  const bands = table + 256;
  const scales = bands + bandBytes;
  const x = scales + 256;
  const y = x + count * activationBytes(COLS, GROUP_SIZE);
  const scratch = y + count * PAIR_ROWS * 4;
  const end = scratch + productScratchBytes(COLS, GROUP_SIZE, count);
  if (end - layout.staging.address > layout.staging.byteLength) return undefined;
  new Uint8Array(buffer, table).set(bytes);
  new Uint8Array(buffer, bands, x - bands).fill(0x11);
  new Uint8Array(buffer, x, scratch - x).fill(0); // as most activations, which sums of two steps by pairs hold
  const timed = formsOf(count);
  const least = timed.map(() => Number.POSITIVE_INFINITY);
  const all = timed.map(() => 0);
  for (let round = 0; round < timed.length * ROUNDS; round++) {
    const i = round % timed.length;
    setForm(new Uint8Array(buffer, table), timed[i]);
    const start = performance.now();
    for (let call = 0; call < ACTIVATIONS / count; call++) {
      kernels.matmul(
        bands,
        bandBytes / PAIR_ROWS,
        scales,
        PAIR_ROWS,
        COLS,
        GROUP_SIZE,
        table,
        x,
        count,
        y,
        PAIR_ROWS,
        scratch,
      );
    }
    const time = performance.now() - start;
    least[i] = Math.min(least[i], time);
    all[i] += time;
  }
  return least.every((time) => time > 0) ? least : all;
}
