// The router of an experts block: logits of all experts by one weight, then which of them each token goes to and with what weights
// (assembly/decoder/route.ts). Gemma 4's has more: logits are multiplied by a number, weights by one of each expert.

import type { ExpertsSpec, Routing } from '../../families/architecture.ts';
import type { Linear } from '../linear.ts';
import { tokensOfThread } from '../steps.ts';
import type { Thread } from '../team.ts';
import type { Back, BlockPlanner } from './block.ts';

/** A router that runs, with regions. */
export interface Router {
  /** The weight (experts, dim). */
  readonly router: Linear;
  /** Added to scores where experts are chosen: (experts), 0 for none. */
  readonly correction: number;
  /** How experts are chosen, and what becomes of their weights. */
  readonly routing: Routing;
  /** What logits are multiplied by. */
  readonly logitScale: number;
  /** What the weights of each expert are multiplied by. */
  readonly factors: number; // (experts), 0 for none
  /** (batch, experts). */
  readonly logits: number;
  /** Experts of each token, ascending: (batch, top) i32. */
  readonly chosen: number;
  /** What each of them counts: (batch, top). */
  readonly weights: number;
  /** (batch, 5 · (experts + 4)), what routing works in. */
  readonly routed: number;
}

/** @param input what it reads, (batch, dim) */
export function planRouter(spec: ExpertsSpec, planner: BlockPlanner, input: number): Router {
  const { routing, apart } = spec;
  const { top } = routing;
  const count = spec.experts.length;
  return {
    logits: planner.activation('logits', count),
    chosen: planner.activation('chosen', top),
    weights: planner.activation('weights', top),
    routed: planner.activation('routed', 5 * (count + 4)),
    router: planner.linear(spec.router, input),
    correction: spec.correction ? planner.tensor(spec.correction.name, spec.correction.shape) : 0,
    ...{ routing, logitScale: apart?.logitScale ?? 1 },
    factors: apart ? planner.vector(apart.factors.name, count) : 0,
  };
}

/** Experts and weights of tokens, from their logits: this thread's. */
export function chooseExperts(thread: Thread, block: Router, count: number): void {
  const { kernels } = thread;
  const { router, logits, correction, routing, logitScale, chosen, weights, routed } = block;
  const { sigmoid, groups, taken, two, top, normalize, factor } = routing;
  const { rows } = router;
  const [first, end] = tokensOfThread(thread, count);
  if (logitScale !== 1) kernels.scale(logits + first * rows * 4, logitScale, (end - first) * rows);
  kernels.route(
    ...([logits + first * rows * 4, end - first, rows, correction, sigmoid ? 1 : 0, groups, taken] as const),
    ...([two ? 1 : 0, top, normalize ? 1 : 0, factor, chosen + first * top * 4, weights + first * top * 4] as const),
    routed + first * 5 * (rows + 4) * 4,
  );
  multiplyFactors(thread, block, first, end, weights);
}

/** Gradients of logits, to `dLogits`, from those of the weights, `dWeights`: this thread's tokens. */
export function routesBack(back: Back, block: Router): void {
  const { router, routing, logits, logitScale, chosen, routed } = block;
  const { thread, draws, pass } = back;
  const { kernels } = thread;
  const { sigmoid, top, normalize, factor } = routing;
  const { rows } = router;
  const [first, end] = tokensOfThread(thread, pass.count);
  for (let draw = 0; draw < draws; draw++) {
    const i = draw * pass.count + first;
    const to = back.region('dLogits') + i * rows * 4;
    const dWeights = back.region('dWeights') + draw * pass.count * top * 4;
    multiplyFactors(thread, block, first, end, dWeights);
    kernels.routeBack(
      ...([logits + first * rows * 4, end - first, rows, sigmoid ? 1 : 0, top, normalize ? 1 : 0, factor] as const),
      ...([chosen + first * top * 4, dWeights + first * top * 4, to, routed + first * 5 * (rows + 4) * 4] as const),
    );
    if (logitScale !== 1) kernels.scale(to, logitScale, (end - first) * rows);
  }
}

// Values of the experts that tokens `first` to `end` go to, (tokens, top), times the factors of these.
function multiplyFactors(
  { kernels, ints }: Thread,
  { factors, chosen, routing }: Router,
  first: number,
  end: number,
  values: number,
): void {
  if (factors === 0) return;
  for (let i = first * routing.top; i < end * routing.top; i++) {
    kernels.multiply(values + i * 4, factors + ints[chosen / 4 + i] * 4, 1);
  }
}
