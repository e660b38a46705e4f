// Fisher's estimator (ours): to second order KL(p ‖ p noised) is ½ δᵀ F δ, so isotropic noise of relative error t² costs α t² with
//   α = ‖W‖² tr F / 2 d,   tr F = E ‖∇_W log p(y)‖²,  y sampled from the model,  d the number of weights.
// Scores at different positions are uncorrelated: one gradient of Σ_τ log p(y_τ) has the sum of their traces for its expected square.
//
// A sequence goes forward whole, and the residual stream before each block is saved: tokens · dim floats. Labels are drawn at every
// position. Then each block is computed again from what was saved, and the gradients of all draws go back through it together.

import type { Alpha } from '../linearity/alphas.ts';
import { weightsOf } from '../model/blocks/blocks.ts';
import { placesOf } from '../model/blocks/mixture.ts';
import type { Linear } from '../model/linear.ts';
import type { ModelState } from '../model/memories.ts';
import { exp } from '../numerics/exponential.ts';
import { meanOf } from './fit.ts';
import { firstOf, type Gathering, gatherStatistics } from './gather.ts';
import { besideOf, isTied, type Measured, measuredOf } from './program/measured.ts';
import { meanOfTokens } from './program/measuring.ts';
import { type Steps, stepsOf } from './progress.ts';
import { pieceOf } from './session.ts';
import type { Place } from './underway.ts';
import { checkAlpha, type Found, rounded, sampledBefore, sampledTokens, takeSequence, type Work } from './work.ts';

/**
 * Sensitivities by gradients. Of a text, KL divergence is taken for the increase of its −ln p, which it is where the model's
 * predictions are right, and perplexity grows by itself times that.
 * @param statistics to be gathered on the way; of inputs alone, nothing else is measured
 */
export async function fisherAlphas(work: Work, statistics?: Gathering): Promise<Found> {
  const { session, sequences, draws, norms, results, record, onProgress, signal } = work;
  const { state, workspace } = session.measuring;
  const { tokens } = workspace;
  const measured = measuredOf(state);
  const each = tokens + sampledTokens(work);
  const steps = stepsOf(sequences.length * each, onProgress, signal);
  const done = statistics ? firstOf(work, statistics) : results.length;
  await steps.next(done * each + sampledBefore(work, done));
  if (statistics) await gatherStatistics(work, statistics, steps);
  else {
    for (let i = results.length; i < sequences.length; i++) {
      await takeSequence(work, i, steps);
      record(await traces(work, i, steps));
    }
  }
  if (statistics?.mode === 'inputs') return { base: null, tensors: new Map(), unreached: 0 };
  const isText = sequences[0]?.targets !== undefined;
  const base = isText ? exp(meanOf(results.map((result) => result.at(-1)!)).mean) : null;
  const estimates: Estimate[] = [];
  /** @param ofDraws traces of a sequence, one for each draw @param place among the norms */
  const add = (linear: Linear, place: number, ofDraws: (result: readonly number[]) => number[]) => {
    const { name, rows, cols } = linear;
    const factor = ((base ?? 1) * norms[place]) / (2 * rows * cols);
    const values = results.map(ofDraws);
    // Draws of one sequence are not independent, but all that there is for one sequence alone.
    const means = values.map((own) => meanOf(own).mean);
    const { mean, error: unscaled } = meanOf(means.length > 1 ? means : values[0]);
    const [alpha, error] = [factor * mean, unscaled && factor * unscaled];
    checkAlpha(work, name, alpha, error);
    estimates.push({ linear, alpha, error });
  };
  for (const { linear, index } of measured) {
    add(linear, index, (result) => result.slice(index * draws, (index + 1) * draws));
  }
  const unreached = fillUnreached(state, measured, estimates);
  const last = measured.length;
  const drawsAt = (result: readonly number[], place: number) => result.slice(place * draws, (place + 1) * draws);
  const ofEmbedding = (result: readonly number[]) => drawsAt(result, last);
  const ofHead = (result: readonly number[]) => result.at(-2)!;
  const beside = besideOf(state);
  if (isTied(state)) {
    add(state.embedding, last, (result) => ofEmbedding(result).map((trace) => trace + ofHead(result)));
  } else {
    add(state.embedding, last, ofEmbedding);
    add(state.head, last + 1 + beside.length, (result) => [ofHead(result)]);
  }
  for (const [i, linear] of beside.entries()) add(linear, last + 1 + i, (result) => drawsAt(result, last + 1 + i));
  return { base: base === null ? null : rounded(base), tensors: alphasOf(estimates), unreached };
}

interface Estimate {
  readonly linear: Linear;
  readonly alpha: number;
  readonly error: number | null;
}

// By tensor: a stack has the sum over its rows, as α t² of experts add up and one grid errs alike on all.
function alphasOf(estimates: readonly Estimate[]): Map<string, Alpha> {
  const tensors = new Map<string, Alpha>();
  for (const { linear, alpha, error } of estimates) {
    const { name, rows, cols, stack } = linear;
    const known = tensors.get(name) ?? { alpha: 0, error: 0 };
    const both = error === null || known.error === null ? null : Math.sqrt(known.error ** 2 + error ** 2);
    tensors.set(name, {
      alpha: rounded(known.alpha + alpha),
      error: both === null ? null : rounded(both),
      r2: null,
      shape: stack ?? [rows, cols],
      levels: [],
    });
  }
  return tensors;
}

// Weights of experts that no token reached get the mean of their layer's others, of the same role. @returns how many there are
function fillUnreached(
  { blocks }: Pick<ModelState, 'blocks'>,
  measured: readonly Measured[],
  estimates: Estimate[],
): number {
  let filled = 0;
  for (const [block, own] of blocks.entries()) {
    if (own.kind !== 'experts') continue;
    const { first, each } = placesOf(own);
    for (let role = 0; role < each; role++) {
      const all = measured.filter(
        (one) => one.block === block && one.place >= first && (one.place - first) % each === role,
      );
      const reached = all.filter(({ index }) => estimates[index].alpha > 0);
      if (reached.length === 0) continue;
      const mean = reached.reduce((sum, { index }) => sum + estimates[index].alpha, 0) / reached.length;
      for (const { index, linear } of all) {
        if (estimates[index].alpha > 0) continue;
        estimates[index] = { linear, alpha: mean, error: null };
        filled++;
      }
    }
  }
  return filled;
}

// Traces of one sequence, a position: (weights, draws), of the embeddings (draws), of the head; then the mean −ln p of its text.
async function traces(
  { session, seed, underway, signal }: Work,
  sequence: number,
  steps: Steps,
): Promise<readonly number[]> {
  const { measuring, run, bring } = session;
  const { state, workspace } = measuring;
  const { tokens, draws } = workspace;
  const blocks = state.blocks.length;
  const means = (rows: number) => Array.from({ length: rows }, (_, row) => meanOfTokens(measuring, row));
  await bring(pieceOf.embedding);
  run({ kind: 'embed' });
  const begun = await underway?.restore(sequence);
  const place = begun ?? { sequence, block: 0, goesBack: false, found: [] };
  try {
    if (begun) await steps.next(doneOf(begun, blocks) * tokens);
    while (!place.goesBack && place.block < blocks) {
      const { block } = place;
      await bring(pieceOf.block(block));
      run({ kind: 'block', block, save: true });
      place.block++;
      await steps.next(tokens / (3 * blocks));
      await underway?.note(place);
    }
    if (!place.goesBack) {
      await bring(pieceOf.end(state));
      for (let first = 0; first < tokens; first += state.logitRows) {
        run({ kind: 'labels', first, count: Math.min(state.logitRows, tokens - first), seed, sequence });
        await steps.next(0);
      }
      const [nll, head] = means(2);
      place.found = [head, nll];
      place.goesBack = true;
    }
    while (place.block > 0) {
      const block = place.block - 1;
      await bring(pieceOf.block(block));
      run({ kind: 'back', block });
      place.found = [...means(weightsOf(state.blocks[block]).length * draws), ...place.found];
      place.block = block;
      await steps.next((2 * tokens) / (3 * blocks));
      await underway?.note(place);
    }
    if (state.perLayerInputs) await bring(pieceOf.embedding);
    run({ kind: 'embeddingBack' });
    const ofEmbedding = means((1 + besideOf(state).length) * draws);
    await steps.next(0);
    return [...place.found.slice(0, -2), ...ofEmbedding, ...place.found.slice(-2)];
  } catch (error) {
    if (signal?.aborted) await underway?.keep(place);
    throw error;
  }
}

// The share of a sequence's work that is done.
function doneOf({ block, goesBack }: Place, blocks: number): number {
  return goesBack ? 1 - (2 * block) / (3 * blocks) : block / (3 * blocks);
}
