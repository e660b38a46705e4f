// A task of a measurement, as every thread of the team runs it.

import { attentionBack, feedForwardBack } from './backward.ts';
import { embeddingBack } from './embeddings.ts';
import { embedTokens, runLayer, squareRows } from './forward.ts';
import { sampleLabels } from './labels.ts';
import { copyTokens, type Measuring, savedAt } from './measuring.ts';
import { compareLogits, drawNoise, keepLogits, perturb } from './noise.ts';
import type { Task } from './task.ts';
import { stepTokens } from './together.ts';

const runs: Readonly<Record<Task['kind'], (measuring: Measuring, task: Required<Task>) => void>> = {
  norms: (measuring, { layer }) => squareRows(measuring, layer),
  embed: embedTokens,
  layer: runLayer,
  step: stepTokens,
  restore: (measuring, { half }) => copyTokens(measuring, savedAt(measuring, half), measuring.state.x),
  labels: sampleLabels,
  feedForwardBack: (measuring, { layer }) => feedForwardBack(measuring, layer),
  attentionBack: (measuring, { layer }) => attentionBack(measuring, layer),
  embeddingBack,
  draw: drawNoise,
  perturb,
  keep: keepLogits,
  compare: compareLogits,
};

/** Runs a task; when it returns, all threads have done their parts. */
export function runTask(measuring: Measuring, task: Required<Task>): void {
  runs[task.kind](measuring, task);
  measuring.thread.barrier();
}
