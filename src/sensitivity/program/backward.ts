// Gradients back through a block. Weight gradients are never formed: ‖Σ_τ d_τ x_τᵀ‖² = Σ_τσ (d_τ · d_σ)(x_τ · x_σ), sums over pairs of
// tokens of two Gram matrices. A thread has sixteen tokens τ at a time and hands over a sum for each τ, so that no sum depends on
// the number of threads.

import { dtypeCodes } from '../../kernels/layout.ts';
import type { Back, Inputs } from '../../model/blocks/block.ts';
import { goBack, weightsOf } from '../../model/blocks/blocks.ts';
import { type DenseLinear, type Linear, ROWS_APART } from '../../model/linear.ts';
import { copyTokens, type Measuring, partOf, savedAt } from './measuring.ts';
import { addGradients } from './sums.ts';
import type { TaskOf } from './task.ts';
import { behindTile, GRAM_ROWS } from './workspace.ts';

/**
 * Squared gradients of a block's weights, (places, draws, tokens), to `sums`; dX before the block from dX behind it. With `gather`, what
 * its statistics gain.
 */
export function blockBack(measuring: Measuring, { block, gather }: TaskOf<'back'>): void {
  goBack(backOf(measuring, block, gather), measuring.state.blocks[block]);
}

function backOf(measuring: Measuring, block: number, gather: boolean): Back {
  const { thread, state, workspace, pass, floats } = measuring;
  const { tokens, draws } = workspace;
  const fisher = workspace.fisher!;
  const { dX, dNormed, dPerLayer } = fisher;
  const { dim, epsilon } = state;
  const saved = savedAt(measuring, block);
  let inputs: Inputs; // of the squares that follow
  return {
    ...{ thread, state, pass, draws, floats, dX, dNormed, dPerLayer },
    scratch: workspace.scratch[thread.index],
    restore: () => copyTokens(measuring, saved, state.x),
    region: (name) => fisher.regions[name],
    opposite: (rope) => fisher.opposite[rope],
    part: (total, apart) => partOf(measuring, total, apart),
    inputGram(x, cols, count = tokens) {
      inputs = { x, stride: cols, count };
      inputGram(measuring, x, cols, count);
    },
    squares(place, d, rows, count = tokens) {
      gradientSquares(measuring, place, d, rows, count, false);
      if (gather && count > 0) addGradients(measuring, state.blocks[block], place, inputs, d);
    },
    partSquares: (place, d, rows, adds) => gradientSquares(measuring, place, d, rows, tokens, adds),
    gain: gather
      ? (place, gains, d) => {
          outputSquares(measuring, weightsOf(state.blocks[block])[place].rows, place, d);
          addGradients(measuring, state.blocks[block], place, gains, d);
        }
      : undefined,
    transposed: (y, ...pairs) => transposed(measuring, draws * tokens, y, pairs),
    transposedOf: (count, y, ...pairs) => transposed(measuring, count, y, pairs),
    joinRows(to, ...parts) {
      const all = parts.reduce((sum, [, cols]) => sum + cols, 0);
      const [first, end] = partOf(measuring, draws * tokens);
      for (let i = first; i < end; i++) {
        let index = to / 4 + i * all;
        for (const [from, cols] of parts) {
          measuring.floats.copyWithin(index, from / 4 + i * cols, from / 4 + (i + 1) * cols);
          index += cols;
        }
      }
    },
    behindNorm(weights) {
      const [first, end] = partOf(measuring, tokens);
      for (let draw = 0; draw < draws; draw++) {
        const offset = (draw * tokens + first) * dim * 4;
        const x = saved + first * dim * 4;
        if (weights) thread.kernels.rmsNormBack(x, weights, dNormed + offset, end - first, dim, epsilon);
        thread.kernels.add(dX + offset, dNormed + offset, (end - first) * dim);
      }
    },
  };
}

/** Inner products of `count` inputs of a weight, (count, cols). */
export function inputGram(measuring: Measuring, x: number, cols: number, count: number): void {
  const { gram } = measuring.workspace.fisher!;
  eachBlock(measuring, count, (first, rows) =>
    products(measuring, x, cols, first, rows, gram + first * 4, measuring.workspace.tokens),
  );
}

/** Squared norms of a weight's gradients, to `sums`. Of inputs that are fewer than tokens, the rest counts nothing. */
export function gradientSquares(
  measuring: Measuring,
  place: number,
  d: number,
  rows: number,
  inputs: number,
  adds: boolean,
): void {
  const { thread, workspace, floats, doubles } = measuring;
  const { tokens, draws, sums, fisher, statistics } = workspace;
  const tile = workspace.scratch[thread.index];
  const gram = fisher!.gram / 4;
  const weights = statistics && statistics.weights / 4 + place * tokens;
  for (let draw = 0; draw < draws; draw++) {
    const to = sums / 8 + (place * draws + draw) * tokens;
    if (thread.index === 0) {
      doubles.fill(0, to + inputs, to + tokens);
      if (weights !== undefined) floats.fill(0, weights + inputs, weights + tokens);
    }
    eachBlock(measuring, inputs, (first, count) => {
      products(measuring, d + draw * inputs * rows * 4, rows, first, count, tile, GRAM_ROWS);
      for (let k = 0; k < count; k++) {
        const token = first + k;
        let sum = 0;
        for (let j = 0; j < token; j++) {
          sum += floats[tile / 4 + j * GRAM_ROWS + k] * floats[gram + j * tokens + token];
        }
        const square = floats[tile / 4 + token * GRAM_ROWS + k];
        const ownSquare = square * floats[gram + token * tokens + token];
        doubles[to + token] = 2 * sum + ownSquare + (adds ? doubles[to + token] : 0);
        if (weights !== undefined) floats[weights + token] = (draw > 0 ? floats[weights + token] : 0) + square;
      }
    });
  }
}

// Squared norms of the gradients of a weight's outputs, (draws, tokens, rows), of all draws.
function outputSquares({ thread, workspace, floats }: Measuring, rows: number, place: number, d: number): void {
  const { tokens, draws, scratch, statistics } = workspace;
  const square = scratch[thread.index];
  eachBlock({ thread }, tokens, (first, count) => {
    for (let token = first; token < first + count; token++) {
      let sum = 0;
      for (let draw = 0; draw < draws; draw++) {
        const address = d + (draw * tokens + token) * rows * 4;
        thread.kernels.denseRows(address, dtypeCodes.F32, 1, rows, address, 1, square, 1, 0);
        sum += floats[square / 4];
      }
      floats[statistics!.weights / 4 + place * tokens + token] = sum;
    }
  });
}

// Σ x of tokens `first` to `first + rows` with all up to the last of them: element k of token j to y[j · stride + k].
function products(
  { thread, workspace }: Measuring,
  x: number,
  cols: number,
  first: number,
  rows: number,
  y: number,
  stride: number,
): void {
  const sums = behindTile(workspace, thread.index);
  thread.kernels.denseRows(x + first * cols * 4, dtypeCodes.F32, rows, cols, x, first + rows, y, stride, sums);
}

/** Blocks of `count` tokens τ, each given to one thread. */
export function eachBlock(
  { thread }: Pick<Measuring, 'thread'>,
  count: number,
  work: (first: number, rows: number) => void,
): void {
  for (let first = thread.index * GRAM_ROWS; first < count; first += thread.count * GRAM_ROWS) {
    work(first, Math.min(GRAM_ROWS, count - first));
  }
}

// y = Σ Wᵀ d over pairs of a weight and the gradients of its outputs: this thread's columns, of `count` gradients.
function transposed(
  measuring: Measuring,
  count: number,
  y: number,
  pairs: readonly (readonly [Linear, number])[],
): void {
  const { thread, workspace, floats } = measuring;
  const { cols } = pairs[0][0];
  const [first, end] = partOf(measuring, cols, ROWS_APART);
  for (let j = 0; j < count; j++) floats.fill(0, y / 4 + j * cols + first, y / 4 + j * cols + end);
  for (const [linear, d] of pairs) {
    const { weights, dtype, rows } = linear as DenseLinear;
    const from = weights + first * (dtype === 'F32' ? 4 : 2);
    const scratch = workspace.scratch[thread.index];
    const to = y + first * 4;
    thread.kernels.addTransposed(from, dtypeCodes[dtype], rows, end - first, cols, d, count, rows, to, cols, scratch);
  }
}
