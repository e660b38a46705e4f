// The noise estimator, the method's own: each weight in turn with Gaussian noise of several levels, the increase of the loss by runs from
// its block on. A draw of noise serves all levels, with both signs: odd terms in t cancel. The loss is KL(clean ‖ noised) of the next
// token, or the increase of −ln p of the text's.

import { type Measured, measuredOf } from './program/measured.ts';
import { stepsOf, type TokenCounter } from './progress.ts';
import type { NoiseSurvey } from './results/combine.ts';
import type { Session } from './session.ts';
import { sampledBefore, sampledTokens, takeSequence, type Work, weightOf } from './work.ts';

/** What its results are of. */
export function noiseSurvey({ session, sequences, levels, norms, file }: Work): NoiseSurvey {
  const layers = layersOf(session).map((weights) => weights.map(({ linear, index }) => weightOf(linear, norms[index])));
  return { estimator: 'noise', file, isText: sequences[0]?.targets !== undefined, levels, layers };
}

/** Measures all sequences by noise. */
export async function noiseResults(work: Work): Promise<void> {
  const { session, first, end, draws, levels, results, record, onProgress, signal } = work;
  const { workspace } = session.measuring;
  const layers = layersOf(session);
  const runs = draws * levels.length * 2;
  const sampled = sampledTokens(work);
  const tokensOf = (layer: readonly Measured[]) => layer.length * runs * workspace.tokens;
  const each = layers.reduce((sum, layer) => sum + tokensOf(layer), sampled);
  const steps = stepsOf((end - first) * each, onProgress, signal);
  await steps.next(doneTokens(results.length));
  for (let i = first; i < end; i++) {
    let nll: number | undefined;
    for (const [layer, layerWeights] of layers.entries()) {
      if ((i - first) * layers.length + layer < results.length) continue;
      if (nll === undefined) {
        await takeSequence(work, i, steps);
        nll = await runClean(session, steps);
      }
      record([...(await layerDeltas(work, i, layerWeights, steps)), nll]);
    }
  }
  // Tokens of what an earlier run had done: a result is a layer of a sequence.
  function doneTokens(count: number): number {
    const finished = Math.floor(count / layers.length);
    let tokens = finished * sampled + sampledBefore(work, first + finished);
    for (let k = 0; k < count; k++) tokens += tokensOf(layers[k % layers.length]);
    return tokens;
  }
}

// The weights of each layer.
function layersOf({ measuring }: Session): Measured[][] {
  const measured = measuredOf(measuring.state);
  return [...new Set(measured.map(({ layer }) => layer))].map((layer) =>
    measured.filter((weight) => weight.layer === layer),
  );
}

// Runs the model as it is, and keeps what runs from a block on need; the mean −ln p of the text's tokens.
async function runClean(session: Session, steps: TokenCounter): Promise<number> {
  const { state } = session.measuring;
  session.run({ kind: 'embed' });
  for (const block of state.blocks.keys()) {
    session.run({ kind: 'block', block, save: true });
    await steps.next(0);
  }
  return lossOf(session, 'keep', false, steps);
}

// Increases of the loss by noise on the weights of a layer: (weights, levels), means over draws.
async function layerDeltas(
  work: Work,
  sequence: number,
  layer: readonly Measured[],
  steps: TokenCounter,
): Promise<number[]> {
  const { session, sequences, seed, draws, levels, norms } = work;
  const text = sequences[sequence]?.targets !== undefined;
  const { state, workspace } = session.measuring;
  const deltas: number[] = new Array(layer.length * levels.length).fill(0);
  for (const [i, { linear, block, place, inLayer, layer: number, index }] of layer.entries()) {
    const { rows, cols } = linear;
    for (let draw = 0; draw < draws; draw++) {
      session.run({ kind: 'draw', block, place, stream: streamOf(number, inLayer), seed, sequence, draw });
      for (const [j, t2] of levels.entries()) {
        const scale = Math.sqrt((t2 * norms[index]) / (rows * cols));
        for (const sign of [1, -1]) {
          session.run({ kind: 'perturb', block, place, scale: sign * scale });
          session.run({ kind: 'restore', block });
          session.run({ kind: 'block', block, perturbed: place });
          for (let next = block + 1; next < state.blocks.length; next++) {
            session.run({ kind: 'block', block: next });
            await steps.next(0);
          }
          deltas[i * levels.length + j] += (await lossOf(session, 'compare', text, steps)) / (2 * draws);
          await steps.next(workspace.tokens);
        }
      }
    }
  }
  return deltas;
}

async function lossOf(session: Session, kind: 'keep' | 'compare', text: boolean, steps: TokenCounter): Promise<number> {
  const { state, workspace, doubles } = session.measuring;
  const { tokens, sums } = workspace;
  for (let first = 0; first < tokens; first += state.logitRows) {
    const count = Math.min(state.logitRows, tokens - first);
    session.run(kind === 'keep' ? { kind, first, count } : { kind, first, count, text });
    await steps.next(0);
  }
  let sum = 0;
  for (let token = 0; token < tokens; token++) sum += doubles[sums / 8 + token];
  return sum / tokens;
}

// The stream of a weight's noise: one of eight a layer; where a layer has more weights, of experts, one behind those of all layers.
function streamOf(layer: number, inLayer: number): number {
  return inLayer < STREAMS ? layer * STREAMS + inLayer : inLayer * LAYERS + layer;
}

const STREAMS = 8;
/** As many as a model may have: streams stay below 2^24. */
const LAYERS = 1 << 10;
