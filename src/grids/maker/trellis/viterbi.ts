// The sequence of windows of least squared error, tail-biting: the state before the first step is that after the last.
// The state at this seam is found by a run with free ends over the last and then the first 32 steps.
// Costs are f64: exact, as the format wants them, where values and targets are integers; ties go to the lowest window.

import type { Windows } from './window.ts';

const WARM_UP = 32;

export interface Encoder {
  /**
   * Encodes one sequence.
   * @param values of every window
   * @param targets (steps) @param chosen receives the window of each step (steps)
   */
  encode(values: Float64Array, targets: Float64Array, chosen: Uint16Array): void;
}

/** @param steps the longest sequence */
export function newEncoder({ bits, states, entering }: Windows, steps: number): Encoder {
  const codes = 2 ** bits;
  const edges = states * codes;
  const from = entering.map((w) => w >> bits);
  const value = new Float64Array(edges); // in the order of `entering`
  const square = new Float64Array(edges);
  const best = new Uint8Array(steps * states);
  let cost = new Float64Array(states);
  let next = new Float64Array(states);

  /** One step: `cost` after it, and the edge taken into each state at row `at` of `best`. */
  function step(target: number, at: number): void {
    const twice = 2 * target;
    const row = at * states;
    for (let q = 0, e = 0; q < states; q++) {
      let least = Infinity;
      let which = 0;
      for (let k = 0; k < codes; k++, e++) {
        const sum = cost[from[e]!]! + (square[e]! - twice * value[e]!);
        if (sum < least) {
          least = sum;
          which = k;
        }
      }
      next[q] = least;
      best[row + q] = which;
    }
    [cost, next] = [next, cost];
  }

  function seam(targets: Float64Array): number {
    const T = targets.length;
    if (T < 3) return 0;
    const W = Math.min(WARM_UP, T);
    cost.fill(0);
    for (let i = 0; i < W; i++) step(targets[T - W + i]!, 0);
    for (let i = 0; i < W; i++) step(targets[i]!, i);
    let q = 0;
    for (let s = 1; s < states; s++) if (cost[s]! < cost[q]!) q = s;
    for (let i = W - 1; i >= 0; i--) q = from[q * codes + best[i * states + q]!]!;
    return q;
  }

  return {
    encode(values, targets, chosen) {
      for (let e = 0; e < edges; e++) {
        value[e] = values[entering[e]!]!;
        square[e] = value[e]! ** 2;
      }
      const ends = seam(targets);
      cost.fill(Infinity);
      cost[ends] = 0;
      for (let i = 0; i < targets.length; i++) step(targets[i]!, i);
      let q = ends;
      for (let i = targets.length - 1; i >= 0; i--) {
        const e = q * codes + best[i * states + q]!;
        chosen[i] = entering[e]!;
        q = from[e]!;
      }
    },
  };
}
