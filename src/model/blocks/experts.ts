// Experts: x += Σ w_e · down_e(f(gate_e h) ∘ up_e h) + shared(h), h = norm(x), over the few experts e that the router gives a token.
// Only those are multiplied. A pair is a token and one of its experts. Pairs stand by expert, so that each expert is one product over
// its tokens:
//
//   tokens         0 1 2 3                 chosen of each         0: 2 5    1: 0 2    2: 2 5    3: 0 5
//   pairs          1 3 │ 0 1 2 │ 0 2 3     by expert              0   │ 2     │ 5
//
// An element of a pair does not depend on the pairs beside it. A token's sum begins with the shared expert and goes on by ascending
// expert, so batches and threads change no bit.

import type { ExpertSpec, ExpertsSpec, LinearSpec, Routing, TensorSpec } from '../../families/architecture.ts';
import { applyLinear, type Linear, ROWS_APART, type Rotation } from '../linear.ts';
import type { State } from '../state.ts';
import { apply, normTokens, ownTokens, rotateTokens } from '../steps.ts';
import { share, type Thread } from '../team.ts';
import type { BlockKind, BlockPlanner } from './block.ts';
import { times } from './feedforward.ts';

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
    const planned = specs.map(({ gate, up, down }, e) => ({
      gate: biases.gate(e, planner.linear(gate, planner.normed)),
      up: up && planner.linear(up, planner.normed),
      down: biases.down(e, planner.linear(down, gated, top)),
    }));
    const inputs = planned.flatMap(({ gate, up }) => (up ? [gate, up] : [gate]));
    const beside = shared ? [shared.gate, shared.up, ...(shared.weight ? [shared.weight] : [])] : [];
    const { gathers, ofPairs } = gatherInputs(inputs, planner, top);
    return {
      ...{ kind: 'experts', norm, router, correction, routing, activation, shared, gathers, width, gated, upper },
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
    gatePairs(thread, state, block, pairs);
    barrier();
    if (shared) rotateTokens(thread, shared.rotations, count);
    rotateTokens(thread, block.rotations, count * top);

    const first = share(index, thread.count, dim, ROWS_APART);
    const end = share(index + 1, thread.count, dim, ROWS_APART);
    for (const { expert, from, count: some } of pairs.runs) {
      const { down } = block.experts[expert];
      applyLinear(kernels, down, from, some, outputs + from * dim * 4, first, end, state.scratch[index]);
    }
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

  gradients: () => ({}),
  back() {},
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

// Experts and weights of all tokens, and gate and up of the shared expert.
function routeTokens(thread: Thread, state: State, block: Experts, count: number): void {
  const { kernels } = thread;
  const { router, logits, correction, routing, chosen, weights, routed, shared } = block;
  const { sigmoid, groups, taken, two, top, normalize, factor } = routing;
  const { rows } = router;
  apply(thread, state, router, count, logits);
  if (shared) {
    if (shared.weight) apply(thread, state, shared.weight, count, shared.shares);
    apply(thread, state, shared.gate, count, shared.gated);
    apply(thread, state, shared.up, count, shared.upper);
    gateOwn(thread, block.activation, shared, 0, count);
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
  /** Experts that have pairs, ascending. */
  readonly runs: readonly { readonly expert: number; readonly from: number; readonly count: number }[];
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

// Gate and up of all pairs, and f(gate) ∘ up: this thread's rows.
function gatePairs(thread: Thread, state: State, block: Experts, { runs }: Pairs): void {
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
    gateOwn(thread, activation, block, from, count);
  }
}

// f(gate) ∘ up of `count` vectors from vector `from` on: this thread's rows.
function gateOwn(
  thread: Thread,
  activation: ExpertsSpec['activation'],
  hidden: Hidden,
  from: number,
  count: number,
): void {
  const { width, gated, upper } = hidden;
  const first = share(thread.index, thread.count, width, ROWS_APART);
  const end = share(thread.index + 1, thread.count, width, ROWS_APART);
  if (activation === 'clamped') return; // done already, of both in one
  const gate = times[activation](thread.kernels);
  for (let j = from; j < from + count; j++) {
    const at = (j * width + first) * 4;
    gate(gated + at, upper + at, end - first);
  }
}
