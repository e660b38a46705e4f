// Scalar twin of assembly/decoder/route.ts: one token.

import { sigmoid as logistic, softmax } from './decoder.ts';

const f = Math.fround;

/** How experts are chosen: `groups` of them, of which `taken` remain, `top` experts of those. */
export interface RouteOptions {
  readonly correction?: Float32Array; // (experts)
  readonly sigmoid: boolean;
  readonly groups: number;
  readonly taken: number;
  /** Whether a group counts as the sum of its two largest scores, not as its largest. */
  readonly two: boolean;
  readonly top: number;
  readonly normalize: boolean;
  readonly factor: number;
}

/** The experts that a token goes to, ascending, and their weights. */
export function route(logits: Float32Array, options: RouteOptions): { chosen: number[]; weights: number[] } {
  const { correction, sigmoid, groups, taken, two, top, normalize, factor } = options;
  const scores = sigmoid ? logistic(logits) : softmax(logits);
  const choice = scores.map((score, e) => f(score + (correction?.[e] ?? 0)));
  const size = logits.length / groups;
  // Indices by value, of equals the lower one first.
  const sorted = (values: ArrayLike<number>, of: number[]) => of.sort((a, b) => values[b] - values[a] || a - b);
  const members = (g: number) => Array.from({ length: size }, (_, i) => g * size + i);
  const counts = Array.from({ length: groups }, (_, g) => {
    const [first, second] = sorted(choice, members(g));
    return two && size > 1 ? f(choice[first] + choice[second]) : choice[first];
  });
  const remaining = sorted(counts, [...counts.keys()])
    .slice(0, taken)
    .flatMap(members);
  const chosen = sorted(choice, remaining)
    .slice(0, top)
    .sort((a, b) => a - b);
  const total = chosen.reduce((sum, e) => f(sum + scores[e]), 0);
  const weights = chosen.map((e) => f((normalize ? f(scores[e] / f(total + f(1e-20))) : scores[e]) * f(factor)));
  return { chosen, weights };
}
