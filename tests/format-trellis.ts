// FORMAT.md's trellises, implemented a second time: what codes stand for, and what their writer promises of them.

import * as assert from 'uvu/assert';

export interface Trellis {
  bits: number;
  step: number;
  zero: number;
  tables: ArrayLike<number>; // (3, 16), by labels (2, 16)
  /** By labels: low bits of the codes before that make one. */
  kept?: readonly number[] | undefined;
}

/** Integers of a trellis' codes, for every column, those of the padding too. */
export function integersOf(codes: readonly number[], trellis: Trellis): number[] {
  return codes.map((_, k) => integerAt(codes, k, trellis));
}

function integerAt(codes: readonly number[], k: number, { bits, tables, kept }: Trellis): number {
  const before = (k: number, steps: number) => (k - 4 * steps + 3 * codes.length) % codes.length;
  if (kept) {
    const label = kept.reduce((label, bits, lag) => label ^ (codes[before(k, lag + 1)] & (2 ** bits - 1)), 0);
    return tables[codes[k] & 15] + (codes[k] & 48) + tables[16 + label];
  }
  const index = (k: number) => (bits === 2 ? codes[before(k, 1)] + 4 * codes[k] : codes[k]);
  return [0, 1, 2].reduce((sum, lag) => sum + tables[lag * 16 + index(before(k, lag))], 0);
}

function largestOf({ bits, tables }: Trellis): number {
  const most = (start: number) => Math.max(...Array.from({ length: 16 }, (_, i) => tables[start + i]));
  return most(0) + most(16) + 16 * (2 ** Math.max(0, bits - 4) - 1);
}

/** How far a changed code reaches: at 2 bits an index holds two codes. */
const REACH = 4;

/**
 * No other code in any place would have cost less. The codes that make the seam's state are not tried: the writer chooses that
 * state from less than the whole. `z` may be off by `slack`, and the writer rounds it to 1/128 of a step.
 */
export function checkPath(
  name: string,
  codes: readonly number[],
  z: Float64Array,
  slack: Float64Array,
  trellis: Trellis,
): void {
  const { bits, step, zero, kept } = trellis;
  // By labels costs are whole numbers of so many to a squared step, and none is larger than 32767.
  const unit = kept ? (181 * 2 ** Math.min(bits - 2, 3)) ** 2 / 32768 : Infinity;
  const bounds = kept ? [-16, largestOf(trellis) + 16] : [-64, 24575 / 128];
  const y = (k: number) => Math.min(bounds[1], Math.max(bounds[0], z[k] / step + zero));
  const costOf = (distance: number) => Math.min(distance ** 2, 32767 / unit || Infinity);
  const integers = integersOf(codes, trellis);
  const last = codes.length - 4 * 3;
  for (let k = 0; k < last; k++) {
    const around = Array.from({ length: REACH }, (_, i) => k + 4 * i).filter((index) => index < codes.length);
    for (let code = 0; code < 2 ** bits; code++) {
      const changed = [...codes];
      changed[k] = code;
      let [gain, doubt] = [0, 0];
      for (const index of around) {
        const [before, other] = [integers[index], integerAt(changed, index, trellis)];
        gain += costOf(y(index) - before) - costOf(y(index) - other);
        doubt += 1 / unit;
        doubt +=
          2 *
          Math.abs(other - before) *
          (1 / 256 + slack[index] / step + (Math.abs(z[index] / step) + zero) * 2 ** -22);
      }
      if (gain > doubt) assert.unreachable(`${name}: code ${k} is ${codes[k]}, but ${code} costs less`);
    }
  }
}
