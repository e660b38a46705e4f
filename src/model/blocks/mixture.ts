// A mixture of experts as it runs: of a token's inputs each of its experts makes down(f(gate h) ∘ up h), and their weighted sum, which
// begins with the shared expert, goes to the residual stream. Experts run by the pairs of pairs.ts, all at once or, where they share
// slots, in rounds of as many as there are slots.

import type { ExpertsSpec } from '../../families/architecture.ts';
import { applyLinear, type Linear, moved, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, inRows, normTokens, rotateTokens, tokensOfThread } from '../steps.ts';
import type { Thread } from '../team.ts';
import type { Slots } from './block.ts';
import { scalarOf } from './branch.ts';
import { STEPS } from './feedforward.ts';
import { type ExpertRun, type Gather, gatherPairs, type Pairs, pairsOf, roundsOf } from './pairs.ts';
import { chooseExperts, type Router } from './router.ts';

/** The weights of one expert. */
export interface Expert {
  /** The weight (width, dim), or (2 · width, dim) in turn with that of up. */
  readonly gate: Linear;
  /** None where the rows of both stand in `gate` in turn. */
  readonly up: Linear | undefined;
  /** The weight (dim, width). */
  readonly down: Linear;
}

/** Experts of one width, and where their activations are. */
export interface Hidden {
  /** Elements between the weights of an expert. */
  readonly width: number;
  /** f(gate) ∘ up in the end: (vectors, width). */
  readonly gated: number;
  /** Up, or gate and up in turn, twice as wide: (vectors, width). */
  readonly upper: number;
  /** How `gated` is rotated for the weights of down. */
  readonly rotations: readonly Rotation[];
}

/** The expert that all tokens go to. */
export interface Shared extends Expert, Hidden {
  /** The weight (width, dim). */
  readonly up: Linear;
  /** The weight of its gate, if there is one, and σ of what that gives. */
  readonly weight: Linear | undefined;
  /** What it counts for each token: (batch). */
  readonly shares: number;
}

/** Norms of each part, and where what they give stands. */
export interface Apart {
  /** Norm of what the router reads: (dim). */
  readonly routerNorm: number;
  /** What it gives: (batch, dim). */
  readonly routerInput: number;
  /** How that is rotated. */
  readonly routerRotations: readonly Rotation[];
  /** Norm of what the shared expert reads: (dim). */
  readonly sharedNorm: number;
  /** What it gives: (batch, dim). */
  readonly sharedInput: number;
  /** How that is rotated. */
  readonly sharedRotations: readonly Rotation[];
  /** Norm of what the shared expert gives: (dim). */
  readonly sharedPost: number;
  /** Norm of the sum of a token's other experts: (dim). */
  readonly expertsPost: number;
  /** Norm of the sum of both: (dim). */
  readonly postNorm: number;
  /** What the residual stream is multiplied by after. */
  readonly scalar: number; // (1), 0 for none
  /** (batch, dim), Σ of a token's experts. */
  readonly mixture: number;
}

/** A mixture of experts that runs, with regions. */
export interface Experts extends Hidden, Router {
  readonly kind: 'experts';
  /** Norm before the block: (dim), 0 for none. */
  readonly norm: number;
  /** How its input is rotated for router and experts. */
  readonly inputRotations: readonly Rotation[];
  /** f. */
  readonly activation: ExpertsSpec['activation'];
  /** All experts, by the router's rows. Of those in slots addresses count from a slot's first byte. */
  readonly experts: readonly Expert[];
  /** Where the memory has not room for all experts. */
  readonly slots: Slots | undefined;
  /** Room for weights of experts that tokens are likely to go to. */
  readonly likely: number; // (batch, top), 0 where all have room
  /** The expert that all tokens go to, if there is one. */
  readonly shared: Shared | undefined;
  /** Norms of each part, where there are such. */
  readonly apart: Apart | undefined;
  /** Copies of inputs by pairs, in each form that experts read. */
  readonly gathers: readonly Gather[];
  /** What experts give, by pairs: (batch · top, dim). */
  readonly outputs: number;
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
  const sums = apart?.mixture ?? y;
  const floats = new Float32Array(thread.ints.buffer);
  const pairs = takePairs(thread, state, block, count);
  const rounds = roundsOf(block.slots, pairs);
  for (let i = 0; i < rounds.length; i++) {
    if (i > 0) barrier(); // nobody reads the slots any more
    const runs = rounds[i];
    const resident = block.slots ? inSlots(thread, block, block.slots, runs, i + 1 < rounds.length ? 0 : count) : block;
    gatePairs(thread, state, resident, runs);
    barrier();
    const last = runs[runs.length - 1];
    rotateTokens(thread, block.rotations, last.from + last.count - runs[0].from, runs[0].from);
    const isLast = i + 1 === rounds.length;
    if (isLast && shared) rotateTokens(thread, shared.rotations, count);
    putOut(thread, state, resident, runs, isLast ? sumUp : undefined);
  }
  barrier();
  if (!apart) return;
  addParts(thread, state, apart, count);
  barrier();

  // What experts gave, to the residual stream or to the sums of the mixture.
  function sumUp(first: number, end: number): void {
    if (shared) applyLinear(kernels, shared.down, 0, count, y, first, end, state.scratch[index]);
    for (let token = 0; token < count; token++) {
      const address = sums + (token * dim + first) * 4;
      if (shared?.weight) kernels.scale(address, floats[shared.shares / 4 + token], end - first);
      if (!shared || apart) thread.ints.fill(0, address / 4, address / 4 + end - first);
      addOutputs(thread, block, pairs, token, first, end, address, block.outputs, floats);
      if (!apart) kernels.add(x + (token * dim + first) * 4, address, end - first);
    }
  }
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
    const { weight, shares, gate, up } = shared;
    if (weight) apply(thread, state, weight, count, shares);
    gateRows(thread, state, block.activation, { gate, up }, shared, 0, count, before);
  }
  thread.barrier();
  const [first, end] = tokensOfThread(thread, count);
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
  runs: readonly ExpertRun[],
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

/** Gate and up of all pairs, and f(gate) ∘ up, in parts. @param before where gates are kept, 0 for nowhere */
export function gatePairs(thread: Thread, state: State, block: Experts, runs: readonly ExpertRun[], before = 0): void {
  for (const { expert, from, count } of runs) {
    gateRows(thread, state, block.activation, block.experts[expert], block, from, count, before);
  }
}

// Gate and up of an expert, and f(gate) ∘ up, for `count` vectors from vector `from` on, in parts.
function gateRows(
  thread: Thread,
  state: State,
  activation: ExpertsSpec['activation'],
  { gate, up }: Pick<Expert, 'gate' | 'up'>,
  { width, gated, upper }: Hidden,
  from: number,
  count: number,
  before: number,
): void {
  const { kernels, index } = thread;
  const scratch = state.scratch[index];
  const begin = from * width * 4;
  inRows(thread, width, 2 * gate.cols * count, (first, end) => {
    if (!up) {
      const both = upper + 2 * begin; // rows of gate and up in turn
      applyLinear(kernels, gate, from, count, both, 2 * first, 2 * end, scratch);
      for (let j = 0; j < count; j++) {
        const offset = (j * width + first) * 4;
        kernels.clampedGate(both + 2 * offset, gated + begin + offset, end - first);
      }
      return;
    }
    applyLinear(kernels, gate, from, count, gated + begin, first, end, scratch);
    applyLinear(kernels, up, from, count, upper + begin, first, end, scratch);
    if (activation === 'clamped') return; // of rows in turn alone
    const step = STEPS[activation].run(kernels);
    for (let j = from; j < from + count; j++) {
      const offset = (j * width + first) * 4;
      if (before) copyFloats(kernels, gated + offset, end - first, before + offset);
      step(gated + offset, upper + offset, end - first);
    }
  });
}

/**
 * What each pair's expert gives, in parts of its rows.
 * @param behind what is done with rows `first` to `end` by the thread that made them
 */
export function putOut(
  thread: Thread,
  state: State,
  { experts, outputs, router, width }: Experts,
  runs: readonly ExpertRun[],
  behind?: (first: number, end: number) => void,
): void {
  const { kernels, index } = thread;
  const { cols: dim } = router;
  const vectors = runs.reduce((sum, { count }) => sum + count, 0);
  inRows(thread, dim, vectors * width, (first, end) => {
    for (const { expert, from, count } of runs) {
      const { down } = experts[expert];
      applyLinear(kernels, down, from, count, outputs + from * dim * 4, first, end, state.scratch[index]);
    }
    behind?.(first, end);
  });
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
    const offset = (places[token * top + slot] * router.cols + first) * 4;
    if (room !== outputs) copyFloats(kernels, outputs + offset, end - first, room + offset);
    kernels.scale(room + offset, floats[weights / 4 + token * top + slot], end - first);
    kernels.add(to, room + offset, end - first);
  }
}

// x += norm(norm(y) + norm(mixture)): this thread's tokens.
function addParts(thread: Thread, state: State, apart: Apart, count: number): void {
  const { kernels } = thread;
  const { dim, epsilon } = state;
  const [first, end] = tokensOfThread(thread, count);
  const [rows, floats] = [end - first, (end - first) * dim];
  const [x, y, mixture] = [state.x, state.y, apart.mixture].map((base) => base + first * dim * 4);
  kernels.rmsNorm(y, apart.sharedPost, rows, dim, epsilon, y);
  kernels.rmsNorm(mixture, apart.expertsPost, rows, dim, epsilon, mixture);
  kernels.add(y, mixture, floats);
  kernels.rmsNorm(y, apart.postNorm, rows, dim, epsilon, y);
  kernels.add(x, y, floats);
  const scalar = scalarOf(thread, apart.scalar);
  if (scalar !== 1) kernels.scale(x, scalar, floats);
}
