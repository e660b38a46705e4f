// The noise estimator, the method's own: each matrix in turn with Gaussian noise of several levels, the increase of the loss by runs from
// its layer on. A draw of noise serves all levels, with both signs: odd terms in t cancel.

import type { Alpha } from '../linearity/alphas.ts';
import { exp } from '../numerics/exponential.ts';
import { fitLevels, meanOf } from './fit.ts';
import { isFeedForward, MATRICES_PER_LAYER, matrixOf, tensorName } from './matrices.ts';
import type { Session } from './session.ts';
import { type Steps, stepsOf } from './steps.ts';
import { checkAlpha, type Found, rounded, sampledTokens, takeSequence, type Work } from './work.ts';

/** Sensitivities by noise. */
export async function noiseAlphas(work: Work): Promise<Found> {
  const { session, sequences, draws, levels, results, record, onProgress, signal } = work;
  const { state, workspace } = session.measuring;
  const layers = state.layers.length;
  const runs = MATRICES_PER_LAYER * draws * levels.length * 2;
  const sampled = sampledTokens(work);
  const steps = stepsOf(sequences.length * (sampled + layers * runs * workspace.tokens), onProgress, signal);
  await steps.next(Math.floor(results.length / layers) * sampled + results.length * runs * workspace.tokens);
  for (const i of sequences.keys()) {
    let nll: number | undefined;
    for (let layer = 0; layer < layers; layer++) {
      if (i * layers + layer < results.length) continue;
      if (nll === undefined) {
        await takeSequence(work, i, steps);
        nll = await runClean(session, steps);
      }
      record([...(await layerDeltas(work, i, layer, steps)), nll]);
    }
  }
  const isText = sequences[0]?.targets !== undefined;
  const ofLayer = (i: number, layer: number) => results[i * layers + layer];
  const base = isText ? exp(meanOf(sequences.map((_, i) => ofLayer(i, 0).at(-1)!)).mean) : null;
  const tensors = new Map<string, Alpha>();
  for (const [layer, own] of state.layers.entries()) {
    for (let matrix = 0; matrix < MATRICES_PER_LAYER; matrix++) {
      const { rows, cols } = matrixOf(own, matrix);
      const deltas = sequences.map((_, i) => {
        const found = ofLayer(i, layer).slice(matrix * levels.length, (matrix + 1) * levels.length);
        return base === null ? found : found.map((delta) => base * (exp(delta) - 1));
      });
      const { alpha, error, r2, levels: fitted } = fitLevels(levels, deltas);
      const name = tensorName(layer, matrix);
      checkAlpha(work, name, alpha, error);
      tensors.set(name, {
        alpha: rounded(alpha),
        error: error === null ? null : rounded(error),
        r2: r2 === null ? null : rounded(r2),
        shape: [rows, cols],
        levels: fitted.map(({ t2, delta, error, used }) => ({
          ...{ t2, delta: rounded(delta), error: error === null ? null : rounded(error), used },
        })),
      });
    }
  }
  return { base: base === null ? null : rounded(base), tensors };
}

// Runs the model as it is, and keeps what runs from a layer on need; the mean −ln p of the text's tokens.
async function runClean(session: Session, steps: Steps): Promise<number> {
  const { state } = session.measuring;
  session.run({ kind: 'embed' });
  for (const layer of state.layers.keys()) {
    session.run({ kind: 'layer', layer, save: true });
    await steps.next(0);
  }
  return lossOf(session, 'keep', false, steps);
}

// Increases of the loss by noise on the matrices of a layer: (7, levels), means over draws.
async function layerDeltas(work: Work, sequence: number, layer: number, steps: Steps): Promise<number[]> {
  const { session, sequences, seed, draws, levels, norms } = work;
  const text = sequences[sequence]?.targets !== undefined;
  const { state, workspace } = session.measuring;
  const layers = state.layers.length;
  const deltas: number[] = new Array(MATRICES_PER_LAYER * levels.length).fill(0);
  for (let matrix = 0; matrix < MATRICES_PER_LAYER; matrix++) {
    const { rows, cols } = matrixOf(state.layers[layer], matrix);
    const half = isFeedForward(matrix) ? 1 : 0;
    for (let draw = 0; draw < draws; draw++) {
      session.run({ kind: 'draw', layer, matrix, seed, sequence, draw });
      for (const [j, t2] of levels.entries()) {
        const scale = Math.sqrt((t2 * norms[layer * MATRICES_PER_LAYER + matrix]) / (rows * cols));
        for (const sign of [1, -1]) {
          session.run({ kind: 'perturb', layer, matrix, scale: sign * scale });
          session.run({ kind: 'restore', half: 2 * layer + half });
          session.run({ kind: 'layer', layer, matrix, perturbed: true, half });
          for (let next = layer + 1; next < layers; next++) {
            session.run({ kind: 'layer', layer: next });
            await steps.next(0);
          }
          deltas[matrix * levels.length + j] += (await lossOf(session, 'compare', text, steps)) / (2 * draws);
          await steps.next(workspace.tokens);
        }
      }
    }
  }
  return deltas;
}

async function lossOf(session: Session, kind: 'keep' | 'compare', text: boolean, steps: Steps): Promise<number> {
  const { state, workspace, doubles } = session.measuring;
  const { tokens, sums } = workspace;
  for (let first = 0; first < tokens; first += state.logitRows) {
    session.run({ kind, first, count: Math.min(state.logitRows, tokens - first), save: text });
    await steps.next(0);
  }
  let sum = 0;
  for (let token = 0; token < tokens; token++) sum += doubles[sums / 8 + token];
  return sum / tokens;
}
