// Fisher's estimator (ours): to second order KL(p ‖ p noised) is ½ δᵀ F δ, so isotropic noise of relative error t² costs α t² with
//   α = ‖W‖² tr F / 2 d,   tr F = E ‖∇_W log p(y)‖²,  y sampled from the model,  d the number of weights.
// Scores at different positions are uncorrelated: one gradient of Σ_τ log p(y_τ) has the sum of their traces for its expected square.

import type { Alpha } from '../../linearity/alphas.ts';
import { exp } from '../exponential.ts';
import { meanOf } from './fit.ts';
import { MATRICES_PER_LAYER, matrixOf, tensorName } from './matrices.ts';
import type { Session } from './session.ts';
import { type Steps, stepsOf } from './steps.ts';
import { checkAlpha, type Found, placeSequence, rounded, type Work } from './work.ts';

/**
 * Sensitivities by gradients. Of a text, KL divergence is taken for the increase of its −ln p, which it is where the model's
 * predictions are right, and perplexity grows by itself times that.
 */
export async function fisherAlphas(work: Work): Promise<Found> {
  const { session, sequences, seed, draws, norms, results, record, onProgress, signal } = work;
  const { state, workspace } = session.measuring;
  const { tokens } = workspace;
  const steps = stepsOf(sequences.length * tokens, onProgress, signal);
  await steps.next(results.length * tokens);
  for (const [i, sequence] of sequences.entries()) {
    if (i < results.length) continue;
    placeSequence(session, sequence);
    record(await traces(session, seed, i, steps));
  }
  const isText = sequences[0]!.targets !== undefined;
  const base = isText ? exp(meanOf(results.map((result) => result.at(-1)!)).mean) : null;
  const tensors = new Map<string, Alpha>();
  for (const [layer, own] of state.layers.entries()) {
    for (let matrix = 0; matrix < MATRICES_PER_LAYER; matrix++) {
      const { rows, cols } = matrixOf(own, matrix);
      const place = layer * MATRICES_PER_LAYER + matrix;
      const factor = ((base ?? 1) * norms[place]!) / (2 * rows * cols);
      const values = results.map((result) => result.slice(place * draws, (place + 1) * draws));
      // Draws of one sequence are not independent, but all that there is for one sequence alone.
      const means = values.map((ofDraws) => meanOf(ofDraws).mean);
      const { mean, error } = meanOf(means.length > 1 ? means : values[0]!);
      const name = tensorName(layer, matrix);
      checkAlpha(mean, name);
      tensors.set(name, {
        alpha: rounded(factor * mean),
        error: error === null ? null : rounded(factor * error),
        r2: null,
        shape: [rows, cols],
        levels: [],
      });
    }
  }
  return { base: base === null ? null : rounded(base), tensors };
}

// Traces of one sequence, a position: (layers, 7, draws); then the mean −ln p of its text.
async function traces(session: Session, seed: number, sequence: number, steps: Steps): Promise<number[]> {
  const { measuring, run } = session;
  const { state, workspace, doubles } = measuring;
  const { tokens, draws, sums } = workspace;
  const layers = state.layers.length;
  run({ kind: 'embed' });
  for (let layer = 0; layer < layers; layer++) {
    run({ kind: 'layer', layer, save: true });
    await steps.next(tokens / (3 * layers));
  }
  for (let first = 0; first < tokens; first += state.logitRows) {
    run({ kind: 'labels', first, count: Math.min(state.logitRows, tokens - first), seed, sequence });
    await steps.next(0);
  }
  let nll = 0;
  for (let token = 0; token < tokens; token++) nll += doubles[sums / 8 + token]! / tokens;
  const found: number[] = [];
  for (let layer = layers - 1; layer >= 0; layer--) {
    run({ kind: 'feedForwardBack', layer });
    await steps.next(tokens / (3 * layers));
    run({ kind: 'attentionBack', layer });
    for (let i = 0; i < MATRICES_PER_LAYER * draws; i++) {
      let sum = 0;
      for (let token = 0; token < tokens; token++) sum += doubles[sums / 8 + i * tokens + token]!;
      found[layer * MATRICES_PER_LAYER * draws + i] = sum / tokens;
    }
    await steps.next(tokens / (3 * layers));
  }
  return [...found, nll];
}
