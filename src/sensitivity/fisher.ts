// Fisher's estimator (ours): to second order KL(p ‖ p noised) is ½ δᵀ F δ, so isotropic noise of relative error t² costs α t² with
//   α = ‖W‖² tr F / 2 d,   tr F = E ‖∇_W log p(y)‖²,  y sampled from the model,  d the number of weights.
// Grids err by each row's own norm. Rows of embeddings and head are read as often as their tokens come, and those of frequent tokens are
// small: there
//   α = Σ_r ‖W_r‖² tr F_r / 2 cols,   over rows r.
// Scores at different positions are uncorrelated: one gradient of Σ_τ log p(y_τ) has the sum of their traces for its expected square.
//
// A sequence goes forward whole, and the residual stream before each block is saved: tokens · dim floats. Labels are drawn at every
// position. Then each block is computed again from what was saved, and the gradients of all draws go back through it together.

import { weightsOf } from '../model/blocks/blocks.ts';
import { placesOf } from '../model/blocks/mixture.ts';
import { firstOf, gatherStatistics } from './gather.ts';
import type { Gathering } from './growing.ts';
import { besideOf, type Measured, measuredOf, sharesEmbedding } from './program/measured.ts';
import { meanOfTokens } from './program/measuring.ts';
import { stepsOf, type TokenCounter } from './progress.ts';
import type { FisherSurvey } from './results/combine.ts';
import { pieceOf } from './session.ts';
import type { Whereabouts } from './underway.ts';
import { sampledBefore, sampledTokens, takeSequence, type Work, weightOf } from './work.ts';

/**
 * Measures all sequences by gradients. Of a text, KL divergence is taken for the increase of its −ln p, which it is where the model's
 * predictions are right, and perplexity grows by itself times that.
 * @param statistics to be gathered on the way; of inputs alone, nothing else is measured
 */
export async function fisherResults(work: Work, statistics?: Gathering): Promise<void> {
  const { session, first, end, results, record, onProgress, signal } = work;
  const { tokens } = session.measuring.workspace;
  const each = tokens + sampledTokens(work);
  const steps = stepsOf((end - first) * each, onProgress, signal);
  const done = statistics ? firstOf(work, statistics) : results.length;
  await steps.next(done * each + sampledBefore(work, first + done));
  if (statistics) await gatherStatistics(work, statistics, steps);
  else {
    for (let i = first + results.length; i < end; i++) {
      await takeSequence(work, i, steps);
      record(await traces(work, i, steps));
    }
  }
}

/** What its results are of. */
export function fisherSurvey({ session, sequences, draws, norms, file }: Work): FisherSurvey {
  const { state } = session.measuring;
  const measured = measuredOf(state);
  const beside = besideOf(state);
  const last = measured.length;
  const groupOf = ({ block, place }: Measured): string | null => {
    const running = state.blocks[block];
    if (running.kind !== 'experts') return null;
    const { first, each } = placesOf(running);
    return place < first ? null : `${block} ${(place - first) % each}`;
  };
  return {
    ...{ estimator: 'fisher', file, draws },
    isText: sequences[0]?.targets !== undefined,
    weights: measured.map((weight) => weightOf(weight.linear, norms[weight.index], groupOf(weight))),
    embedding: weightOf(state.embedding, norms[last]),
    beside: beside.map((linear, i) => weightOf(linear, norms[last + 1 + i])),
    head: sharesEmbedding(state) ? null : weightOf(state.head, norms[last + 1 + beside.length]),
  };
}

// Traces of one sequence, a position: (weights, draws), of the embeddings (draws), of the head; then the mean −ln p of its text.
async function traces(
  { session, seed, underway, signal }: Work,
  sequence: number,
  steps: TokenCounter,
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
    await bring(pieceOf.embedding);
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
function doneOf({ block, goesBack }: Whereabouts, blocks: number): number {
  return goesBack ? 1 - (2 * block) / (3 * blocks) : block / (3 * blocks);
}
