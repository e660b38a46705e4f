// Experts: x += Σ w_e · down_e(f(gate_e h) ∘ up_e h) + shared(h), h = norm(x), over the few experts e that the router gives a token
// (router.ts). Only those are multiplied (pairs.ts). A token's sum begins with the shared expert and goes on by ascending expert, so
// batches and threads change no bit. Gemma 4 has norms for each part:
//   x += norm(norm(shared(norm(x))) + norm(Σ w_e · down_e(f(gate_e h) ∘ up_e h))), and w of a norm of its own, all of the same x
//
// Where experts share slots, as many go together as there are slots: a round. In each, thread 0 reads those that are in none.

import type { Activation, ExpertSpec, ExpertsSpec, LinearSpec, TensorSpec } from '../../families/architecture.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { applyLinear, type Linear, moved, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Back, BlockKind, BlockPlanner, Slots } from './block.ts';
import { scalarOf } from './branch.ts';
import { STEPS } from './feedforward.ts';
import { type Gather, gatherInputs, gatherPairs, type Pairs, pairsOf, type Run, roundsOf } from './pairs.ts';
import { chooseExperts, planRouter, type Router, routesBack } from './router.ts';

interface Expert {
  readonly gate: Linear;
  /** None where the rows of both stand in `gate` in turn. */
  readonly up: Linear | undefined;
  readonly down: Linear;
}

/** Experts of one width, and where their activations are. */
interface Hidden {
  readonly width: number;
  readonly gated: number; // (vectors, width)
  readonly upper: number; // (vectors, width)
  readonly rotations: readonly Rotation[];
}

/** The expert that all tokens go to. */
interface Shared extends Expert, Hidden {
  readonly up: Linear;
  /** The weight of its gate, if there is one, and σ of what that gives. */
  readonly weight: Linear | undefined;
  readonly shares: number; // (batch)
}

/** Norms of each part, and where what they give stands. */
interface Apart {
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

// As those of a feed-forward block.
const statisticsOf = ({ up }: Expert) => [
  ...(up ? ['gate', 'up'] : ['gate']).map(() => ({ cut: false, outputs: false })),
  { cut: true, outputs: true },
];
const linearsOf = ({ gate, up, down }: ExpertSpec) => (up ? [gate, up, down] : [gate, down]);
const weightsOf = ({ gate, up, down }: Expert) => (up ? [gate, up, down] : [gate, down]);

export const experts: BlockKind<ExpertsSpec, Experts> = {
  linears: ({ experts, shared }) => [...(shared ? linearsOf(shared) : []), ...experts.flatMap(linearsOf)],

  plan(spec, planner) {
    const { routing, activation, experts: specs } = spec;
    const { top } = routing;
    const { cols: width, rows: dim } = specs[0].down;
    const count = specs.length;
    const outputs = planner.activation('outputs', top * dim);
    const inputOf = (name: string) => (spec.apart ? planner.activation(name, dim) : planner.normed);
    const [routerInput, sharedInput] = [inputOf('router input'), inputOf('shared input')];
    const norm = planner.norm(spec.norm, dim);
    const router = planRouter(spec, planner, routerInput);
    const shared = planShared(spec, planner, sharedInput);
    const apart = planApart(spec, planner, router.router, routerInput, shared, sharedInput);
    const gated = planner.activation('gated of pairs', top * width);
    const upper = planner.activation('upper of pairs', top * width * (specs[0].up ? 1 : 2));
    const biases = planBiases(spec, planner);
    const { planned, slots } = planner.experts(count, (e) => {
      const { gate, up, down } = specs[e];
      return {
        gate: biases.gate(e, planner.linear(gate, planner.normed)),
        up: up && planner.linear(up, planner.normed),
        down: biases.down(e, planner.linear(down, gated, top)),
      };
    });
    const likely = slots ? planner.activation('weights of likely experts', top) : 0;
    const inputs = planned.flatMap(({ gate, up }) => (up ? [gate, up] : [gate]));
    const beside = apart ? [] : [router.router, ...inputsOf(shared)];
    const { gathers, ofPairs } = gatherInputs(inputs, planner, top);
    return {
      ...{
        kind: 'experts',
        norm,
        ...router,
        activation,
        shared,
        apart,
        slots,
        likely,
        gathers,
        width,
        gated,
        upper,
        outputs,
      },
      inputRotations: planner.rotationsOf(...beside, ...inputs),
      experts: planned.map(({ gate, up, down }) => ({ gate: ofPairs(gate), up: up && ofPairs(up), down })),
      rotations: planner.rotationsOf(...planned.map(({ down }) => down)),
    };
  },

  statistics: ({ shared, experts }) => [
    ...(shared ? statisticsOf(shared) : []),
    ...experts.flatMap((own, expert) => statisticsOf(own).map((kept) => ({ ...kept, reads: expert }))),
  ],
  inputs(thread, block, tokens) {
    const { shared, apart, experts, chosen, routing, router, gathers, gated, width } = block;
    const { cols: dim } = router;
    const runs = new Map(
      pairsOf(thread, chosen, tokens * routing.top, routing.top, experts.length).runs.map((run) => [run.expert, run]),
    );
    const own = shared ? { x: apart?.sharedInput ?? shared.gate.input, stride: dim, count: tokens } : undefined;
    return [
      ...(own ? [own, own, { x: shared!.gated, stride: shared!.width, count: tokens }] : []),
      ...experts.flatMap(({ up }, expert) => {
        const { from, count } = runs.get(expert) ?? { from: 0, count: 0 };
        const input = { x: gathers[0].to + from * dim * 4, stride: dim, count };
        return [...(up ? [input, input] : [input]), { x: gated + from * width * 4, stride: width, count }];
      }),
    ];
  },
  weights: ({ shared, experts }) => [...(shared ? weightsOf(shared) : []), ...experts.flatMap(weightsOf)],
  replace(block, place, linear) {
    const before = block.shared ? 3 : 0;
    const keys = block.experts[0].up ? (['gate', 'up', 'down'] as const) : (['gate', 'down'] as const);
    const key = keys[(place - before) % keys.length];
    if (block.shared && place < before) {
      return { ...block, shared: { ...block.shared, [['gate', 'up', 'down'][place]]: linear } };
    }
    const index = Math.floor((place - before) / keys.length);
    const replaced = block.experts.map((own, i) => (i === index ? { ...own, [key]: linear } : own));
    return { ...block, experts: replaced };
  },

  forward(thread, state, block, { count }) {
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
  },

  gradients({ routing, router, shared, apart, width, experts }, tokens, draws) {
    const { rows: count, cols: dim } = router;
    const [all, pairs] = [draws * tokens, tokens * routing.top];
    const own = shared?.width ?? 0;
    const isJoined = experts[0].up === undefined;
    return {
      gateOfPairs: isJoined ? 0 : pairs * width, // before its activation
      dOutputs: draws * pairs * dim,
      dHiddens: isJoined ? draws * pairs * width : 0,
      dGates: draws * pairs * width * (isJoined ? 2 : 1),
      dUps: isJoined ? 0 : draws * pairs * width,
      dInputs: draws * pairs * dim,
      dWeights: draws * pairs,
      dLogits: all * count,
      gate: tokens * own,
      dGate: all * own,
      dUp: all * own,
      dShared: shared?.weight || apart ? all * dim : 0,
      dShares: shared?.weight ? all : 0,
      sums: apart ? tokens * dim : 0,
      dMixture: apart ? all * dim : 0,
    };
  },

  back(back, block) {
    const { thread, state, draws, pass, dX } = back;
    const { barrier } = thread;
    const { count: tokens } = pass;
    const { shared, apart, gated, width, router, gathers } = block;
    const { cols: dim } = router;
    const isJoined = block.experts[0].up === undefined;
    const [dOutputs, dHiddens, dGates, dUps] = ['dOutputs', 'dHiddens', 'dGates', 'dUps'].map(back.region);
    const [dGate, dUp] = ['dGate', 'dUp'].map(back.region);
    const dShared = shared?.weight || apart ? back.region('dShared') : dX;

    back.restore();
    const pairs = takePairs(thread, state, block, tokens, back.region('gate'));
    gatePairs(thread, state, block, pairs.runs, back.region('gateOfPairs'));
    barrier();
    putOut(thread, state, block, pairs.runs);
    if (shared?.weight || apart) apply(thread, state, shared!.down, tokens, state.y);
    barrier();
    if (apart) partsBack(back, block, apart, pairs);
    outputsBack(back, block, pairs, apart ? back.region('dMixture') : dX);
    barrier();
    routesBack(back, block);
    if (shared) back.transposed(dGate, [shared.down, dShared]);
    const wide = width * (isJoined ? 2 : 1);
    for (const { expert, from, count } of pairs.runs) {
      const [at, d] = [(isJoined ? dHiddens : dGates) + from * draws * width * 4, dOutputs + from * draws * dim * 4];
      back.transposedOf(draws * count, at, [block.experts[expert].down, d]);
    }
    barrier();

    if (shared) {
      back.inputGram(shared.gated, shared.width);
      back.squares(2, dShared, dim);
      gatesBack(back, block, shared, back.region('gate'), dGate, dUp, 0, tokens);
    }
    for (const { expert, from, count } of pairs.runs) {
      back.inputGram(gated + from * width * 4, width, count);
      back.squares(placeOf(block, expert, 'down'), dOutputs + from * draws * dim * 4, dim, count);
      if (isJoined) joinedBack(back, block, from, count);
      else gatesBack(back, block, block, back.region('gateOfPairs'), dGates, dUps, from, count);
    }
    barrier();
    sharedBack(back, block, dGate, dUp);
    for (const { expert, from, count } of pairs.runs) {
      const place = placeOf(block, expert, 'gate');
      const [dg, du] = [dGates + from * draws * wide * 4, dUps + from * draws * wide * 4];
      back.inputGram(gathers[0].to + from * dim * 4, dim, count);
      back.squares(place, dg, wide, count);
      if (!isJoined) back.squares(place + 1, du, wide, count);
      inputsBack(back, block, pairs, { expert, from, count }, dg, du);
    }
    const reached = new Set(pairs.runs.map(({ expert }) => expert));
    for (const expert of block.experts.keys()) {
      const [place, last] = [placeOf(block, expert, 'gate'), placeOf(block, expert, 'down')];
      for (let i = place; !reached.has(expert) && i <= last; i++) back.squares(i, 0, 0, 0);
    }
    barrier();
    back.behindNorm(block.norm);
  },
};

// Gives each expert's weights their biases, if there are any.
function planBiases({ biases, experts }: ExpertsSpec, planner: BlockPlanner) {
  const of = (tensor: TensorSpec | undefined, { rows }: LinearSpec) => {
    const all = tensor && planner.tensor(tensor.name, [experts.length, rows]);
    return (e: number, linear: Linear): Linear =>
      all === undefined ? linear : { ...linear, bias: all + e * rows * 4 };
  };
  return { gate: of(biases?.gate, experts[0].gate), down: of(biases?.down, experts[0].down) };
}

/** Place of the first weight of an expert that the router chooses, among the block's, and weights of each. */
export const placesOf = ({ shared, experts }: Experts): { first: number; each: number } => ({
  first: shared ? 3 : 0,
  each: experts[0].up ? 3 : 2,
});

function placeOf(block: Experts, expert: number, role: 'gate' | 'down'): number {
  const { first, each } = placesOf(block);
  return first + each * expert + (role === 'gate' ? 0 : each - 1);
}

// What the router, the experts and the shared expert read: this thread's tokens.
function readTokens(thread: Thread, state: State, { norm, inputRotations, apart }: Experts, count: number): void {
  normTokens(thread, state, norm, inputRotations, 0, count);
  if (!apart) return;
  normTokens(thread, state, apart.routerNorm, apart.routerRotations, 0, count, apart.routerInput);
  normTokens(thread, state, apart.sharedNorm, apart.sharedRotations, 0, count, apart.sharedInput);
}

// Inputs of all pairs, and gate and up of the shared expert. Ends at a barrier. @param before where its gate is kept, 0 for nowhere
function takePairs(thread: Thread, state: State, block: Experts, count: number, before = 0): Pairs {
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

// Adds to `to` what a token's experts gave, times their weights: columns `first` to `end`. @param room where the products go, (pairs, dim)
function addOutputs(
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

// Gradients of what the shared expert and the mixture are before their norms, to `dShared` and `dMixture`. Ends at a barrier.
function partsBack(back: Back, block: Experts, apart: Apart, pairs: Pairs): void {
  const { thread, state, draws, pass, floats, dX, dNormed } = back;
  const { kernels, barrier } = thread;
  const { dim, epsilon, y } = state;
  const { mixture } = apart;
  const [sums, room] = [back.region('sums'), back.region('dInputs')];
  const [start, stop] = back.part(dim, ROWS_APART);
  for (let token = 0; token < pass.count; token++) {
    const at = mixture + (token * dim + start) * 4;
    floats.fill(0, at / 4, at / 4 + stop - start);
    addOutputs(thread, block, pairs, token, start, stop, at, room, floats);
  }
  barrier();
  const [from, to] = ownTokens(thread, pass.count);
  const own = from * dim * 4;
  kernels.rmsNorm(y + own, apart.sharedPost, to - from, dim, epsilon, sums + own);
  kernels.rmsNorm(mixture + own, apart.expertsPost, to - from, dim, epsilon, dNormed + own);
  kernels.add(sums + own, dNormed + own, (to - from) * dim);
  barrier();
  const scalar = scalarOf(thread, apart.scalar);
  const [first, end] = back.part(draws * pass.count);
  for (let i = first; i < end; i++) {
    const token = (i % pass.count) * dim * 4;
    const [d, dShared, dMixture] = [dX, back.region('dShared'), back.region('dMixture')].map((at) => at + i * dim * 4);
    if (scalar !== 1) kernels.scale(d, scalar, dim);
    copyFloats(kernels, d, dim, dShared);
    kernels.rmsNormBack(sums + token, apart.postNorm, dShared, 1, dim, epsilon);
    copyFloats(kernels, dShared, dim, dMixture);
    kernels.rmsNormBack(y + token, apart.sharedPost, dShared, 1, dim, epsilon);
    kernels.rmsNormBack(mixture + token, apart.expertsPost, dMixture, 1, dim, epsilon);
  }
  barrier();
}

// Gradients of what each pair and the shared expert gave, and of their weights, from those of the block's output, or of the
// experts' sum: this thread's tokens.
// Those of an expert's pairs are (draws, pairs, dim), behind those of the experts before it.
function outputsBack(back: Back, block: Experts, { places, runs }: Pairs, dSums: number): void {
  const { thread, state, floats, draws, pass } = back;
  const { kernels, ints } = thread;
  const { count: tokens } = pass;
  const { routing, router, chosen, weights, outputs, shared } = block;
  const { cols: dim } = router;
  const [dOutputs, dWeights] = [back.region('dOutputs'), back.region('dWeights')];
  const runOf = new Map(runs.map((run) => [run.expert, run]));
  const product = (x: number, d: number, to: number) =>
    kernels.denseRows(x, dtypeCodes.F32, 1, dim, d, 1, to, 1, back.scratch);
  const [first, end] = back.part(draws * tokens);
  for (let i = first; i < end; i++) {
    const [draw, token] = [Math.floor(i / tokens), i % tokens];
    const d = dSums + i * dim * 4;
    for (let slot = 0; slot < routing.top; slot++) {
      const choice = token * routing.top + slot;
      const { from, count } = runOf.get(ints[chosen / 4 + choice])!;
      const pair = places[choice];
      const to = dOutputs + (from * draws + draw * count + pair - from) * dim * 4;
      copyFloats(kernels, d, dim, to);
      kernels.scale(to, floats[weights / 4 + choice], dim);
      product(outputs + pair * dim * 4, d, dWeights + (i * routing.top + slot) * 4);
    }
    if (!shared?.weight) continue;
    const to = back.region('dShared') + i * dim * 4;
    const s = floats[shared.shares / 4 + token];
    copyFloats(kernels, d, dim, to);
    kernels.scale(to, s, dim);
    const at = back.region('dShares') + i * 4;
    product(state.y + token * dim * 4, d, at);
    kernels.scale(at, s, 1);
    kernels.scale(at, 1 - s, 1);
  }
}

// Gradients of gate and up, (draws, count, width) each, of `count` vectors from vector `from` on: this thread's part.
function gatesBack(
  back: Back,
  { activation }: Experts,
  { width, upper }: Hidden,
  before: number,
  dGate: number,
  dUp: number,
  from: number,
  count: number,
): void {
  const gateBack = STEPS[activation as Activation].back(back.thread.kernels);
  const [first, end] = back.part(back.draws * count);
  for (let i = first; i < end; i++) {
    const x = (from + (i % count)) * width * 4;
    const d = (from * back.draws + i) * width * 4;
    gateBack(before + x, upper + x, dGate + d, dUp + d, width);
  }
}

// The same where gate and up stand in turn.
function joinedBack(back: Back, { width, upper }: Experts, from: number, count: number): void {
  const [dHiddens, dGates] = [back.region('dHiddens'), back.region('dGates')];
  const [first, end] = back.part(back.draws * count);
  for (let i = first; i < end; i++) {
    const at = (from * back.draws + i) * width * 4;
    const x = upper + 2 * (from + (i % count)) * width * 4;
    back.thread.kernels.clampedGateBack(x, dHiddens + at, dGates + 2 * at, width);
  }
}

// Gradients of what the router and the shared expert read, to `dNormed`, which those of the experts' inputs are added to; where they
// have norms of their own, through these to dX.
function sharedBack(back: Back, { router, shared, apart }: Experts, dGate: number, dUp: number): void {
  const { thread, state, draws, pass, floats, dNormed } = back;
  const { cols: dim } = router;
  const ofRouter = [router, back.region('dLogits')] as const;
  const ofShared = shared
    ? ([
        [shared.gate, dGate],
        [shared.up, dUp],
      ] as const)
    : [];
  const ofWeight = shared?.weight ? ([[shared.weight, back.region('dShares')]] as const) : [];
  if (shared) {
    back.inputGram(apart?.sharedInput ?? state.normed, dim);
    back.squares(0, dGate, shared.width);
    back.squares(1, dUp, shared.width);
  }
  if (!apart) {
    back.transposed(dNormed, ofRouter, ...ofShared, ...ofWeight);
    return;
  }
  for (const [norm, pairs] of [
    [apart.routerNorm, [ofRouter]],
    [apart.sharedNorm, ofShared],
  ] as const) {
    back.transposed(dNormed, ...pairs);
    thread.barrier();
    back.behindNorm(norm);
    thread.barrier();
  }
  const [first, end] = back.part(dim, ROWS_APART);
  for (let i = 0; i < draws * pass.count; i++) {
    floats.fill(0, dNormed / 4 + i * dim + first, dNormed / 4 + i * dim + end);
  }
}

// Gradients of an expert's inputs, added to those of their tokens: this thread's columns.
function inputsBack(back: Back, block: Experts, { tokens: of }: Pairs, run: Run, dGate: number, dUp: number): void {
  const { thread, draws, pass, dNormed } = back;
  const { cols: dim } = block.router;
  const { expert, from, count } = run;
  const { gate, up } = block.experts[expert];
  const [first, end] = back.part(dim, ROWS_APART);
  const d = back.region('dInputs') + from * draws * dim * 4;
  back.transposedOf(draws * count, d, [gate, dGate], ...(up ? ([[up, dUp]] as const) : []));
  for (let i = 0; i < draws * count; i++) {
    const token = Math.floor(i / count) * pass.count + of[from + (i % count)];
    thread.kernels.add(dNormed + (token * dim + first) * 4, d + (i * dim + first) * 4, end - first);
  }
}

const inputsOf = (shared: Shared | undefined) =>
  shared ? [shared.gate, shared.up, ...(shared.weight ? [shared.weight] : [])] : [];

function planShared({ shared, sharedGate }: ExpertsSpec, planner: BlockPlanner, input: number): Shared | undefined {
  if (!shared) return undefined;
  const { rows: width } = shared.gate;
  const [gated, upper] = [planner.activation('gated', width), planner.activation('upper', width)];
  const gate = planner.linear(shared.gate, input);
  const up = planner.linear(shared.up!, input);
  const down = planner.linear(shared.down, gated);
  const weight = sharedGate && planner.linear(sharedGate, input);
  const shares = planner.activation('shares', 1);
  return { gate, up, down, weight, shares, width, gated, upper, rotations: planner.rotationsOf(down) };
}

function planApart(
  { apart, router: { cols: dim } }: ExpertsSpec,
  planner: BlockPlanner,
  router: Linear,
  routerInput: number,
  shared: Shared | undefined,
  sharedInput: number,
): Apart | undefined {
  if (!apart) return undefined;
  return {
    ...{ routerInput, sharedInput },
    routerNorm: planner.norm(apart.routerNorm, dim),
    sharedNorm: planner.norm(apart.sharedNorm, dim),
    sharedPost: planner.norm(apart.sharedPost, dim),
    expertsPost: planner.norm(apart.expertsPost, dim),
    postNorm: planner.norm(apart.postNorm, dim),
    scalar: apart.scalar ? planner.tensor(apart.scalar.name, [1]) : 0,
    mixture: planner.activation('mixture', dim),
    routerRotations: planner.rotationsOf(router),
    sharedRotations: planner.rotationsOf(...inputsOf(shared)),
  };
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

// Gate and up of all pairs, and f(gate) ∘ up: this thread's rows. @param before where gates are kept, 0 for nowhere
function gatePairs(thread: Thread, state: State, block: Experts, runs: readonly Run[], before = 0): void {
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

// What each pair's expert gives: this thread's rows.
function putOut(thread: Thread, state: State, { experts, outputs, router }: Experts, runs: readonly Run[]): void {
  const { kernels, index } = thread;
  const { cols: dim } = router;
  const first = share(index, thread.count, dim, ROWS_APART);
  const end = share(index + 1, thread.count, dim, ROWS_APART);
  for (const { expert, from, count } of runs) {
    const { down } = experts[expert];
    applyLinear(kernels, down, from, count, outputs + from * dim * 4, first, end, state.scratch[index]);
  }
}
