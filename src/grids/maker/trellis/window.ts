// The window of a step: the bits of codes that its value depends on, and how steps are joined.
// window = c_i | low r1 bits of c_{i−1} << bits | low r2 bits of c_{i−2} << (bits + r1) | …;  state = window >> bits.
// Tables: entry T_l of (3, 16), index d_{i−l}, d_i = c_i (3 and 4 bits) or c_{i−1} + 4·c_i (2 bits).

export interface Shape {
  readonly bits: 2 | 3 | 4;
  /** Bits kept of c_{i−1}, c_{i−2}, …: none longer than the one before. */
  readonly kept: readonly number[];
}

export interface Windows {
  readonly bits: number;
  readonly states: number;
  /** Windows that enter each state, ascending. */
  readonly entering: Uint16Array; // (states, 2^bits)
  /** Table entries that a window adds up: T0, T1, T2 in 0…15, 16…31, 32…47. */
  readonly entries: Uint8Array; // (windows, 3)
}

export function windows({ bits, kept }: Shape): Windows {
  const states = 2 ** kept.reduce((sum, r) => sum + r, 0);
  const codes = 2 ** bits;
  const entering = new Uint16Array(states * codes);
  const entries = new Uint8Array(states * codes * 3);
  const filled = new Uint8Array(states);
  for (let w = 0; w < states * codes; w++) {
    // Codes c_i, c_{i−1}, …, as far as the window tells them.
    const past = [w % codes, ...unpack(w >> bits, kept), 0, 0, 0];
    const q = pack(past, kept);
    entering[q * codes + filled[q]!++] = w;
    for (let lag = 0; lag < 3; lag++) {
      const d = bits === 2 ? past[lag + 1]! + 4 * past[lag]! : past[lag]!;
      entries[3 * w + lag] = 16 * lag + d;
    }
  }
  return { bits, states, entering, entries };
}

function unpack(state: number, kept: readonly number[]): number[] {
  let rest = state;
  return kept.map((r) => {
    const low = rest % 2 ** r;
    rest >>= r;
    return low;
  });
}

function pack(codes: readonly number[], kept: readonly number[]): number {
  let [state, at] = [0, 0];
  kept.forEach((r, i) => {
    state |= codes[i]! % 2 ** r << at;
    at += r;
  });
  return state;
}
