// What it costs a model when its linear weights are replaced: all at once, and one matrix alone. Weights are written over in place in
// an open session, and only the layers from there on run again.

import type { DenseLinear } from '../src/model/linear.ts';
import { fisherAlphas } from '../src/sensitivity/fisher.ts';
import { isFeedForward, MATRICES_PER_LAYER, matrixOf } from '../src/sensitivity/matrices.ts';
import { randomSequences, type Sequence } from '../src/sensitivity/sequences.ts';
import { openSession, planSession, type Session, squaredNorms } from '../src/sensitivity/session.ts';
import { placeSequence } from '../src/sensitivity/work.ts';
import type { Folder } from '../src/source/source.ts';
import { startThreads } from '../src/workers/node.ts';

/** A linear weight of the model. */
export interface Matrix {
  rows: number;
  cols: number;
  weights: Float32Array; // (rows, cols)
}

/** What the model predicts: random tokens, so many, or the first of each text. */
export interface Tokens {
  tokens: number;
  texts: number | readonly (readonly number[])[];
}

/** Weights in place of the model's. */
export interface Disturbance {
  /** Of which the mean loss counts: noise of both signs, for one. */
  variants: readonly ((matrix: number) => Float32Array)[];
  /** In how many of the sequences, the first ones, each matrix is replaced alone, too. */
  alone: number;
}

/** Losses in nats a token: KL(original ‖ disturbed) on random tokens, the increase of −ln p on texts. */
export interface Losses {
  together: number[]; // (sequences)
  alone: number[][]; // (alone, matrices)
}

/** A model that can be disturbed. */
export interface Patient {
  matrices: readonly Matrix[];
  /** Sensitivities by Fisher's estimator, on the very sequences, in nats a token. */
  alphas: readonly (readonly number[])[]; // (sequences, matrices)
  /** Perplexity of the texts; null for random tokens. */
  base: number | null;
  lossesOf(disturbances: readonly Disturbance[]): Losses[];
  close(): Promise<void>;
}

/** Label draws of a sequence: the more, the nearer to what the sequence itself has. */
const DRAWS = 8;
const SEED = 0;

/**
 * Opens a model.
 * @param folder with linear weights in F32
 */
export async function openPatient(folder: Folder, { tokens, texts }: Tokens, threads: number): Promise<Patient> {
  const open = async (estimator: 'fisher' | 'noise', draws: number) =>
    openSession(await planSession(folder, { estimator, tokens, draws, threads }), await startThreads(threads), {});
  const fisher = await open('fisher', DRAWS);
  const { config } = fisher.measuring.state;
  const isText = typeof texts !== 'number';
  const sequences = isText
    ? texts.map((ids) => beginningOf(ids, tokens, config.bos))
    : randomSequences(config, texts, tokens, SEED);
  const norms = squaredNorms(fisher);
  const results: number[][] = [];
  const { base } = await fisherAlphas({
    ...{ file: folder.name, session: fisher, sequences, seed: SEED, draws: DRAWS, levels: [], norms, results },
    record: (result) => results.push(result),
    ...{ onProgress: undefined, signal: undefined },
  });
  await fisher.close();

  const session = await open('noise', 1);
  const { state, floats } = session.measuring;
  const places = state.layers.flatMap((own, layer) =>
    Array.from({ length: MATRICES_PER_LAYER }, (_, matrix) => {
      const { rows, cols, weights, dtype } = matrixOf(own, matrix) as DenseLinear;
      if (dtype !== 'F32') throw new RangeError(`weights must be F32: got ${dtype}`);
      return { layer, half: isFeedForward(matrix) ? 1 : 0, rows, cols, at: weights / 4 };
    }),
  );
  const matrices = places.map(({ rows, cols, at }) => ({ rows, cols, weights: floats.slice(at, at + rows * cols) }));
  const alphas = results.map((traces) =>
    places.map(({ rows, cols }, i) => {
      const drawn = traces.slice(i * DRAWS, (i + 1) * DRAWS).reduce((sum, trace) => sum + trace, 0);
      return (norms[i] * drawn) / DRAWS / (2 * rows * cols);
    }),
  );
  const put = (i: number, weights: Float32Array) => floats.set(weights, places[i].at);

  function lossAlone(i: number, weights: Float32Array): number {
    put(i, weights);
    const loss = runFrom(session, places[i].layer, places[i].half, isText);
    put(i, matrices[i].weights);
    return loss;
  }
  function lossTogether(weightsOf: (matrix: number) => Float32Array): number {
    for (const i of matrices.keys()) put(i, weightsOf(i));
    const loss = runFrom(session, 0, 0, isText);
    for (const [i, { weights }] of matrices.entries()) put(i, weights);
    return loss;
  }

  return {
    matrices,
    alphas,
    base,
    lossesOf(disturbances) {
      const all = disturbances.map((): Losses => ({ together: [], alone: [] }));
      for (const [s, sequence] of sequences.entries()) {
        runClean(session, sequence);
        for (const [k, { variants, alone }] of disturbances.entries()) {
          const mean = (loss: (weightsOf: (matrix: number) => Float32Array) => number) =>
            variants.reduce((sum, weightsOf) => sum + loss(weightsOf), 0) / variants.length;
          all[k].together.push(mean(lossTogether));
          if (s >= alone) continue;
          all[k].alone.push(matrices.map((_, i) => mean((weightsOf) => lossAlone(i, weightsOf(i)))));
        }
      }
      return all;
    },
    close: () => session.close(),
  };
}

function beginningOf(ids: readonly number[], tokens: number, bos: number | undefined): Sequence {
  const targets = ids.slice(bos === undefined ? 1 : 0, tokens + (bos === undefined ? 1 : 0));
  if (targets.length < tokens) throw new RangeError(`texts must have ${tokens} tokens: one has ${ids.length}`);
  return { ids: [bos ?? ids[0], ...targets.slice(0, -1)], targets };
}

function runClean(session: Session, sequence: Sequence): void {
  placeSequence(session, sequence);
  session.run({ kind: 'embed' });
  for (const layer of session.measuring.state.layers.keys()) session.run({ kind: 'layer', layer, save: true });
  runHead(session, 'keep', false);
}

// The loss, by a run from half a layer on.
function runFrom(session: Session, layer: number, half: number, isText: boolean): number {
  const { state, workspace, doubles } = session.measuring;
  session.run({ kind: 'restore', half: 2 * layer + half });
  session.run({ kind: 'layer', layer, half });
  for (let next = layer + 1; next < state.layers.length; next++) session.run({ kind: 'layer', layer: next });
  runHead(session, 'compare', isText);
  const losses = doubles.subarray(workspace.sums / 8, workspace.sums / 8 + workspace.tokens);
  return losses.reduce((sum, loss) => sum + loss, 0) / workspace.tokens;
}

function runHead(session: Session, kind: 'keep' | 'compare', save: boolean): void {
  const { state, workspace } = session.measuring;
  for (let first = 0; first < workspace.tokens; first += state.logitRows) {
    session.run({ kind, first, count: Math.min(state.logitRows, workspace.tokens - first), save });
  }
}
