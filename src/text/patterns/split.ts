// A text cut at matches, as tokenizer.json's `behavior` says: each match is a piece, is left out, or joins a neighbour. The
// library isolates and removes alone, and drops what stands between where it should keep it.

import type { Match } from './pattern.ts';

/** What becomes of a match. `Contiguous` joins matches in a row, the merging ones join one match to one neighbour. */
export const BEHAVIORS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const;
/** What becomes of the text between matches, as tokenizer.json names it. */
export type Behavior = (typeof BEHAVIORS)[number];

/** @param invert whether what stands between the matches is meant */
export function splitPieces(text: string, matches: Iterable<Match>, behavior: Behavior, invert: boolean): string[] {
  const pieces: string[] = [];
  let last: boolean | undefined; // whether the last piece ends with a match
  let position = 0;
  const give = (end: number, isMatch: boolean) => {
    if (end === position) return;
    if (last !== undefined && joins(behavior, last, isMatch)) pieces[pieces.length - 1] += text.slice(position, end);
    else if (behavior !== 'Removed' || !isMatch) pieces.push(text.slice(position, end));
    position = end;
    last = isMatch;
  };
  for (const [start, end] of matches) {
    give(start, invert);
    give(end, !invert);
  }
  give(text.length, invert);
  return pieces;
}

function joins(behavior: Behavior, left: boolean, right: boolean): boolean {
  if (behavior === 'Contiguous') return left === right;
  return (behavior === 'MergedWithPrevious' && right && !left) || (behavior === 'MergedWithNext' && left && !right);
}
