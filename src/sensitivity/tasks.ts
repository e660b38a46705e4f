// What the threads of a measurement do next. A task goes to them as words that all read: its kind, then its members in the order of
// MEMBERS. Tasks are short: between two of them other work of the thread may run.

import { dtypeCodes } from '../kernels/layout.ts';
import { replaceWeight, runBlock, weightsOf } from '../model/blocks/blocks.ts';
import { embed } from '../model/forward.ts';
import type { DenseLinear } from '../model/linear.ts';
import { passOf } from '../model/pass.ts';
import { apply, normTokens } from '../model/steps.ts';
import { blockBack } from './backward.ts';
import { embeddingBack, sampleLabels } from './head.ts';
import { weightsAt } from './measured.ts';
import { copyTokens, type Measuring, partOf, savedAt } from './measuring.ts';
import { compareLogits, drawNoise, keepLogits, perturb } from './noise.ts';

export type Task =
  /** Squares of the rows of a block's weights, to `sums`. */
  | { readonly kind: 'norms'; readonly block: number }
  /** Ids to the residual stream. */
  | { readonly kind: 'embed' }
  /** A block, with its input saved, and with its weight at `perturbed` as it stands in the workspace. */
  | { readonly kind: 'block'; readonly block: number; readonly save?: boolean; readonly perturbed?: number }
  /** Token `first` of `count` sequences together, and its logits. */
  | { readonly kind: 'step'; readonly first: number; readonly count: number; readonly logits?: boolean }
  /** The residual stream before a block, as it was saved. */
  | { readonly kind: 'restore'; readonly block: number }
  /** Logits of some tokens to labels and gradients. */
  | ({ readonly kind: 'labels' } & Some & Seeded)
  /** Gradients back through a block. */
  | { readonly kind: 'back'; readonly block: number }
  | { readonly kind: 'embeddingBack' }
  /** Noise for a weight, from a stream of its own. */
  | ({ readonly kind: 'draw'; readonly stream?: number; readonly draw?: number } & Weight & Seeded)
  /** The weight with `scale` times the noise. */
  | ({ readonly kind: 'perturb'; readonly scale: number } & Weight)
  /** Logits of some tokens, to compare with. */
  | ({ readonly kind: 'keep' } & Some)
  /** Loss of some tokens, to `sums`: KL divergence, or of a text the increase of −ln p of its ids. */
  | ({ readonly kind: 'compare'; readonly text?: boolean } & Some);

/** Tokens `first`, 0 if left out, to `first + count`. */
interface Some {
  readonly first?: number;
  readonly count: number;
}
/** A weight, by its block and its place there. */
interface Weight {
  readonly block: number;
  readonly place: number;
}
interface Seeded {
  readonly seed?: number;
  readonly sequence?: number;
}

/** A task as threads have it: what was left out is 0, false, or −1 for `perturbed`. */
export type TaskOf<K extends Task['kind']> = Required<Extract<Task, { readonly kind: K }>>;

const MEMBERS: { readonly [K in Task['kind']]: readonly Exclude<keyof TaskOf<K>, 'kind'>[] } = {
  norms: ['block'],
  embed: [],
  block: ['block', 'save', 'perturbed'],
  step: ['first', 'count', 'logits'],
  restore: ['block'],
  labels: ['first', 'count', 'seed', 'sequence'],
  back: ['block'],
  embeddingBack: [],
  draw: ['block', 'place', 'stream', 'seed', 'sequence', 'draw'],
  perturb: ['block', 'place', 'scale'],
  keep: ['first', 'count'],
  compare: ['first', 'count', 'text'],
};
const KINDS = Object.keys(MEMBERS) as Task['kind'][];
const FLAGS: readonly string[] = ['save', 'logits', 'text'];

const number = new Float64Array(1);
const words = new Int32Array(number.buffer);

/** A task in words: its kind, and two words of an f64 for each member. */
export function wordsOfTask(task: Task): number[] {
  const given = task as unknown as Readonly<Record<string, number | boolean | undefined>>;
  const found: number[] = [KINDS.indexOf(task.kind)];
  for (const member of MEMBERS[task.kind] as readonly string[]) {
    number[0] = Number(given[member] ?? (member === 'perturbed' ? -1 : 0));
    found.push(...words);
  }
  return found;
}

export function taskOf(from: Int32Array): TaskOf<Task['kind']> {
  const kind = KINDS[from[0]];
  const task: Record<string, unknown> = { kind };
  for (const [i, member] of (MEMBERS[kind] as readonly string[]).entries()) {
    words.set(from.subarray(1 + 2 * i, 3 + 2 * i));
    task[member] = FLAGS.includes(member) ? number[0] !== 0 : number[0];
  }
  return task as unknown as TaskOf<Task['kind']>;
}

const RUNS: { readonly [K in Task['kind']]: (measuring: Measuring, task: TaskOf<K>) => void } = {
  norms: (measuring, { block }) => squareRows(measuring, block),
  embed: embedTokens,
  block: throughBlock,
  step: stepTokens,
  restore: (measuring, { block }) => copyTokens(measuring, savedAt(measuring, block), measuring.state.x),
  labels: sampleLabels,
  back: (measuring, { block }) => blockBack(measuring, block),
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
function embedTokens(measuring: Measuring): void {
  const { thread, state, workspace, ints, pass } = measuring;
  const { tokens, fisher } = workspace;
  embed(thread, state, pass, ints.subarray(state.ids / 4, state.ids / 4 + tokens));
  if (!fisher) return;
  const [first, end] = partOf(measuring, tokens);
  for (const [i, { frequencies, headDim }] of state.ropes.entries()) {
    for (let j = first; j < end; j++) {
      thread.kernels.angles(frequencies, headDim / 2, -j, fisher.opposite[i] + j * headDim * 4);
    }
  }
}

function throughBlock(measuring: Measuring, { block: index, save, perturbed }: TaskOf<'block'>): void {
  const { thread, state, workspace, pass } = measuring;
  const own = state.blocks[index];
  if (save) copyTokens(measuring, state.x, savedAt(measuring, index));
  const block =
    perturbed < 0
      ? own
      : replaceWeight(own, perturbed, perturbedOf(weightsOf(own)[perturbed], workspace.noise!.weights));
  runBlock(thread, state, block, pass);
  if (save && index + 1 === state.blocks.length) copyTokens(measuring, state.x, savedAt(measuring, index + 1));
}

// A weight as it stands in the workspace, in f32, with noise.
function perturbedOf(linear: ReturnType<typeof weightsOf>[number], weights: number): DenseLinear {
  return { ...(linear as DenseLinear), dtype: 'F32', rowBytes: linear.cols * 4, weights };
}

// One token each of several sequences, behind those before it.
function stepTokens({ thread, state, workspace, ints }: Measuring, { first, count, logits }: TaskOf<'step'>): void {
  const { tokens } = workspace;
  const segments = Array.from({ length: count }, (_, j) => ({
    count: 1,
    position: first,
    start: j * tokens,
    outputs: 0,
  }));
  const pass = passOf(segments, false);
  embed(thread, state, pass, ints.subarray(state.ids / 4, state.ids / 4 + count));
  thread.barrier();
  for (const block of state.blocks) runBlock(thread, state, block, pass);
  if (!logits) return;
  normTokens(thread, state, state.norm, [], 0, count);
  thread.barrier();
  apply(thread, state, state.head, count, state.logits);
}

// Σ w² of every row of a block's weights, one weight after the other; behind the last block, of the embeddings and of the head.
function squareRows(measuring: Measuring, block: number): void {
  const { thread, state, workspace, floats, doubles } = measuring;
  const row = workspace.scratch[thread.index];
  let at = workspace.sums / 8;
  for (const linear of weightsAt(state, block)) {
    const { rows, cols, rowBytes, weights, dtype } = linear as DenseLinear;
    const [first, end] = partOf(measuring, rows);
    for (let r = first; r < end; r++) {
      thread.kernels.widen(weights + r * rowBytes, dtypeCodes[dtype], 0, cols, row);
      let sum = 0;
      for (let i = row / 4; i < row / 4 + cols; i++) sum += floats[i] * floats[i];
      doubles[at + r] = sum;
    }
    at += rows;
  }
}
