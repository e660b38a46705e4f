// Adds to the statistics of a block's weights (statistics/matrices.ts) what a sequence gives. Threads share rows of a matrix; every element
// is one thread's sum, sequence by sequence.

import type { Inputs } from '../../model/blocks/block.ts';
import { type Block, inputsOf, weightsOf } from '../../model/blocks/blocks.ts';
import type { Thread } from '../../model/team.ts';
import { type Sums, sumsOf, triangleOf } from '../../statistics/matrices.ts';
import type { Measuring } from './measuring.ts';

/** Adds a sequence's inputs. The block has run. */
export function addInputs(measuring: Measuring, block: Block): void {
  const { thread, workspace } = measuring;
  const inputs = inputsOf(thread, block, workspace.tokens);
  let end = 0;
  for (const sums of sumsOf(block, workspace.statistics!)) {
    if (sums.offset < end) continue; // those of an equal input
    end = sums.offset + sums.floats;
    addOuter(measuring, sums, inputs[sums.place], 0);
  }
}

/**
 * Adds what a weight's statistics gain by a sequence.
 * @param d gradients of its outputs, (draws, count, rows); their squared norms are there when all threads have come here
 */
export function addGradients(measuring: Measuring, block: Block, place: number, inputs: Inputs, d: number): void {
  const { thread, workspace } = measuring;
  const { tokens, draws, statistics } = workspace;
  const { rows } = weightsOf(block)[place];
  thread.barrier();
  for (const sums of sumsOf(block, statistics!)) {
    if (sums.place !== place) continue;
    if (sums.of === 'outputs') addOuter(measuring, sums, { x: d, stride: rows, count: draws * inputs.count }, 0);
    else addOuter(measuring, sums, inputs, statistics!.weights + place * tokens * 4);
  }
}

// This thread's rows of every part.
function addOuter(measuring: Measuring, sums: Sums, { x, stride, count }: Inputs, weights: number): void {
  const { thread, workspace } = measuring;
  let address = workspace.statistics!.sums + sums.offset * 4;
  let from = x;
  for (const width of sums.parts) {
    const [first, end] = [rowsTo(thread, 0, width), rowsTo(thread, 1, width)];
    thread.kernels.addGram(from, count, stride, weights, first, end, address, workspace.scratch[thread.index]);
    from += width * 4;
    address += triangleOf(width) * 4;
  }
}

// Where a thread's rows begin, or those of the next: parts of a triangle with about equal areas, in whole tiles.
function rowsTo({ index, count }: Thread, next: 0 | 1, width: number): number {
  return Math.min(width, Math.ceil((Math.sqrt((index + next) / count) * width) / 64) * 64);
}
