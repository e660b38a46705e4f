// The noise estimator, the method's own: each weight in turn with Gaussian noise of several levels, the increase of the loss by runs from
// its block on. A draw of noise serves all levels, with both signs: odd terms in t cancel. The loss is KL(clean ‖ noised) of the next
// token, or the increase of −ln p of the text's.

import { dtypeCodes } from '../kernels/layout.ts';
import type { Alpha } from '../linearity/alphas.ts';
import type { DenseLinear } from '../model/linear.ts';
import { apply, normTokens } from '../model/steps.ts';
import { exp, logSumExp } from '../numerics/exponential.ts';
import { fillNormals, USE } from '../numerics/stream.ts';
import { fitLevels, meanOf } from './fit.ts';
import { type Measured, measuredOf, weightsAt } from './measured.ts';
import { type Measuring, partOf } from './measuring.ts';
import type { Session } from './session.ts';
import type { TaskOf } from './tasks.ts';
import { takeSequence } from './tokens.ts';
import { checkAlpha, type Found, rounded, type Steps, sampledTokens, stepsOf, type Work } from './work.ts';

/** Sensitivities by noise. */
export async function noiseAlphas(work: Work): Promise<Found> {
  const { session, sequences, draws, levels, results, record, onProgress, signal } = work;
  const { state, workspace } = session.measuring;
  const measured = measuredOf(state);
  const layers = [...new Set(measured.map(({ layer }) => layer))].map((layer) =>
    measured.filter((own) => own.layer === layer),
  );
  const runs = draws * levels.length * 2;
  const sampled = sampledTokens(work);
  const tokensOf = (layer: readonly Measured[]) => layer.length * runs * workspace.tokens;
  const each = layers.reduce((sum, layer) => sum + tokensOf(layer), sampled);
  const steps = stepsOf(sequences.length * each, onProgress, signal);
  await steps.next(doneTokens(results.length));
  for (const i of sequences.keys()) {
    let nll: number | undefined;
    for (const [layer, own] of layers.entries()) {
      if (i * layers.length + layer < results.length) continue;
      if (nll === undefined) {
        await takeSequence(work, i, steps);
        nll = await runClean(session, steps);
      }
      record([...(await layerDeltas(work, i, own, steps)), nll]);
    }
  }
  const isText = sequences[0]?.targets !== undefined;
  const ofLayer = (i: number, layer: number) => results[i * layers.length + layer];
  const base = isText ? exp(meanOf(sequences.map((_, i) => ofLayer(i, 0).at(-1)!)).mean) : null;
  const tensors = new Map<string, Alpha>();
  for (const [layer, own] of layers.entries()) {
    for (const [place, { linear }] of own.entries()) {
      const { name, rows, cols } = linear;
      const deltas = sequences.map((_, i) => {
        const found = ofLayer(i, layer).slice(place * levels.length, (place + 1) * levels.length);
        return base === null ? found : found.map((delta) => base * (exp(delta) - 1));
      });
      const { alpha, error, r2, levels: fitted } = fitLevels(levels, deltas);
      checkAlpha(alpha, name);
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

  // Tokens of what an earlier run had done: a result is a layer of a sequence.
  function doneTokens(count: number): number {
    let tokens = Math.floor(count / layers.length) * sampled;
    for (let k = 0; k < count; k++) tokens += tokensOf(layers[k % layers.length]);
    return tokens;
  }
}

// Runs the model as it is, and keeps what runs from a block on need; the mean −ln p of the text's tokens.
async function runClean(session: Session, steps: Steps): Promise<number> {
  const { state } = session.measuring;
  session.run({ kind: 'embed' });
  for (const block of state.blocks.keys()) {
    session.run({ kind: 'block', block, save: true });
    await steps.next(0);
  }
  return lossOf(session, 'keep', false, steps);
}

// Increases of the loss by noise on the weights of a layer: (weights, levels), means over draws.
async function layerDeltas(work: Work, sequence: number, layer: readonly Measured[], steps: Steps): Promise<number[]> {
  const { session, sequences, seed, draws, levels, norms } = work;
  const text = sequences[sequence]?.targets !== undefined;
  const { state, workspace } = session.measuring;
  const deltas: number[] = new Array(layer.length * levels.length).fill(0);
  for (const [i, { linear, block, place, inLayer, layer: number, index }] of layer.entries()) {
    const { rows, cols } = linear;
    for (let draw = 0; draw < draws; draw++) {
      session.run({ kind: 'draw', block, place, stream: number * STREAMS + inLayer, seed, sequence, draw });
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

async function lossOf(session: Session, kind: 'keep' | 'compare', text: boolean, steps: Steps): Promise<number> {
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

/** Streams of noise of a layer: one a weight. */
const STREAMS = 8;

/** N(0, 1) in the shape of a matrix; a row depends on nothing but what the task names. */
export function drawNoise(measuring: Measuring, { block, place, stream, seed, sequence, draw }: TaskOf<'draw'>): void {
  const { state, workspace, floats } = measuring;
  const { rows, cols } = weightsAt(state, block)[place];
  const at = workspace.noise!.noise / 4;
  const [first, end] = partOf(measuring, rows);
  for (let r = first; r < end; r++) {
    const row = floats.subarray(at + r * cols, at + (r + 1) * cols);
    fillNormals(row, seed, (USE.noise << 24) | stream, sequence * 65536 + draw, r);
  }
}

/** W + scale · noise, in f32. */
export function perturb(measuring: Measuring, { block, place, scale }: TaskOf<'perturb'>): void {
  const { thread, state, workspace, floats } = measuring;
  const { noise, weights } = workspace.noise!;
  const linear = weightsAt(state, block)[place] as DenseLinear;
  const { rows, cols } = linear;
  const [first, end] = partOf(measuring, rows);
  for (let r = first; r < end; r++) {
    const to = weights + r * cols * 4;
    thread.kernels.widen(linear.weights + r * linear.rowBytes, dtypeCodes[linear.dtype], 0, cols, to);
    for (let i = r * cols; i < (r + 1) * cols; i++) floats[weights / 4 + i] += scale * floats[noise / 4 + i];
  }
}

/** Logits of tokens `first` to `first + count`, and probabilities, of the model as it is; −ln p of the text's ids to `sums`. */
export function keepLogits(measuring: Measuring, { first, count }: TaskOf<'keep'>): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { sums, targets } = workspace;
  const { logits, probabilities, logSums } = workspace.noise!;
  const { vocabSize } = state;
  eachToken(measuring, first, count, (token, row) => {
    const at = token * vocabSize;
    floats.set(row, logits / 4 + at);
    const sum = logSumExp(row);
    doubles[logSums / 8 + token] = sum;
    for (let i = 0; i < vocabSize; i++) floats[probabilities / 4 + at + i] = exp(row[i] - sum);
    doubles[sums / 8 + token] = sum - row[ints[targets / 4 + token]];
  });
}

/** The loss of every token of `first` to `first + count` to `sums`: KL, or the increase of −ln p. */
export function compareLogits(measuring: Measuring, { first, count, text }: TaskOf<'compare'>): void {
  const { state, workspace, floats, doubles, ints } = measuring;
  const { sums, targets } = workspace;
  const { logits, probabilities, logSums } = workspace.noise!;
  const { vocabSize } = state;
  eachToken(measuring, first, count, (token, row) => {
    const at = token * vocabSize;
    const clean = floats.subarray(logits / 4 + at, logits / 4 + at + vocabSize);
    const p = floats.subarray(probabilities / 4 + at, probabilities / 4 + at + vocabSize);
    const shift = doubles[logSums / 8 + token] - logSumExp(row);
    const target = ints[targets / 4 + token];
    doubles[sums / 8 + token] = text ? clean[target] - row[target] - shift : divergence(p, clean, row, shift);
  });
}

// Σ p (ln p − ln q), where ln p − ln q is the difference of logits less that of their logarithmic sums.
function divergence(p: Float32Array, clean: Float32Array, noised: Float32Array, shift: number): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += p[i] * (clean[i] - noised[i] - shift);
  return sum;
}

// Logits of tokens, each given to one thread.
function eachToken(
  measuring: Measuring,
  first: number,
  count: number,
  work: (token: number, row: Float32Array) => void,
): void {
  const { thread, state, floats } = measuring;
  const { vocabSize } = state;
  normTokens(thread, state, state.norm, [], first, first + count);
  thread.barrier();
  apply(thread, state, state.head, count, state.logits, first);
  thread.barrier();
  const [from, end] = partOf(measuring, count);
  for (let j = from; j < end; j++) {
    const at = state.logits / 4 + j * vocabSize;
    work(first + j, floats.subarray(at, at + vocabSize));
  }
}
