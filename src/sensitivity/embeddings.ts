// Gradients of the token embeddings E and of the head H, which are one matrix in many models. Of the head, the mean over labels is known:
//   E_y ‖∇_H log p_τ(y)‖² = ‖x_τ‖² (1 − Σ p_τ²),   x its inputs.
// Row i of ∇_E is the sum of dX over the tokens i. One matrix for both has the sum of the two gradients, whose inner product is
//   Σ_τσ (onehot(y_τ) − p_τ)[id_σ] x_τ · dX_σ.

import { dtypeCodes } from '../kernels/layout.ts';
import type { DenseLinear } from '../model/linear.ts';
import type { State } from '../model/state.ts';
import { eachBlock } from './gram.ts';
import type { Measuring } from './measuring.ts';
import { GRAM_ROWS } from './workspace.ts';

/** Whether embeddings and head are one matrix. */
export function isTied({ embedding, head }: State): boolean {
  return (embedding as DenseLinear).weights === (head as DenseLinear).weights;
}

/**
 * Keeps what the gradients of a token's predictions need, and puts the head's squared norm to `sums`, behind those of all tokens.
 * @param p probabilities, and their sum
 */
export function keepOutputs(measuring: Measuring, token: number, p: Float32Array, sum: number): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { tokens, fisher } = workspace;
  const { outputs, chosen } = fisher!;
  const { dim } = state.config;
  const from = state.normed / 4 + token * dim;
  floats.copyWithin(outputs / 4 + token * dim, from, from + dim);
  for (let other = 0; other < tokens; other++) {
    floats[chosen / 4 + token * tokens + other] = p[ints[state.ids / 4 + other]] / sum;
  }
  let [square, agreement] = [0, 0];
  for (let i = from; i < from + dim; i++) square += floats[i] * floats[i];
  for (let i = 0; i < p.length; i++) agreement += (p[i] / sum) * (p[i] / sum);
  doubles[workspace.sums / 8 + tokens + token] = square * (1 - agreement);
}

/**
 * Squared norms of the gradients of the embeddings, for every label draw and token, to `sums`; for one matrix in both places,
 * with the inner product of both gradients, twice. dX is at the first layer's input.
 */
export function embeddingBack(measuring: Measuring): void {
  const { thread, state, workspace, floats, doubles, ints } = measuring;
  const { tokens, draws, sums, fisher } = workspace;
  const { dX, outputs, chosen, labels } = fisher!;
  const { dim } = state.config;
  const ids = ints.subarray(state.ids / 4, state.ids / 4 + tokens);
  const tile = workspace.scratch[thread.index];
  const tied = isTied(state);
  for (let draw = 0; draw < draws; draw++) {
    const d = dX + draw * tokens * dim * 4;
    eachBlock(measuring, (first, count) => {
      const x = outputs + first * dim * 4;
      if (tied) thread.kernels.denseRows(x, dtypeCodes.F32, count, dim, d, tokens, tile, GRAM_ROWS, 0);
      for (let k = 0; k < count; k++) {
        const token = first + k;
        let sum = 0;
        for (let other = 0; other <= token; other++) {
          if (ids[other] !== ids[token]) continue;
          sum += (other < token ? 2 : 1) * dot(floats, d / 4 + token * dim, d / 4 + other * dim, dim);
        }
        const label = ints[labels / 4 + draw * tokens + token];
        for (let other = 0; tied && other < tokens; other++) {
          const error = (ids[other] === label ? 1 : 0) - floats[chosen / 4 + token * tokens + other];
          sum += 2 * error * floats[tile / 4 + other * GRAM_ROWS + k];
        }
        doubles[sums / 8 + draw * tokens + token] = sum;
      }
    });
  }
}

function dot(floats: Float32Array, a: number, b: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += floats[a + i] * floats[b + i];
  return sum;
}
