// A task of a measurement, as every thread of the team runs it.

import { replaceWeight, runBlock, weightsOf } from '../../model/blocks/blocks.ts';
import { embedLayers } from '../../model/blocks/perlayer.ts';
import { embedTokens, placeAngles } from '../../model/forward.ts';
import type { DenseLinear } from '../../model/linear.ts';
import { type Pass, passOf } from '../../model/pass.ts';
import { applyHead, normTokens, turnTo } from '../../model/steps.ts';
import { blockBack } from './backward.ts';
import { embeddingBack, sampleLabels } from './head.ts';
import { weightsAt } from './measured.ts';
import { copyTokens, type Measuring, partOf, savedAt, squareOfRow } from './measuring.ts';
import { compareLogits, drawNoise, keepLogits, perturb } from './perturb.ts';
import { addInputs } from './sums.ts';
import type { Task, TaskOf } from './task.ts';

const RUNS: { readonly [K in Task['kind']]: (measuring: Measuring, task: TaskOf<K>) => void } = {
  squares: (measuring, { block }) => squareRows(measuring, block),
  embed: embedPass,
  block: throughBlock,
  step: stepTokens,
  fill: fillTokens,
  restore: (measuring, { block }) => copyTokens(measuring, savedAt(measuring, block), measuring.state.x),
  labels: sampleLabels,
  back: blockBack,
  inputs: (measuring, { block }) => addInputs(measuring, measuring.state.blocks[block]),
  embeddingBack,
  draw: drawNoise,
  perturb,
  keep: keepLogits,
  compare: compareLogits,
};

/** Runs a task; when it returns, all threads have done their parts. */
export function runTask(measuring: Measuring, task: TaskOf<Task['kind']>): void {
  (RUNS[task.kind] as (measuring: Measuring, task: TaskOf<Task['kind']>) => void)(measuring, task);
  measuring.thread.barrier();
}

// Ids to the residual stream, and the angles of their positions, also those of a turn back.
function embedPass(measuring: Measuring): void {
  const { thread, state, workspace, ints, pass } = measuring;
  const { tokens, fisher } = workspace;
  embedTokens(thread, state, pass, ints.subarray(state.ids / 4, state.ids / 4 + tokens));
  placeAngles(thread, state, pass);
  thread.barrier();
  embedLayers(thread, state, tokens, ints.subarray(state.ids / 4, state.ids / 4 + tokens));
  if (!fisher) return;
  const [first, end] = partOf(measuring, tokens);
  for (const [i, rope] of state.ropes.entries()) {
    for (let j = first; j < end; j++) turnTo(thread.kernels, rope, -j, fisher.opposite[i] + j * rope.width * 4);
  }
}

function throughBlock(measuring: Measuring, { block: index, save, perturbed }: TaskOf<'block'>): void {
  const { thread, state, workspace, pass } = measuring;
  const ownBlock = state.blocks[index];
  if (save) copyTokens(measuring, state.x, savedAt(measuring, index));
  const block =
    perturbed < 0
      ? ownBlock
      : replaceWeight(ownBlock, perturbed, perturbedOf(weightsOf(ownBlock)[perturbed], workspace.noise!.weights));
  runBlock(thread, state, block, pass);
  if (save && index + 1 === state.blocks.length) copyTokens(measuring, state.x, savedAt(measuring, index + 1));
}

// A weight as it stands in the workspace, in f32, with noise.
function perturbedOf(linear: ReturnType<typeof weightsOf>[number], weights: number): DenseLinear {
  return { ...(linear as DenseLinear), dtype: 'F32', rowBytes: linear.cols * 4, weights };
}

// One token each of several sequences, behind those before it.
function stepTokens(measuring: Measuring, { first, count, ids, from, to, logits }: TaskOf<'step'>): void {
  const { thread, state, workspace } = measuring;
  const { tokens } = workspace;
  const segments = Array.from({ length: count }, (_, j) => ({
    count: 1,
    position: first,
    start: j * tokens,
    outputs: 0,
    slot: j,
  }));
  through(measuring, passOf(segments, false), ids, from, to);
  if (!logits) return;
  normTokens(thread, state, state.norm, [], 0, count);
  thread.barrier();
  applyHead(thread, state, state, count);
}

function fillTokens(measuring: Measuring, { sequence, count, ids, from, to }: TaskOf<'fill'>): void {
  const start = sequence * measuring.workspace.tokens;
  through(measuring, passOf([{ count, position: 0, start, outputs: 0, slot: sequence }], false), ids, from, to);
}

// A pass through some blocks, from its ids on if they are to be embedded.
function through(measuring: Measuring, pass: Pass, ids: boolean, from: number, to: number): void {
  const { thread, state, ints } = measuring;
  if (ids) {
    const tokenIds = ints.subarray(state.ids / 4, state.ids / 4 + pass.count);
    embedTokens(thread, state, pass, tokenIds);
    placeAngles(thread, state, pass);
    thread.barrier();
    embedLayers(thread, state, pass.count, tokenIds);
  }
  for (let block = from; block < to; block++) runBlock(thread, state, state.blocks[block], pass);
}

// Σ w² of every row of a block's weights, one weight after the other; behind the last block, of the embeddings and of the head.
function squareRows(measuring: Measuring, block: number): void {
  const { state, workspace, doubles } = measuring;
  let index = workspace.sums / 8;
  for (const linear of weightsAt(state, block)) {
    const [first, end] = partOf(measuring, linear.rows);
    for (let r = first; r < end; r++) doubles[index + r] = squareOfRow(measuring, linear, r);
    index += linear.rows;
  }
}
