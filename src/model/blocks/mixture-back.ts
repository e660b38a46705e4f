// The way back through a mixture of experts: gradients of what its experts gave, of their weights and of the router's, of inputs,
// which of all experts of a token are added. Gradients of an expert's pairs stand by draw.

import type { Activation } from '../../families/architecture.ts';
import { dtypeCodes } from '../../kernels/layout.ts';
import { ROWS_APART } from '../linear.ts';
import { apply, copyFloats, tokensOfThread } from '../steps.ts';
import type { Back } from './block.ts';
import { scalarOf } from './branch.ts';
import { STEPS } from './feedforward.ts';
import {
  type Apart,
  addOutputs,
  type Experts,
  gatePairs,
  type Hidden,
  placesOf,
  putOut,
  takePairs,
} from './mixture.ts';
import type { ExpertRun, Pairs } from './pairs.ts';
import { routesBack } from './router.ts';

/** Floats of the regions that `mixBack` needs, by name. */
export function mixGradients(
  { routing, router, shared, apart, width, experts }: Experts,
  tokens: number,
  draws: number,
) {
  const { rows: count, cols: dim } = router;
  const [all, pairs] = [draws * tokens, tokens * routing.top];
  const sharedWidth = shared?.width ?? 0;
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
    gate: tokens * sharedWidth,
    dGate: all * sharedWidth,
    dUp: all * sharedWidth,
    dShared: shared?.weight || apart ? all * dim : 0,
    dShares: shared?.weight ? all : 0,
    sums: apart ? tokens * dim : 0,
    dMixture: apart ? all * dim : 0,
  };
}

/** Squared gradients of the weights of all experts, and dX before them from dX behind them. */
export function mixBack(back: Back, block: Experts): void {
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
    const [address, d] = [(isJoined ? dHiddens : dGates) + from * draws * width * 4, dOutputs + from * draws * dim * 4];
    back.transposedOf(draws * count, address, [block.experts[expert].down, d]);
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
}

function placeOf(block: Experts, expert: number, role: 'gate' | 'down'): number {
  const { first, each } = placesOf(block);
  return first + each * expert + (role === 'gate' ? 0 : each - 1);
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
    const address = mixture + (token * dim + start) * 4;
    floats.fill(0, address / 4, address / 4 + stop - start);
    addOutputs(thread, block, pairs, token, start, stop, address, room, floats);
  }
  barrier();
  const [from, to] = tokensOfThread(thread, pass.count);
  const offset = from * dim * 4;
  kernels.rmsNorm(y + offset, apart.sharedPost, to - from, dim, epsilon, sums + offset);
  kernels.rmsNorm(mixture + offset, apart.expertsPost, to - from, dim, epsilon, dNormed + offset);
  kernels.add(sums + offset, dNormed + offset, (to - from) * dim);
  barrier();
  const scalar = scalarOf(thread, apart.scalar);
  const [first, end] = back.part(draws * pass.count);
  for (let i = first; i < end; i++) {
    const token = (i % pass.count) * dim * 4;
    const [d, dShared, dMixture] = [dX, back.region('dShared'), back.region('dMixture')].map(
      (base) => base + i * dim * 4,
    );
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
    const address = back.region('dShares') + i * 4;
    product(state.y + token * dim * 4, d, address);
    kernels.scale(address, s, 1);
    kernels.scale(address, 1 - s, 1);
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
    const offset = (from * back.draws + i) * width * 4;
    const x = upper + 2 * (from + (i % count)) * width * 4;
    back.thread.kernels.clampedGateBack(x, dHiddens + offset, dGates + 2 * offset, width);
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
function inputsBack(
  back: Back,
  block: Experts,
  { tokens: of }: Pairs,
  run: ExpertRun,
  dGate: number,
  dUp: number,
): void {
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
