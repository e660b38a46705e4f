// Experts: x += Σ w_e · down_e(f(gate_e h) ∘ up_e h) + shared(h), h = norm(x), over the few experts e that the router gives a token.
// Only those are multiplied. A pair is a token and one of its experts. Pairs stand by expert, so that each expert is one product over
// its tokens:
//
//   tokens         0 1 2 3                 chosen of each         0: 2 5    1: 0 2    2: 2 5    3: 0 5
//   pairs          1 3 │ 0 1 2 │ 0 2 3     by expert              0   │ 2     │ 5
//
// An element of a pair does not depend on the pairs beside it. A token's sum begins with the shared expert and goes on by ascending
// expert, so batches and threads change no bit.
//
// Where experts share slots, as many go together as there are slots: a round. In each, thread 0 reads those that are in none.

import type {
  Activation,
  ExpertSpec,
  ExpertsSpec,
  LinearSpec,
  Routing,
  TensorSpec,
} from '../../families/architecture.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { applyLinear, type Linear, moved, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, copyFloats, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { Back, BlockKind, BlockPlanner, Slots } from './block.ts';
import { STEPS } from './feedforward.ts';

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

/** Inputs of tokens, and where those of pairs are put. */
interface Gather {
  readonly from: number; // (batch, bytes)
  readonly to: number; // (batch · top, bytes)
  readonly bytes: number;
}

export interface Experts extends Hidden {
  readonly kind: 'experts';
  readonly norm: number; // (dim), 0 for none
  readonly inputRotations: readonly Rotation[];
  readonly router: Linear;
  readonly correction: number; // (experts), 0 for none
  readonly routing: Routing;
  readonly activation: ExpertsSpec['activation'];
  readonly experts: readonly Expert[];
  /** Where the memory has not room for all experts. */
  readonly slots: Slots | undefined;
  readonly shared: Shared | undefined;
  readonly logits: number; // (batch, experts)
  readonly chosen: number; // (batch, top) i32
  readonly weights: number; // (batch, top)
  readonly routed: number; // (batch, 5 · (experts + 4)), what routing works in
  readonly gathers: readonly Gather[];
  readonly outputs: number; // (batch · top, dim)
}

const linearsOf = ({ gate, up, down }: ExpertSpec) => (up ? [gate, up, down] : [gate, down]);
const weightsOf = ({ gate, up, down }: Expert) => (up ? [gate, up, down] : [gate, down]);

export const experts: BlockKind<ExpertsSpec, Experts> = {
  linears: ({ experts, shared }) => [...(shared ? linearsOf(shared) : []), ...experts.flatMap(linearsOf)],

  plan(spec, planner) {
    const { routing, activation, experts: specs } = spec;
    const { top } = routing;
    const { cols: width, rows: dim } = specs[0].down;
    const count = specs.length;
    const regions = {
      logits: planner.activation('logits', count),
      chosen: planner.activation('chosen', top),
      weights: planner.activation('weights', top),
      routed: planner.activation('routed', 5 * (count + 4)),
      outputs: planner.activation('outputs', top * dim),
    };
    const norm = planner.norm(spec.norm, dim);
    const router = planner.linear(spec.router, planner.normed);
    const correction = spec.correction ? planner.vector(spec.correction.name, count) : 0;
    const shared = planShared(spec, planner);
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
    const inputs = planned.flatMap(({ gate, up }) => (up ? [gate, up] : [gate]));
    const beside = shared ? [shared.gate, shared.up, ...(shared.weight ? [shared.weight] : [])] : [];
    const { gathers, ofPairs } = gatherInputs(inputs, planner, top);
    return {
      ...{
        kind: 'experts',
        norm,
        router,
        correction,
        routing,
        activation,
        shared,
        slots,
        gathers,
        width,
        gated,
        upper,
      },
      inputRotations: planner.rotationsOf(router, ...beside, ...inputs),
      experts: planned.map(({ gate, up, down }) => ({ gate: ofPairs(gate), up: up && ofPairs(up), down })),
      rotations: planner.rotationsOf(...planned.map(({ down }) => down)),
      ...regions,
    };
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
    const { shared, routing, outputs } = block;
    const { top } = routing;
    normTokens(thread, state, block.norm, block.inputRotations, 0, count);
    barrier();
    routeTokens(thread, state, block, count);
    barrier();
    const pairs = pairsOf(thread, block, count);
    gatherPairs(thread, block, pairs);
    barrier();
    const rounds = roundsOf(block, pairs);
    for (let i = 0; i < rounds.length; i++) {
      if (i > 0) barrier(); // nobody reads the slots any more
      const runs = rounds[i];
      const own = block.slots ? inSlots(thread, block, block.slots, runs) : block;
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
    const floats = new Float32Array(thread.ints.buffer);
    for (let token = 0; token < count; token++) {
      const at = y + (token * dim + first) * 4;
      if (shared?.weight) kernels.scale(at, floats[shared.shares / 4 + token], end - first);
      if (!shared) thread.ints.fill(0, at / 4, at / 4 + end - first);
      for (let slot = 0; slot < top; slot++) {
        const output = outputs + (pairs.places[token * top + slot] * dim + first) * 4;
        kernels.scale(output, floats[block.weights / 4 + token * top + slot], end - first);
        kernels.add(at, output, end - first);
      }
      kernels.add(x + (token * dim + first) * 4, at, end - first);
    }
    barrier();
  },

  gradients({ routing, router, shared, width }, tokens, draws) {
    const { rows: count, cols: dim } = router;
    const [all, pairs] = [draws * tokens, tokens * routing.top];
    const own = shared?.width ?? 0;
    return {
      gateOfPairs: pairs * width, // before its activation
      dOutputs: draws * pairs * dim,
      dGates: draws * pairs * width,
      dUps: draws * pairs * width,
      dInputs: draws * pairs * dim,
      dWeights: draws * pairs,
      dLogits: all * count,
      gate: tokens * own,
      dGate: all * own,
      dUp: all * own,
      dShared: shared?.weight ? all * dim : 0,
      dShares: shared?.weight ? all : 0,
    };
  },

  back(back, block) {
    const { thread, state, draws, pass, dX, dNormed } = back;
    const { barrier } = thread;
    const { count: tokens } = pass;
    const { shared, gated, width, router, gathers } = block;
    const { cols: dim } = router;
    const [dOutputs, dGates, dUps, dInputs] = ['dOutputs', 'dGates', 'dUps', 'dInputs'].map(back.region);
    const [dGate, dUp, dLogits, dShares] = ['dGate', 'dUp', 'dLogits', 'dShares'].map(back.region);
    const dShared = shared?.weight ? back.region('dShared') : dX;

    back.restore();
    normTokens(thread, state, block.norm, [], 0, tokens);
    barrier();
    routeTokens(thread, state, block, tokens, back.region('gate'));
    barrier();
    const pairs = pairsOf(thread, block, tokens);
    gatherPairs(thread, block, pairs);
    barrier();
    gatePairs(thread, state, block, pairs.runs, back.region('gateOfPairs'));
    barrier();
    putOut(thread, state, block, pairs.runs);
    if (shared?.weight) apply(thread, state, shared.down, tokens, state.y);
    barrier();
    outputsBack(back, block, pairs);
    barrier();
    routesBack(back, block);
    if (shared) back.transposed(dGate, [shared.down, dShared]);
    for (const { expert, from, count } of pairs.runs) {
      const [at, d] = [dGates + from * draws * width * 4, dOutputs + from * draws * dim * 4];
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
      back.squares(placeOf(block, expert) + 2, dOutputs + from * draws * dim * 4, dim, count);
      gatesBack(back, block, block, back.region('gateOfPairs'), dGates, dUps, from, count);
    }
    barrier();
    back.transposed(
      ...([dNormed, [router, dLogits]] as const),
      ...(shared
        ? ([
            [shared.gate, dGate],
            [shared.up, dUp],
          ] as const)
        : []),
      ...(shared?.weight ? ([[shared.weight, dShares]] as const) : []),
    );
    if (shared) {
      back.inputGram(state.normed, dim);
      back.squares(0, dGate, shared.width);
      back.squares(1, dUp, shared.width);
    }
    const [first, end] = back.part(dim, ROWS_APART);
    for (const { expert, from, count } of pairs.runs) {
      const { gate, up } = block.experts[expert];
      const place = placeOf(block, expert);
      const [dg, du] = [dGates + from * draws * width * 4, dUps + from * draws * width * 4];
      back.inputGram(gathers[0].to + from * dim * 4, dim, count);
      back.squares(place, dg, width, count);
      back.squares(place + 1, du, width, count);
      const d = dInputs + from * draws * dim * 4;
      back.transposedOf(draws * count, d, [gate, dg], [up!, du]);
      for (let i = 0; i < draws * count; i++) {
        const token = Math.floor(i / count) * tokens + pairs.tokens[from + (i % count)];
        thread.kernels.add(dNormed + (token * dim + first) * 4, d + (i * dim + first) * 4, end - first);
      }
    }
    const reached = new Set(pairs.runs.map(({ expert }) => expert));
    for (const expert of block.experts.keys()) {
      for (let i = 0; !reached.has(expert) && i < 3; i++) back.squares(placeOf(block, expert) + i, 0, 0, 0);
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

const placeOf = ({ shared }: Experts, expert: number) => (shared ? 3 : 0) + 3 * expert;

// Gradients of what each pair and the shared expert gave, and of their weights, from those of the block's output: this thread's tokens.
// Those of an expert's pairs are (draws, pairs, dim), behind those of the experts before it.
function outputsBack(back: Back, block: Experts, { places, runs }: Pairs): void {
  const { thread, state, floats, draws, pass, dX } = back;
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
    const d = dX + i * dim * 4;
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

// Gradients of the router's logits: this thread's tokens.
function routesBack(back: Back, { routing, router, logits, chosen, routed }: Experts): void {
  const { thread, draws, pass } = back;
  const { sigmoid, top, normalize, factor } = routing;
  const { rows } = router;
  const [first, end] = ownTokens(thread, pass.count);
  for (let draw = 0; draw < draws; draw++) {
    const i = draw * pass.count + first;
    thread.kernels.routeBack(
      ...([logits + first * rows * 4, end - first, rows, sigmoid ? 1 : 0, top, normalize ? 1 : 0, factor] as const),
      ...([chosen + first * top * 4, back.region('dWeights') + i * top * 4] as const),
      ...([back.region('dLogits') + i * rows * 4, routed + first * 5 * (rows + 4) * 4] as const),
    );
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

function planShared({ shared, sharedGate }: ExpertsSpec, planner: BlockPlanner): Shared | undefined {
  if (!shared) return undefined;
  const { rows: width } = shared.gate;
  const [gated, upper] = [planner.activation('gated', width), planner.activation('upper', width)];
  const gate = planner.linear(shared.gate, planner.normed);
  const up = planner.linear(shared.up!, planner.normed);
  const down = planner.linear(shared.down, gated);
  const weight = sharedGate && planner.linear(sharedGate, planner.normed);
  const shares = planner.activation('shares', 1);
  return { gate, up, down, weight, shares, width, gated, upper, rotations: planner.rotationsOf(down) };
}

// Weights that read the inputs of pairs; and what puts these there, once for all weights that read the same.
function gatherInputs(weights: readonly Linear[], planner: BlockPlanner, top: number) {
  const gathers = new Map<number, Gather>();
  for (const { input, inputBytes } of weights) {
    if (gathers.has(input)) continue;
    const to = planner.activation(`pairs of ${input}`, (top * inputBytes) / 4);
    gathers.set(input, { from: input, to, bytes: inputBytes });
  }
  const ofPairs = (linear: Linear): Linear => ({ ...linear, input: gathers.get(linear.input)!.to });
  return { gathers: [...gathers.values()], ofPairs };
}

// Experts and weights of all tokens, and gate and up of the shared expert. @param before where its gate is kept, 0 for nowhere
function routeTokens(thread: Thread, state: State, block: Experts, count: number, before = 0): void {
  const { kernels } = thread;
  const { router, logits, correction, routing, chosen, weights, routed, shared } = block;
  const { sigmoid, groups, taken, two, top, normalize, factor } = routing;
  const { rows } = router;
  apply(thread, state, router, count, logits);
  if (shared) {
    if (shared.weight) apply(thread, state, shared.weight, count, shared.shares);
    apply(thread, state, shared.gate, count, shared.gated);
    apply(thread, state, shared.up, count, shared.upper);
    gateOwn(thread, block.activation, shared, 0, count, before);
  }
  thread.barrier();
  const [first, end] = ownTokens(thread, count);
  if (shared?.weight) kernels.sigmoid(shared.shares + first * 4, end - first);
  kernels.route(
    ...([logits + first * rows * 4, end - first, rows, correction, sigmoid ? 1 : 0, groups, taken] as const),
    ...([two ? 1 : 0, top, normalize ? 1 : 0, factor, chosen + first * top * 4, weights + first * top * 4] as const),
    routed + first * 5 * (rows + 4) * 4,
  );
}

interface Pairs {
  readonly tokens: Int32Array; // (pairs)
  /** The pair of each choice, (tokens, top). */
  readonly places: Int32Array;
  /** Of experts that have pairs, ascending. */
  readonly runs: readonly Run[];
}

/** The pairs of an expert. */
interface Run {
  readonly expert: number;
  readonly from: number;
  readonly count: number;
}

// The runs that go together: all, or as many as there are slots.
function roundsOf({ slots }: Experts, { runs }: Pairs): (readonly Run[])[] {
  if (!slots || runs.length <= slots.pool.count) return [runs];
  const { count } = slots.pool;
  return Array.from({ length: Math.ceil(runs.length / count) }, (_, i) => runs.slice(i * count, (i + 1) * count));
}

// The block with the experts of these runs where thread 0 has put them.
function inSlots(thread: Thread, block: Experts, { block: number, pool }: Slots, runs: readonly Run[]): Experts {
  const asked = runs.map(({ expert }) => expert);
  thread.fetch?.(number, asked);
  thread.barrier();
  const experts: Expert[] = [];
  for (const expert of asked) {
    const by = pool.first + thread.ints[pool.table / 4 + expert] * pool.bytes;
    const { gate, up, down } = block.experts[expert];
    experts[expert] = { gate: moved(gate, by), up: up && moved(up, by), down: moved(down, by) };
  }
  return { ...block, experts };
}

function pairsOf({ ints }: Thread, { chosen, experts, routing }: Experts, count: number): Pairs {
  const all = count * routing.top;
  const choices = ints.subarray(chosen / 4, chosen / 4 + all);
  const counts = new Int32Array(experts.length);
  for (const expert of choices) counts[expert]++;
  const next = new Int32Array(experts.length);
  const runs = [];
  let from = 0;
  for (const [expert, own] of counts.entries()) {
    next[expert] = from;
    if (own > 0) runs.push({ expert, from, count: own });
    from += own;
  }
  const [tokens, places] = [new Int32Array(all), new Int32Array(all)];
  for (const [choice, expert] of choices.entries()) {
    places[choice] = next[expert]++;
    tokens[places[choice]] = Math.floor(choice / routing.top);
  }
  return { tokens, places, runs };
}

// This thread's pairs get the inputs of their tokens.
function gatherPairs({ ints, index, count: threads }: Thread, { gathers }: Experts, { tokens }: Pairs): void {
  const end = share(index + 1, threads, tokens.length, 1);
  for (const { from, to, bytes } of gathers) {
    const words = bytes / 4;
    for (let pair = share(index, threads, tokens.length, 1); pair < end; pair++) {
      const at = from / 4 + tokens[pair] * words;
      ints.copyWithin(to / 4 + pair * words, at, at + words);
    }
  }
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
