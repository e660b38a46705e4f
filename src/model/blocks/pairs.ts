// Tokens by expert: a pair is a token and one of its experts. Pairs stand by expert, so that each expert is one product over its tokens:
//
//   tokens         0 1 2 3                 chosen of each         0: 2 5    1: 0 2    2: 2 5    3: 0 5
//   pairs          1 3 │ 0 1 2 │ 0 2 3     by expert              0   │ 2     │ 5
//
// An element of a pair does not depend on the pairs beside it.

import type { Linear } from '../linear.ts';
import { share, type Thread } from '../team.ts';
import type { BlockPlanner, Slots } from './block.ts';

/** Inputs of tokens, and where those of pairs are put. */
export interface Gather {
  /** Address of the tokens' vectors: (batch, bytes). */
  readonly from: number;
  /** Address of the pairs' vectors: (batch · top, bytes). */
  readonly to: number;
  /** Bytes of a vector. */
  readonly bytes: number;
}

/** Tokens and the experts that they go to, sorted by expert. */
export interface Pairs {
  /** The token of each pair: (pairs). */
  readonly tokens: Int32Array;
  /** The pair of each choice, (tokens, top). */
  readonly places: Int32Array;
  /** Of experts that have pairs, ascending. */
  readonly runs: readonly ExpertRun[];
}

/** The pairs of an expert. */
export interface ExpertRun {
  /** Number of the expert. */
  readonly expert: number;
  /** Its first pair. */
  readonly from: number;
  /** Its pairs, from 1. */
  readonly count: number;
}

/** Weights that read the inputs of pairs; and what puts these there, once for all weights that read the same. */
export function gatherInputs(
  weights: readonly Linear[],
  planner: BlockPlanner,
  top: number,
): { gathers: Gather[]; ofPairs: (linear: Linear) => Linear } {
  const gathers = new Map<number, Gather>();
  for (const { input, inputBytes } of weights) {
    if (gathers.has(input)) continue;
    const to = planner.activation(`pairs of ${input}`, (top * inputBytes) / 4);
    gathers.set(input, { from: input, to, bytes: inputBytes });
  }
  const ofPairs = (linear: Linear): Linear => ({ ...linear, input: gathers.get(linear.input)!.to });
  return { gathers: [...gathers.values()], ofPairs };
}

/** @param chosen address of the experts of each token, (tokens, top) i32 @param all how many they are */
export function pairsOf({ ints }: Thread, chosen: number, all: number, top: number, experts: number): Pairs {
  const choices = ints.subarray(chosen / 4, chosen / 4 + all);
  const counts = new Int32Array(experts);
  for (const expert of choices) counts[expert]++;
  const next = new Int32Array(experts);
  const runs = [];
  let from = 0;
  for (const [expert, count] of counts.entries()) {
    next[expert] = from;
    if (count > 0) runs.push({ expert, from, count });
    from += count;
  }
  const [tokens, places] = [new Int32Array(all), new Int32Array(all)];
  for (const [choice, expert] of choices.entries()) {
    places[choice] = next[expert]++;
    tokens[places[choice]] = Math.floor(choice / top);
  }
  return { tokens, places, runs };
}

/** The runs that go together: all, or as many as there are slots. */
export function roundsOf(slots: Slots | undefined, { runs }: Pairs): (readonly ExpertRun[])[] {
  if (!slots || runs.length <= slots.pool.count) return [runs];
  const { count } = slots.pool;
  return Array.from({ length: Math.ceil(runs.length / count) }, (_, i) => runs.slice(i * count, (i + 1) * count));
}

/** This thread's pairs get the inputs of their tokens. */
export function gatherPairs(
  { ints, index, count: threads }: Thread,
  gathers: readonly Gather[],
  { tokens }: Pairs,
): void {
  const end = share(index + 1, threads, tokens.length, 1);
  for (const { from, to, bytes } of gathers) {
    const words = bytes / 4;
    for (let pair = share(index, threads, tokens.length, 1); pair < end; pair++) {
      const word = from / 4 + tokens[pair] * words;
      ints.copyWithin(to / 4 + pair * words, word, word + words);
    }
  }
}
