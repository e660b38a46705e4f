// Fisher's estimator (ours): to second order KL(p ‖ p noised) is ½ δᵀ F δ, so isotropic noise of relative error t² costs α t² with
//   α = ‖W‖² tr F / 2 d,   tr F = E ‖∇_W log p(y)‖²,  y sampled from the model,  d the number of weights.
// Scores at different positions are uncorrelated: one gradient of Σ_τ log p(y_τ) has the sum of their traces for its expected square.

import type { Alpha } from '../linearity/alphas.ts';
import type { Linear } from '../model/linear.ts';
import { exp } from '../numerics/exponential.ts';
import { isTied } from './embeddings.ts';
import { meanOf } from './fit.ts';
import { EMBEDDING, HEAD, MATRICES_PER_LAYER, matrixOf, tensorName } from './matrices.ts';
import type { Session } from './session.ts';
import { type Steps, stepsOf } from './steps.ts';
import { checkAlpha, type Found, rounded, sampledTokens, takeSequence, type Work } from './work.ts';

/**
 * Sensitivities by gradients. Of a text, KL divergence is taken for the increase of its −ln p, which it is where the model's
 * predictions are right, and perplexity grows by itself times that.
 */
export async function fisherAlphas(work: Work): Promise<Found> {
  const { session, sequences, seed, draws, norms, results, record, onProgress, signal } = work;
  const { state, workspace } = session.measuring;
  const { tokens } = workspace;
  const each = tokens + sampledTokens(work);
  const steps = stepsOf(sequences.length * each, onProgress, signal);
  await steps.next(results.length * each);
  for (let i = results.length; i < sequences.length; i++) {
    await takeSequence(work, i, steps);
    record(await traces(session, seed, i, steps));
  }
  const isText = sequences[0]?.targets !== undefined;
  const base = isText ? exp(meanOf(results.map((result) => result.at(-1)!)).mean) : null;
  const tensors = new Map<string, Alpha>();
  /** @param ofDraws traces of a sequence, one for each draw @param place among the norms */
  const add = (
    name: string,
    { rows, cols }: Linear,
    place: number,
    ofDraws: (result: readonly number[]) => number[],
  ) => {
    const factor = ((base ?? 1) * norms[place]) / (2 * rows * cols);
    const values = results.map(ofDraws);
    // Draws of one sequence are not independent, but all that there is for one sequence alone.
    const means = values.map((own) => meanOf(own).mean);
    const { mean, error: unscaled } = meanOf(means.length > 1 ? means : values[0]);
    const [alpha, error] = [factor * mean, unscaled && factor * unscaled];
    checkAlpha(work, name, alpha, error);
    tensors.set(name, {
      alpha: rounded(alpha),
      error: error === null ? null : rounded(error),
      r2: null,
      shape: [rows, cols],
      levels: [],
    });
  };
  for (const [layer, own] of state.layers.entries()) {
    for (let matrix = 0; matrix < MATRICES_PER_LAYER; matrix++) {
      const place = layer * MATRICES_PER_LAYER + matrix;
      add(tensorName(layer, matrix), matrixOf(own, matrix), place, (result) =>
        result.slice(place * draws, (place + 1) * draws),
      );
    }
  }
  const last = state.layers.length * MATRICES_PER_LAYER;
  const ofEmbedding = (result: readonly number[]) => result.slice(last * draws, (last + 1) * draws);
  const ofHead = (result: readonly number[]) => result[(last + 1) * draws];
  if (isTied(state)) {
    add(EMBEDDING, state.embedding, last, (result) => ofEmbedding(result).map((trace) => trace + ofHead(result)));
  } else {
    add(EMBEDDING, state.embedding, last, ofEmbedding);
    add(HEAD, state.head, last + 1, (result) => [ofHead(result)]);
  }
  return { base: base === null ? null : rounded(base), tensors };
}

// Traces of one sequence, a position: (layers, 7, draws), of the embeddings (draws), of the head; then the mean −ln p of its text.
async function traces(session: Session, seed: number, sequence: number, steps: Steps): Promise<number[]> {
  const { measuring, run } = session;
  const { state, workspace, doubles } = measuring;
  const { tokens, draws, sums } = workspace;
  const layers = state.layers.length;
  const meanSum = (row: number) => {
    let sum = 0;
    for (let token = 0; token < tokens; token++) sum += doubles[sums / 8 + row * tokens + token];
    return sum / tokens;
  };
  run({ kind: 'embed' });
  for (let layer = 0; layer < layers; layer++) {
    run({ kind: 'layer', layer, save: true });
    await steps.next(tokens / (3 * layers));
  }
  for (let first = 0; first < tokens; first += state.logitRows) {
    run({ kind: 'labels', first, count: Math.min(state.logitRows, tokens - first), seed, sequence });
    await steps.next(0);
  }
  const [nll, head] = [meanSum(0), meanSum(1)];
  const found: number[][] = [];
  for (let layer = layers - 1; layer >= 0; layer--) {
    run({ kind: 'feedForwardBack', layer });
    await steps.next(tokens / (3 * layers));
    run({ kind: 'attentionBack', layer });
    found.unshift(Array.from({ length: MATRICES_PER_LAYER * draws }, (_, row) => meanSum(row)));
    await steps.next(tokens / (3 * layers));
  }
  run({ kind: 'embeddingBack' });
  const embedding = Array.from({ length: draws }, (_, row) => meanSum(row));
  await steps.next(0);
  return [...found.flat(), ...embedding, head, nll];
}
