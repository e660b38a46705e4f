// A mixture of experts as it runs: of a token's inputs each of its experts makes down(f(gate h) ∘ up h), and their weighted sum, which
// begins with the shared expert, goes to the residual stream. Experts run by the pairs of pairs.ts, all at once or, where they share
// slots, in rounds of as many as there are slots.

import type { ExpertsSpec } from '../../families/architecture.ts';
import { applyLinear, type Linear, moved, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Slots } from './block.ts';
import { scalarOf } from './branch.ts';
import { STEPS } from './feedforward.ts';
import { type Gather, gatherPairs, type Pairs, pairsOf, type Run, roundsOf } from './pairs.ts';
import { chooseExperts, type Router } from './router.ts';

/** The weights of one expert. */
export interface Expert {
  readonly gate: Linear;
  /** None where the rows of both stand in `gate` in turn. */
  readonly up: Linear | undefined;
  readonly down: Linear;
}

/** Experts of one width, and where their activations are. */
export interface Hidden {
  readonly width: number;
  readonly gated: number; // (vectors, width)
  readonly upper: number; // (vectors, width)
  readonly rotations: readonly Rotation[];
}

/** The expert that all tokens go to. */
export interface Shared extends Expert, Hidden {
  readonly up: Linear;
  /** The weight of its gate, if there is one, and σ of what that gives. */
  readonly weight: Linear | undefined;
  readonly shares: number; // (batch)
}

/** Norms of each part, and where what they give stands. */
export interface Apart {
  readonly routerNorm: number; // (dim)
  readonly routerInput: number; // (batch, dim)
  readonly routerRotations: readonly Rotation[];
  readonly sharedNorm: number; // (dim)
  readonly sharedInput: number; // (batch, dim)
  readonly sharedRotations: readonly Rotation[];
  readonly sharedPost: number; // (dim)
  readonly expertsPost: number; // (dim)
  readonly postNorm: number; // (dim)
  /** What the residual stream is multiplied by after. */
  readonly scalar: number; // (1), 0 for none
  readonly mixture: number; // (batch, dim), Σ of a token's experts
}

/** A mixture of experts that runs, with regions. */
export interface Experts extends Hidden, Router {
  readonly kind: 'experts';
  readonly norm: number; // (dim), 0 for none
  readonly inputRotations: readonly Rotation[];
  readonly activation: ExpertsSpec['activation'];
  readonly experts: readonly Expert[];
  /** Where the memory has not room for all experts. */
  readonly slots: Slots | undefined;
  /** Room for weights of experts that tokens are likely to go to. */
  readonly likely: number; // (batch, top), 0 where all have room
  readonly shared: Shared | undefined;
  readonly apart: Apart | undefined;
  readonly gathers: readonly Gather[];
  readonly outputs: number; // (batch · top, dim)
}

/** Place of the first weight of an expert that the router chooses, among the block's, and weights of each. */
export const placesOf = ({ shared, experts }: Experts): { first: number; each: number } => ({
  first: shared ? 3 : 0,
  each: experts[0].up ? 3 : 2,
});

/** x += what all experts of a token give, for the `count` tokens of a pass. Ends at a barrier. */
export function mix(thread: Thread, state: State, block: Experts, count: number): void {
  const { x, y, dim } = state;
  const { kernels, index, barrier } = thread;
  const { shared, apart } = block;
  const pairs = takePairs(thread, state, block, count);
  const rounds = roundsOf(block.slots, pairs);
  for (let i = 0; i < rounds.length; i++) {
    if (i > 0) barrier(); // nobody reads the slots any more
    const runs = rounds[i];
    const own = block.slots ? inSlots(thread, block, block.slots, runs, i + 1 < rounds.length ? 0 : count) : block;
    gatePairs(thread, state, own, runs);
    barrier();
    const last = runs[runs.length - 1];
    rotateTokens(thread, block.rotations, last.from + last.count - runs[0].from, runs[0].from);
    putOut(thread, state, own, runs);
  }

  const first = share(index, thread.count, dim, ROWS_APART);
  const end = share(index + 1, thread.count, dim, ROWS_APART);
  if (shared) rotateTokens(thread, shared.rotations, count);
  if (shared) apply(thread, state, shared.down, count, y);
  const sums = apart?.mixture ?? y;
  const floats = new Float32Array(thread.ints.buffer);
  for (let token = 0; token < count; token++) {
    const at = sums + (token * dim + first) * 4;
    if (shared?.weight) kernels.scale(at, floats[shared.shares / 4 + token], end - first);
    if (!shared || apart) thread.ints.fill(0, at / 4, at / 4 + end - first);
    addOutputs(thread, block, pairs, token, first, end, at, block.outputs, floats);
    if (!apart) kernels.add(x + (token * dim + first) * 4, at, end - first);
  }
  barrier();
  if (!apart) return;
  addParts(thread, state, apart, count);
  barrier();
}

// What the router, the experts and the shared expert read: this thread's tokens.
function readTokens(thread: Thread, state: State, { norm, inputRotations, apart }: Experts, count: number): void {
  normTokens(thread, state, norm, inputRotations, 0, count);
  if (!apart) return;
  normTokens(thread, state, apart.routerNorm, apart.routerRotations, 0, count, apart.routerInput);
  normTokens(thread, state, apart.sharedNorm, apart.sharedRotations, 0, count, apart.sharedInput);
}

/** Inputs of all pairs, and gate and up of the shared expert. Ends at a barrier. @param before where its gate is kept, 0 for nowhere */
export function takePairs(thread: Thread, state: State, block: Experts, count: number, before = 0): Pairs {
  const { router, logits, chosen, routing, experts, shared } = block;
  readTokens(thread, state, block, count);
  thread.barrier();
  apply(thread, state, router, count, logits);
  if (shared) {
    if (shared.weight) apply(thread, state, shared.weight, count, shared.shares);
    apply(thread, state, shared.gate, count, shared.gated);
    apply(thread, state, shared.up, count, shared.upper);
    gateOwn(thread, block.activation, shared, 0, count, before);
  }
  thread.barrier();
  const [first, end] = ownTokens(thread, count);
  if (shared?.weight) thread.kernels.sigmoid(shared.shares + first * 4, end - first);
  chooseExperts(thread, block, count);
  thread.barrier();
  const pairs = pairsOf(thread, chosen, count * routing.top, routing.top, experts.length);
  gatherPairs(thread, block.gathers, pairs);
  thread.barrier();
  return pairs;
}

// The block with the experts of these runs where thread 0 has put them.
function inSlots(
  thread: Thread,
  block: Experts,
  { block: number, pool }: Slots,
  runs: readonly Run[],
  tokens: number,
): Experts {
  const asked = runs.map(({ expert }) => expert);
  thread.fetch?.(number, asked, tokens);
  thread.barrier();
  const experts: Expert[] = [];
  for (const expert of asked) {
    const by = pool.first + thread.ints[pool.table / 4 + expert] * pool.bytes;
    const { gate, up, down } = block.experts[expert];
    experts[expert] = { gate: moved(gate, by), up: up && moved(up, by), down: moved(down, by) };
  }
  return { ...block, experts };
}

/** Gate and up of all pairs, and f(gate) ∘ up: this thread's rows. @param before where gates are kept, 0 for nowhere */
export function gatePairs(thread: Thread, state: State, block: Experts, runs: readonly Run[], before = 0): void {
  const { kernels, index } = thread;
  const { width, gated, upper, activation } = block;
  const first = share(index, thread.count, width, ROWS_APART);
  const end = share(index + 1, thread.count, width, ROWS_APART);
  for (const { expert, from, count } of runs) {
    const { gate, up } = block.experts[expert];
    const at = from * width * 4;
    if (!up) {
      const both = upper + 2 * at;
      applyLinear(kernels, gate, from, count, both, 2 * first, 2 * end, state.scratch[index]);
      for (let j = 0; j < count; j++) {
        const own = (j * width + first) * 4;
        kernels.clampedGate(both + 2 * own, gated + at + own, end - first);
      }
      continue;
    }
    applyLinear(kernels, gate, from, count, gated + at, first, end, state.scratch[index]);
    applyLinear(kernels, up, from, count, upper + at, first, end, state.scratch[index]);
    gateOwn(thread, activation, block, from, count, before);
  }
}

// f(gate) ∘ up of `count` vectors from vector `from` on: this thread's rows.
function gateOwn(
  thread: Thread,
  activation: ExpertsSpec['activation'],
  hidden: Hidden,
  from: number,
  count: number,
  before: number,
): void {
  const { width, gated, upper } = hidden;
  const first = share(thread.index, thread.count, width, ROWS_APART);
  const end = share(thread.index + 1, thread.count, width, ROWS_APART);
  if (activation === 'clamped') return; // done already, of both in one
  const gate = STEPS[activation].run(thread.kernels);
  for (let j = from; j < from + count; j++) {
    const at = (j * width + first) * 4;
    if (before) copyFloats(thread.kernels, gated + at, end - first, before + at);
    gate(gated + at, upper + at, end - first);
  }
}

/** What each pair's expert gives: this thread's rows. */
export function putOut(
  thread: Thread,
  state: State,
  { experts, outputs, router }: Experts,
  runs: readonly Run[],
): void {
  const { kernels, index } = thread;
  const { cols: dim } = router;
  const first = share(index, thread.count, dim, ROWS_APART);
  const end = share(index + 1, thread.count, dim, ROWS_APART);
  for (const { expert, from, count } of runs) {
    const { down } = experts[expert];
    applyLinear(kernels, down, from, count, outputs + from * dim * 4, first, end, state.scratch[index]);
  }
}

/** Adds to `to` what a token's experts gave, times their weights: columns `first` to `end`. @param room where the products go, (pairs, dim) */
export function addOutputs(
  { kernels }: Thread,
  { outputs, weights, router, routing }: Experts,
  { places }: Pairs,
  token: number,
  first: number,
  end: number,
  to: number,
  room: number,
  floats: Float32Array,
): void {
  const { top } = routing;
  for (let slot = 0; slot < top; slot++) {
    const at = (places[token * top + slot] * router.cols + first) * 4;
    if (room !== outputs) copyFloats(kernels, outputs + at, end - first, room + at);
    kernels.scale(room + at, floats[weights / 4 + token * top + slot], end - first);
    kernels.add(to, room + at, end - first);
  }
}

// x += norm(norm(y) + norm(mixture)): this thread's tokens.
function addParts(thread: Thread, state: State, apart: Apart, count: number): void {
  const { kernels } = thread;
  const { dim, epsilon } = state;
  const [first, end] = ownTokens(thread, count);
  const [own, floats] = [end - first, (end - first) * dim];
  const [x, y, mixture] = [state.x, state.y, apart.mixture].map((at) => at + first * dim * 4);
  kernels.rmsNorm(y, apart.sharedPost, own, dim, epsilon, y);
  kernels.rmsNorm(mixture, apart.expertsPost, own, dim, epsilon, mixture);
  kernels.add(y, mixture, floats);
  kernels.rmsNorm(y, apart.postNorm, own, dim, epsilon, y);
  kernels.add(x, y, floats);
  const scalar = scalarOf(thread, apart.scalar);
  if (scalar !== 1) kernels.scale(x, scalar, floats);
}
