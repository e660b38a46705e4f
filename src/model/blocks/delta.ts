// The gated delta rule: queries, keys and values of norm(x) go through a causal convolution and silu; each head of values keeps a matrix
// that forgets by its decay and learns what its key does not give yet; x += output(norm(what its query gives) ∘ silu(gate)).
// A head is one thread's. A sequence keeps the convolution's last inputs, and the matrices.

import type { DeltaSpec } from '../../families/architecture.ts';
import { exp } from '../../numerics/exponential.ts';
import { copyFloats } from '../steps.ts';
import type { Back, BlockKind } from './block.ts';
import { addBranch, branchBack, branchGradients, planBranch, replaceBranchWeight, weightsInOrder } from './branch.ts';
import { convolveBack } from './convolution.ts';
import { applyDeltaRule, type BeforeDeltaRule, type DeltaRule, EPSILON, eachPart, widthsOf } from './deltarule.ts';

/** Columns of a matrix whose gradients go back together: `deltaBack`. */
const COLUMNS = 4;

/** The gated delta rule: what it needs, forward and back. */
export const delta: BlockKind<DeltaSpec, DeltaRule> = {
  linears: ({ inputs, output }) => [...inputs, output],
  stateFloats: (spec) => (spec.kernel.taps - 1) * widthsOf(spec).channels + spec.keyDim * widthsOf(spec).values,

  plan(spec, planner) {
    const { keyHeads, valueHeads, keyDim, valueDim } = spec;
    const { name, taps, bias } = spec.kernel;
    const { channels, values } = widthsOf(spec);
    const isJoined = spec.inputs.length === 2;
    const regions = {
      joined: isJoined ? planner.activation('joined', channels + values) : 0,
      joinedGates: isJoined ? planner.activation('joinedGates', 2 * valueHeads) : 0,
      parts: planner.activation('parts', channels),
      convolved: planner.activation('convolved', channels),
      gates: planner.activation('gates', values),
      betas: planner.activation('betas', valueHeads),
      decays: planner.activation('decays', valueHeads),
      mixed: planner.activation('mixed', values),
    };
    const norm = planner.norm(spec.norm, spec.inputs[0].cols);
    const inputs = spec.inputs.map((input) => planner.linear(input, planner.normed));
    return {
      ...{ kind: 'delta', keyHeads, valueHeads, keyDim, valueDim, norm, inputs, taps },
      weights: planner.tensor(`${name}.weight`, [channels, 1, taps]),
      bias: bias ? planner.tensor(`${name}.bias`, [channels]) : 0,
      rates: planner.tensor(spec.rates.name, [valueHeads]),
      decayBias: planner.tensor(spec.bias.name, [valueHeads]),
      headNorm: planner.norm(spec.headNorm, valueDim),
      branch: planBranch(planner, spec, regions.gates),
      rotations: planner.rotationsOf(...inputs),
      ...regions,
      recurrent: planner.recurrent((taps - 1) * channels + keyDim * values),
    };
  },

  weights: weightsInOrder,
  statistics: ({ inputs }) => [...inputs, 'output'].map(() => ({ cut: false, outputs: true })),
  replace: replaceBranchWeight,

  forward(thread, state, block, pass) {
    applyDeltaRule(thread, state, block, pass);
    addBranch(thread, state, block.branch, pass.count);
  },

  gradients(block, tokens, draws, threads) {
    const { keyHeads, valueHeads, keyDim, joined, branch } = block;
    const { channels, values } = widthsOf(block);
    const all = draws * tokens;
    return {
      convolved: tokens * channels, // before silu
      units: tokens * 2 * keyHeads * keyDim, // queries and keys, before they have length 1
      rates: tokens * valueHeads, // what decays are made of
      learnt: tokens * values, // what queries give, before its norm
      ungated: tokens * values, // gates, before silu
      states: threads * statesFloats(tokens, keyDim),
      ones: channels,
      dGates: all * values,
      dMixed: all * values,
      dConvolved: all * channels,
      dParts: all * channels,
      dBetas: all * valueHeads,
      dDecays: all * valueHeads,
      dJoined: joined ? all * (channels + values) : 0,
      dJoinedGates: joined ? all * 2 * valueHeads : 0,
      ...branchGradients(branch, tokens, draws),
    };
  },

  back(back, block) {
    const { thread, state, draws, floats, dNormed, pass } = back;
    const { barrier } = thread;
    const { inputs, joined, gates, branch } = block;
    const { channels, values } = widthsOf(block);
    const names = ['convolved', 'units', 'rates', 'learnt', 'ungated'];
    const [convolved, units, decays, learnt, ungated] = names.map((name) => back.region(name));
    const before = { convolved, units, decays, learnt, ungated };
    const regions = ['dGates', 'dMixed', 'dConvolved', 'dParts', 'dBetas', 'dDecays', 'dJoined', 'dJoinedGates'];
    const [dGates, dMixed, dConvolved, dParts, dBetas, dDecays, dJoined, dJoinedGates] = regions.map((name) =>
      back.region(name),
    );
    const d = { gates: dGates, mixed: dMixed, convolved: dConvolved, betas: dBetas, decays: dDecays };

    const [first, end] = back.part(channels);
    floats.fill(1, back.region('ones') / 4 + first, back.region('ones') / 4 + end);
    back.restore();
    barrier();
    applyDeltaRule(thread, state, block, pass, before);
    const dOutput = branchBack(back, branch);
    back.inputGram(gates, values);
    back.squares(inputs.length, dOutput, branch.output.rows);
    back.transposed(dGates, [branch.output, dOutput]);
    barrier();
    outputsBack(back, block, before, d);
    barrier();
    headsBack(back, block, d);
    barrier();
    convolvedBack(back, block, before, dConvolved, dParts);
    gatesBack(back, block, before, d);
    barrier();
    for (let draw = 0; draw < draws; draw++) {
      const offset = draw * pass.count * channels * 4;
      convolveBack(back, block, channels, dConvolved + offset, dParts + offset, channels);
    }
    barrier();
    if (joined) {
      const places = { joined: dJoined, joinedGates: dJoinedGates, parts: dParts };
      const [from, to] = back.part(draws * pass.count);
      eachPart(block, { ...places, gates: dGates, betas: dBetas, decays: dDecays }, from, to, (to, count, from) =>
        copyFloats(thread.kernels, from, count, to),
      );
      barrier();
    }
    const gradients = joined ? [dJoined, dJoinedGates] : [dParts, dGates, dBetas, dDecays];
    back.inputGram(state.normed, inputs[0].cols);
    for (const [i, { rows }] of inputs.entries()) back.squares(i, gradients[i], rows);
    back.transposed(dNormed, ...inputs.map((input, i) => [input, gradients[i]] as const));
    barrier();
    back.behindNorm(block.norm);
  },
};

/** Gradients, (draws, tokens, …) each as what they belong to. */
interface Gradients {
  readonly gates: number;
  readonly mixed: number;
  readonly convolved: number;
  readonly betas: number;
  readonly decays: number;
}

// From the input of the output matrix, whose gradients are in the gates' place, to before gates and norms: this thread's tokens.
function outputsBack(
  { thread, state, draws, pass, part }: Back,
  block: DeltaRule,
  before: BeforeDeltaRule,
  d: Gradients,
): void {
  const { kernels } = thread;
  const { valueHeads, valueDim, mixed, headNorm } = block;
  const { values } = widthsOf(block);
  const [first, end] = part(draws * pass.count);
  for (let i = first; i < end; i++) {
    const [offset, token] = [i * values * 4, (i % pass.count) * values * 4];
    kernels.siluTimesBack(before.ungated + token, mixed + token, d.gates + offset, d.mixed + offset, values);
    kernels.rmsNormBack(before.learnt + token, headNorm, d.mixed + offset, valueHeads, valueDim, state.epsilon);
  }
}

// What `deltaBack` needs in each thread: states of some columns and what they did not give yet, of all tokens; gradients of a state.
const statesFloats = (tokens: number, keyDim: number) => COLUMNS * ((tokens + 2) * keyDim + tokens);

// Back through the rule. A head of keys is one thread's, with all heads of values that share it.
function headsBack(back: Back, block: DeltaRule, d: Gradients): void {
  const { thread, floats, draws, pass } = back;
  const { kernels } = thread;
  const { keyHeads, valueHeads, keyDim, valueDim, convolved, betas, decays } = block;
  const { channels, values } = widthsOf(block);
  const { count: tokens } = pass;
  const keys = keyHeads * keyDim;
  const states = back.region('states') + thread.index * statesFloats(tokens, keyDim) * 4;
  const ds = states + COLUMNS * ((tokens + 1) * keyDim + tokens) * 4;
  const group = valueHeads / keyHeads;
  const [first, end] = back.part(keyHeads);
  for (let i = 0; i < draws * tokens; i++) {
    for (const index of [d.convolved / 4 + i * channels, d.convolved / 4 + i * channels + keys]) {
      floats.fill(0, index + first * keyDim, index + end * keyDim);
    }
    const index = i * valueHeads;
    for (const to of [d.betas / 4 + index, d.decays / 4 + index]) floats.fill(0, to + first * group, to + end * group);
  }
  for (let head = first * group; head < end * group; head++) {
    const q = Math.floor(head / group) * keyDim * 4;
    const k = q + keys * 4;
    for (let column = 0; column < valueDim; column += COLUMNS) {
      const columns = Math.min(COLUMNS, valueDim - column);
      const y = (head * valueDim + column) * 4;
      const v = 2 * keys * 4 + y;
      const rule = [
        channels,
        decays + head * 4,
        betas + head * 4,
        valueHeads,
        tokens,
        keyDim,
        columns,
        states,
      ] as const;
      kernels.deltaStates(convolved + k, convolved + v, ...rule);
      for (let draw = 0; draw < draws; draw++) {
        const to = d.convolved + draw * tokens * channels * 4;
        const gate = (draw * tokens * valueHeads + head) * 4;
        kernels.deltaBack(
          ...([convolved + q, convolved + k, ...rule, d.mixed + draw * tokens * values * 4 + y, values] as const),
          ...([to + q, to + k, to + v, d.decays + gate, d.betas + gate, ds] as const),
        );
      }
    }
  }
}

// From behind the convolution to before lengths and silu: this thread's tokens. A vector of length 1 is one normed by its root mean square,
// divided by √keyDim. What `spare` holds is lost.
function convolvedBack(back: Back, block: DeltaRule, before: BeforeDeltaRule, d: number, spare: number): void {
  const { thread, draws, pass, part } = back;
  const { kernels } = thread;
  const { keyHeads, keyDim } = block;
  const { channels } = widthsOf(block);
  const keys = keyHeads * keyDim;
  const ones = back.region('ones');
  const [first, end] = part(draws * pass.count);
  for (let i = first; i < end; i++) {
    const token = i % pass.count;
    const offset = i * channels * 4;
    kernels.rmsNormBack(before.units + token * 2 * keys * 4, 0, d + offset, 2 * keyHeads, keyDim, EPSILON / keyDim);
    kernels.scale(d + offset, 1 / keyDim, keys); // with the scale of queries
    kernels.scale(d + offset + keys * 4, 1 / Math.sqrt(keyDim), keys);
    kernels.siluTimesBack(before.convolved + token * channels * 4, ones, d + offset, spare + offset, channels);
  }
}

// From betas and decays to what they are made of, in place: this thread's tokens.
//   β = 1 / (1 + e^-b):                            db = dβ β (1 - β)
//   decay = e^-g,  g = e^rate softplus(a + bias):    da = -d(decay) decay e^rate / (1 + e^-(a + bias))
function gatesBack({ draws, pass, floats, part }: Back, block: DeltaRule, before: BeforeDeltaRule, d: Gradients): void {
  const { valueHeads, rates, decayBias, betas, decays } = block;
  const [first, end] = part(draws * pass.count);
  for (let i = first * valueHeads; i < end * valueHeads; i++) {
    const [head, token] = [i % valueHeads, i % (pass.count * valueHeads)];
    const beta = floats[betas / 4 + token];
    floats[d.betas / 4 + i] *= beta * (1 - beta);
    const a = floats[before.decays / 4 + token] + floats[decayBias / 4 + head];
    const speed = exp(floats[rates / 4 + head]) / (1 + exp(-a));
    floats[d.decays / 4 + i] *= -floats[decays / 4 + token] * speed;
  }
}
