// Squared norms of weight gradients that are never formed: ‖Σ_τ d_τ x_τᵀ‖² = Σ_τσ (d_τ · d_σ)(x_τ · x_σ). A thread has sixteen
// tokens τ at a time, of both Gram matrices, and hands over a sum for each τ, so that no sum depends on the number of threads.

import { dtypeCodes } from '../kernels/layout.ts';
import type { Measuring } from './measuring.ts';
import { GRAM_ROWS } from './workspace.ts';

/** Inner products of a matrix's inputs, `x` (tokens, cols), σ up to τ: this thread's τ. */
export function inputGram(measuring: Measuring, x: number, cols: number): void {
  const { tokens, fisher } = measuring.workspace;
  eachBlock(measuring, (first, rows) => {
    products(measuring, x, cols, first, rows, fisher!.gram + first * 4, tokens);
  });
}

/**
 * Squared norms of the gradients of a matrix, for every label draw and τ, to `sums`.
 * @param matrix its place in the layer
 * @param d gradients of its outputs, (draws, tokens, rows)
 */
export function gradientSquares(measuring: Measuring, matrix: number, d: number, rows: number): void {
  const { thread, workspace, floats, doubles } = measuring;
  const { tokens, draws, sums, fisher } = workspace;
  const tile = workspace.scratch[thread.index];
  const gram = fisher!.gram / 4;
  for (let draw = 0; draw < draws; draw++) {
    const to = sums / 8 + (matrix * draws + draw) * tokens;
    eachBlock(measuring, (first, count) => {
      products(measuring, d + draw * tokens * rows * 4, rows, first, count, tile, GRAM_ROWS);
      for (let k = 0; k < count; k++) {
        const token = first + k;
        let sum = 0;
        for (let j = 0; j < token; j++) sum += floats[tile / 4 + j * GRAM_ROWS + k] * floats[gram + j * tokens + token];
        const own = floats[tile / 4 + token * GRAM_ROWS + k] * floats[gram + token * tokens + token];
        doubles[to + token] = 2 * sum + own;
      }
    });
  }
}

// Σ x of tokens `first` to `first + rows` with all up to the last of them: element k of token j to y[j · stride + k].
function products(
  { thread }: Measuring,
  x: number,
  cols: number,
  first: number,
  rows: number,
  y: number,
  stride: number,
): void {
  thread.kernels.denseRows(x + first * cols * 4, dtypeCodes.F32, rows, cols, x, first + rows, y, stride, 0);
}

/** Blocks of tokens τ, each given to one thread. */
export function eachBlock({ thread, workspace }: Measuring, work: (first: number, rows: number) => void): void {
  const { tokens } = workspace;
  for (let first = thread.index * GRAM_ROWS; first < tokens; first += thread.count * GRAM_ROWS) {
    work(first, Math.min(GRAM_ROWS, tokens - first));
  }
}
