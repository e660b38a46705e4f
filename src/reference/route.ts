// Scalar twins of assembly/decoder/route.ts: one token.

import { sigmoid as logistic, softmax } from './decoder.ts';

const f = Math.fround;

/** How experts are chosen: `groups` of them, of which `taken` remain, `top` experts of those. */
interface RouteOptions {
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

const scoresOf = (logits: Float32Array, sigmoid: boolean) => (sigmoid ? logistic(logits) : softmax(logits));

/** The experts that a token goes to, ascending, and their weights. */
export function route(logits: Float32Array, options: RouteOptions): { chosen: number[]; weights: number[] } {
  const { correction, sigmoid, groups, taken, two, top, normalize, factor } = options;
  const scores = scoresOf(logits, sigmoid);
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

/** Gradients of logits of those of the weights of `chosen` experts. */
export function routeBack(
  logits: Float32Array,
  { sigmoid, normalize, factor }: Pick<RouteOptions, 'sigmoid' | 'normalize' | 'factor'>,
  chosen: readonly number[],
  dWeights: Float32Array,
): Float32Array {
  const scores = scoresOf(logits, sigmoid);
  const total = f(chosen.reduce((sum, e) => f(sum + scores[e]), 0) + f(1e-20));
  const along = chosen.reduce((sum, e, k) => f(sum + f(dWeights[k] * scores[e])), 0);
  const mean = f(along / total);
  const dScores = new Float32Array(logits.length);
  let inner = 0;
  for (const [k, e] of chosen.entries()) {
    dScores[e] = f((normalize ? f(f(dWeights[k] - mean) / total) : dWeights[k]) * f(factor));
    inner = f(inner + f(dScores[e] * scores[e]));
  }
  if (!sigmoid) return dScores.map((ds, e) => f(scores[e] * f(ds - inner)));
  return dScores.map((ds, e) => (chosen.includes(e) ? f(ds * f(scores[e] * f(1 - scores[e]))) : 0));
}
