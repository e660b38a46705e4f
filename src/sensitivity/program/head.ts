// What goes on at both ends of the model. Labels are sampled from its own predictions; of the logits the gradient of log p is
// onehot(label) − p, so the head gives row `label` of its matrix less the rows' mean under p, which all draws share. Where logits are
// z = cap(s · Hx), every row i counts with its slope c_i = s (1 − (z_i / cap)²), and with s where there is no cap.
//
// Gradients of the token embeddings E and of the head H, which are one matrix in many models. Each row's counts n_i, ‖row‖², as grids err by
// that. Of the head, the mean over labels is known:
//   E_y Σ_i n_i ‖(∇_H log p_τ(y))_i‖² = ‖x_τ‖² Σ n c_τ² p_τ (1 − p_τ),   x its inputs.
// Row i of ∇_E is the sum of e dX over the tokens i, e what embeddings are multiplied by. One matrix for both has the sum of the two
// gradients, whose inner product is
//   e Σ_τσ n[id_σ] c_τ[id_σ] (onehot(y_τ) − p_τ)[id_σ] x_τ · dX_σ.
// Where tokens have vectors for all layers, (norm(P x / √dim) + …) / √2, dX gets what goes back through these.

import { dtypeCodes } from '../../kernels/layout.ts';
import { type DenseLinear, decodeRow, ROWS_APART } from '../../model/linear.ts';
import type { PerLayerRegions } from '../../model/state.ts';
import { apply, applyHead, normTokens, tokensOfThread } from '../../model/steps.ts';
import { logSumExp } from '../../numerics/exponential.ts';
import { USE, uniformStream } from '../../numerics/stream.ts';
import { eachBlock, gradientSquares, inputGram } from './backward.ts';
import { sharesEmbedding } from './measured.ts';
import { copyTokens, type Measuring, partOf, savedAt, squareOfRow } from './measuring.ts';
import type { TaskOf } from './task.ts';
import { behindTile, GRAM_ROWS } from './workspace.ts';

/**
 * Labels and gradients of tokens `first` to `first + count`, at most as many as there is room for logits; −ln p of the text's ids
 * and squared norms of the head's gradients, by rows, to `sums`. A sequence's first ones come first: with them, norms of the head's rows.
 */
export function sampleLabels(measuring: Measuring, { first, count, seed, sequence }: TaskOf<'labels'>): void {
  const { thread, state, workspace, floats, doubles, ints } = measuring;
  const { kernels, barrier } = thread;
  const { draws, tokens, fisher } = workspace;
  const { probabilities, paddedVocab, labels, slopes, expected, dX } = fisher!;
  const { vocabSize, dim, epsilon } = state;
  const head = state.head as DenseLinear;
  const logits = state.logits / 4;
  const last = savedAt(measuring, state.blocks.length);

  if (first === 0) squaresOfHead(measuring);
  normTokens(thread, state, state.norm, [], first, first + count);
  barrier();
  applyHead(thread, state, state, count, first);
  barrier();
  const [from, end] = partOf(measuring, count);
  for (let j = from; j < end; j++) {
    const row = probabilities + j * paddedVocab * 4;
    kernels.widen(state.logits + j * vocabSize * 4, dtypeCodes.F32, 0, vocabSize, row);
    kernels.softmax(row, vocabSize);
    const p = floats.subarray(row / 4, row / 4 + vocabSize);
    const sum = p.reduce((total, value) => total + value, 0);
    const steepness = slopesOf(state, floats.subarray(logits + j * vocabSize, logits + (j + 1) * vocabSize));
    keepOutputs(measuring, first + j, p, sum, steepness);
    const target = ints[workspace.targets / 4 + first + j];
    doubles[workspace.sums / 8 + first + j] =
      logSumExp(floats.subarray(logits + j * vocabSize, logits + (j + 1) * vocabSize)) -
      floats[logits + j * vocabSize + target];
    for (let draw = 0; draw < draws; draw++) {
      const random = uniformStream(seed, (USE.labels << 24) | draw, sequence, first + j);
      const label = pick(p, random() * sum);
      ints[labels / 4 + draw * tokens + first + j] = label;
      floats[slopes / 4 + draw * tokens + first + j] = steepness?.[label] ?? 1;
    }
    if (steepness) for (let i = 0; i < vocabSize; i++) p[i] *= steepness[i];
  }
  barrier();
  const [start, stop] = partOf(measuring, dim, ROWS_APART);
  const to = expected + (first * dim + start) * 4;
  for (let j = 0; j < count; j++) floats.fill(0, to / 4 + j * dim, to / 4 + j * dim + stop - start);
  kernels.addTransposed(
    ...([head.weights + start * (head.dtype === 'F32' ? 4 : 2), dtypeCodes[head.dtype]] as const),
    ...([vocabSize, stop - start, dim, probabilities, count, paddedVocab, to, dim] as const),
    workspace.scratch[thread.index],
  );
  barrier();
  for (let j = first + from; j < first + end; j++) {
    const mean = expected / 4 + j * dim;
    for (let draw = 0; draw < draws; draw++) {
      const d = dX + (draw * tokens + j) * dim * 4;
      decodeRow(kernels, head, ints[labels / 4 + draw * tokens + j], d, 0);
      const slope = floats[slopes / 4 + draw * tokens + j];
      for (let i = 0; i < dim; i++) floats[d / 4 + i] = slope * floats[d / 4 + i] - floats[mean + i];
      kernels.rmsNormBack(last + j * dim * 4, state.norm, d, 1, dim, epsilon);
    }
  }
}

function squaresOfHead(measuring: Measuring): void {
  const { state, workspace, floats } = measuring;
  const to = workspace.fisher!.rowSquares / 4;
  const [first, end] = partOf(measuring, state.vocabSize);
  for (let id = first; id < end; id++) floats[to + id] = squareOfRow(measuring, state.head, id);
}

// What logits of a token change by with those before scale and cap; undefined where there are neither.
function slopesOf({ logitScale, logitCap }: Measuring['state'], z: Float32Array): Float64Array | undefined {
  if (logitScale === 1 && logitCap === 0) return undefined;
  return Float64Array.from(z, (value) => logitScale * (logitCap === 0 ? 1 : 1 - (value / logitCap) ** 2));
}

// The first id up to which more than `target` of the probability lies.
function pick(p: Float32Array, target: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    sum += p[i];
    if (sum > target) return i;
  }
  return p.length - 1;
}

// Keeps what the gradients of a token's predictions need, and puts the squared norm of the head's to `sums`, behind those of all tokens.
// `p` are probabilities, `sum` theirs.
function keepOutputs(
  measuring: Measuring,
  token: number,
  p: Float32Array,
  sum: number,
  slopes: Float64Array | undefined,
): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { tokens, fisher } = workspace;
  const { outputs, chosen, rowSquares } = fisher!;
  const { dim } = state;
  const from = state.normed / 4 + token * dim;
  floats.copyWithin(outputs / 4 + token * dim, from, from + dim);
  for (let other = 0; other < tokens; other++) {
    const id = ints[state.ids / 4 + other];
    floats[chosen / 4 + token * tokens + other] = (p[id] / sum) * (slopes?.[id] ?? 1);
  }
  let [square, spread] = [0, 0];
  for (let i = from; i < from + dim; i++) square += floats[i] * floats[i];
  for (let i = 0; i < p.length; i++) {
    spread += (p[i] / sum) * (1 - p[i] / sum) * (slopes?.[i] ?? 1) ** 2 * floats[rowSquares / 4 + i];
  }
  doubles[workspace.sums / 8 + tokens + token] = square * spread;
}

/**
 * Squared norms of the gradients of the embeddings, by rows, for every label draw and token, to `sums`; for one matrix in both places,
 * with the inner product of both gradients, twice; behind them, of what stands beside the embeddings. dX is at the first layer's input.
 */
export function embeddingBack(measuring: Measuring): void {
  const { thread, state, workspace, floats, doubles, ints } = measuring;
  const { tokens, draws, sums, fisher } = workspace;
  const { dX, outputs, chosen, labels, slopes, rowSquares } = fisher!;
  const { dim, embedding, embeddingScale, perLayerInputs } = state;
  if (perLayerInputs) perLayerBack(measuring, perLayerInputs);
  const ids = ints.subarray(state.ids / 4, state.ids / 4 + tokens);
  const squares = floats.subarray(rowSquares / 4, rowSquares / 4 + tokens);
  const [first, end] = partOf(measuring, tokens);
  for (let token = first; token < end; token++) squares[token] = squareOfRow(measuring, embedding, ids[token]);
  thread.barrier();
  const tile = workspace.scratch[thread.index];
  const sumsAt = behindTile(workspace, thread.index);
  const tied = sharesEmbedding(state);
  for (let draw = 0; draw < draws; draw++) {
    const d = dX + draw * tokens * dim * 4;
    eachBlock(measuring, workspace.tokens, (first, count) => {
      const x = outputs + first * dim * 4;
      if (tied) thread.kernels.denseRows(x, dtypeCodes.F32, count, dim, d, tokens, tile, GRAM_ROWS, sumsAt);
      for (let k = 0; k < count; k++) {
        const token = first + k;
        let sum = sumOfEqual(floats, ids, token, d / 4, dim) * (embeddingScale * embeddingScale) * squares[token];
        const slope = floats[slopes / 4 + draw * tokens + token];
        const label = ints[labels / 4 + draw * tokens + token];
        for (let other = 0; tied && other < tokens; other++) {
          const error = (ids[other] === label ? slope : 0) - floats[chosen / 4 + token * tokens + other];
          sum += 2 * embeddingScale * error * floats[tile / 4 + other * GRAM_ROWS + k] * squares[other];
        }
        doubles[sums / 8 + draw * tokens + token] = sum;
      }
    });
  }
}

// Gradients of tokens' vectors for all layers back to the embeddings; squared norms of those of the table beside them, by rows, and of the
// matrix, to `sums`. Ends at a barrier.
function perLayerBack(measuring: Measuring, { embedding, projection, norm, width }: PerLayerRegions): void {
  const { thread, state, workspace, floats, doubles, ints } = measuring;
  const { kernels, barrier } = thread;
  const { tokens, draws, sums, fisher } = workspace;
  const { dim, epsilon, perLayer, perLayerFloats } = state;
  const { dX, dPerLayer } = fisher!;
  const { weights, dtype } = projection as DenseLinear;
  copyTokens(measuring, savedAt(measuring, 0), state.x);
  barrier();
  apply(thread, state, projection, tokens, perLayer);
  barrier();
  const [from, to] = tokensOfThread(thread, tokens);
  const count = (to - from) * perLayerFloats;
  kernels.scale(perLayer + from * perLayerFloats * 4, 1 / Math.sqrt(dim), count);
  const ids = ints.subarray(state.ids / 4, state.ids / 4 + tokens);
  for (let token = from; token < to; token++) {
    const square = squareOfRow(measuring, embedding, ids[token]);
    for (let i = 0; i < draws; i++) {
      const sum = sumOfEqual(floats, ids, token, dPerLayer / 4 + i * tokens * perLayerFloats, perLayerFloats);
      doubles[sums / 8 + (draws + i) * tokens + token] = (sum * square * width) / 2; // an embedding counts √width / √2
    }
  }
  barrier();
  for (let draw = 0; draw < draws; draw++) {
    const d = dPerLayer + (draw * tokens + from) * perLayerFloats * 4;
    kernels.scale(d, Math.SQRT1_2, count);
    kernels.rmsNormBack(perLayer + from * perLayerFloats * 4, norm, d, count / width, width, epsilon);
    kernels.scale(d, 1 / Math.sqrt(dim), count);
  }
  barrier();
  inputGram(measuring, state.x, dim, tokens);
  gradientSquares(measuring, 2, dPerLayer, perLayerFloats, tokens, false);
  const [first, end] = partOf(measuring, dim, ROWS_APART);
  kernels.addTransposed(
    ...([weights + first * (dtype === 'F32' ? 4 : 2), dtypeCodes[dtype], perLayerFloats, end - first, dim] as const),
    ...([dPerLayer, draws * tokens, perLayerFloats, dX + first * 4, dim, workspace.scratch[thread.index]] as const),
  );
  barrier();
}

// What a token adds to the squared norm of a table's gradient, (ids, cols): its row is the sum of `d`, (tokens, cols), over its tokens.
function sumOfEqual(floats: Float32Array, ids: Int32Array, token: number, d: number, cols: number): number {
  let sum = 0;
  for (let other = 0; other <= token; other++) {
    if (ids[other] !== ids[token]) continue;
    sum += (other < token ? 2 : 1) * dot(floats, d + token * cols, d + other * cols, cols);
  }
  return sum;
}

function dot(floats: Float32Array, a: number, b: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += floats[a + i] * floats[b + i];
  return sum;
}
