// Experts: x += Σ w_e · down_e(f(gate_e h) ∘ up_e h) + shared(h), h = norm(x), over the few experts e that the router gives a token
// (router.ts). Only those are multiplied (pairs.ts). A token's sum begins with the shared expert and goes on by ascending expert, so
// batches and threads change no bit. Gemma 4 has norms for each part:
//   x += norm(norm(shared(norm(x))) + norm(Σ w_e · down_e(f(gate_e h) ∘ up_e h))), and w of a norm of its own, all of the same x

import type { ExpertSpec, ExpertsSpec, LinearSpec, NamedTensor } from '../../families/architecture.ts';
import type { Linear } from '../linear.ts';
import type { BlockKind, BlockPlanner } from './block.ts';
import type { Apart, Expert, Experts, Shared } from './mixture.ts';
import { mix } from './mixture.ts';
import { mixBack, mixGradients } from './mixture-back.ts';
import { gatherInputs, pairsOf } from './pairs.ts';
import { planRouter } from './router.ts';

// As those of a feed-forward block.
const statisticsOf = ({ up }: Expert) => [
  ...(up ? ['gate', 'up'] : ['gate']).map(() => ({ cut: false, outputs: false })),
  { cut: true, outputs: true },
];
const linearsOf = ({ gate, up, down }: ExpertSpec) => (up ? [gate, up, down] : [gate, down]);
const weightsOf = ({ gate, up, down }: Expert) => (up ? [gate, up, down] : [gate, down]);

/** A mixture of experts: what it needs, forward and back. */
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
    ...experts.flatMap((block, expert) => statisticsOf(block).map((kept) => ({ ...kept, reads: expert }))),
  ],
  inputs(thread, block, tokens) {
    const { shared, apart, experts, chosen, routing, router, gathers, gated, width } = block;
    const { cols: dim } = router;
    const runs = new Map(
      pairsOf(thread, chosen, tokens * routing.top, routing.top, experts.length).runs.map((run) => [run.expert, run]),
    );
    const sharedInput = shared ? { x: apart?.sharedInput ?? shared.gate.input, stride: dim, count: tokens } : undefined;
    return [
      ...(sharedInput ? [sharedInput, sharedInput, { x: shared!.gated, stride: shared!.width, count: tokens }] : []),
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
    const replaced = block.experts.map((weights, i) => (i === index ? { ...weights, [key]: linear } : weights));
    return { ...block, experts: replaced };
  },

  forward: (thread, state, block, { count }) => mix(thread, state, block, count),

  gradients: mixGradients,
  back: mixBack,
};

// Gives each expert's weights their biases, if there are any.
function planBiases({ biases, experts }: ExpertsSpec, planner: BlockPlanner) {
  const of = (tensor: NamedTensor | undefined, { rows }: LinearSpec) => {
    const all = tensor && planner.tensor(tensor.name, [experts.length, rows]);
    return (e: number, linear: Linear): Linear =>
      all === undefined ? linear : { ...linear, bias: all + e * rows * 4 };
  };
  return { gate: of(biases?.gate, experts[0].gate), down: of(biases?.down, experts[0].down) };
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
