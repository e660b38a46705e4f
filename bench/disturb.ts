// What it costs a model when its linear weights are replaced: all at once, and one matrix alone. Weights are written over in place in
// an open session, and only the layers from there on run again.

import type { DenseLinear } from '../src/model/linear.ts';
import { fisherResults, fisherSurvey } from '../src/sensitivity/fisher.ts';
import { measuredOf } from '../src/sensitivity/program/measured.ts';
import { combine } from '../src/sensitivity/results/combine.ts';
import { openSession, openSubject, planSession, type Session, survey } from '../src/sensitivity/session.ts';
import { randomSequences, type TokenSequence } from '../src/sensitivity/tokens.ts';
import type { Work } from '../src/sensitivity/work.ts';
import { placeSequence } from '../src/sensitivity/work.ts';
import type { Folder } from '../src/source/source.ts';
import { startThreads } from '../src/workers/node.ts';

/** A linear weight of the model. */
export interface Matrix {
  /** Of its tensor. */
  name: string;
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
    openSession(
      planSession(await openSubject(folder), { estimator, tokens, draws, threads }),
      await startThreads(threads),
      {},
    );
  const fisher = await open('fisher', DRAWS);
  const { vocabulary } = fisher;
  const isText = typeof texts !== 'number';
  const sequences = isText
    ? texts.map((ids) => beginningOf(ids, tokens, vocabulary.bos))
    : randomSequences(vocabulary, texts, tokens, SEED);
  const { norms } = await survey(fisher, folder.name);
  const results: (readonly number[])[] = [];
  const work: Work = {
    ...{ first: 0, end: sequences.length },
    ...{ file: folder.name, session: fisher, sequences, seed: SEED, draws: DRAWS, levels: [], norms, results },
    record: (result) => results.push(result),
    recordSampled: () => {},
    ...{ underway: undefined, begun: new Map(), onProgress: undefined, signal: undefined },
  };
  await fisherResults(work);
  const { base } = combine(fisherSurvey(work), results);
  await fisher.close();

  const session = await open('noise', 1);
  const { state, floats } = session.measuring;
  const places = measuredOf(state).map(({ linear, block }) => {
    const { name, rows, cols, weights, dtype } = linear as DenseLinear;
    if (dtype !== 'F32') throw new RangeError(`weights must be F32: got ${dtype}`);
    return { block, name, rows, cols, at: weights / 4 };
  });
  const matrices = places.map(({ name, rows, cols, at }) => {
    return { name, rows, cols, weights: floats.slice(at, at + rows * cols) };
  });
  const alphas = results.map((traces) =>
    places.map(({ rows, cols }, i) => {
      const drawn = traces.slice(i * DRAWS, (i + 1) * DRAWS).reduce((sum, trace) => sum + trace, 0);
      return (norms[i] * drawn) / DRAWS / (2 * rows * cols);
    }),
  );
  const put = (i: number, weights: Float32Array) => floats.set(weights, places[i].at);

  function lossAlone(i: number, weights: Float32Array): number {
    put(i, weights);
    const loss = runFrom(session, places[i].block, isText);
    put(i, matrices[i].weights);
    return loss;
  }
  function lossTogether(weightsOf: (matrix: number) => Float32Array): number {
    for (const i of matrices.keys()) put(i, weightsOf(i));
    const loss = runFrom(session, 0, isText);
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

function beginningOf(ids: readonly number[], tokens: number, bos: number | undefined): TokenSequence {
  const targets = ids.slice(bos === undefined ? 1 : 0, tokens + (bos === undefined ? 1 : 0));
  if (targets.length < tokens) throw new RangeError(`texts must have ${tokens} tokens: one has ${ids.length}`);
  return { ids: [bos ?? ids[0], ...targets.slice(0, -1)], targets };
}

function runClean(session: Session, sequence: TokenSequence): void {
  placeSequence(session, sequence);
  session.run({ kind: 'embed' });
  for (const block of session.measuring.state.blocks.keys()) session.run({ kind: 'block', block, save: true });
  runHead(session, 'keep', false);
}

// The loss, by a run from a block on.
function runFrom(session: Session, first: number, isText: boolean): number {
  const { state, workspace, doubles } = session.measuring;
  session.run({ kind: 'restore', block: first });
  for (let block = first; block < state.blocks.length; block++) session.run({ kind: 'block', block });
  runHead(session, 'compare', isText);
  const losses = doubles.subarray(workspace.sums / 8, workspace.sums / 8 + workspace.tokens);
  return losses.reduce((sum, loss) => sum + loss, 0) / workspace.tokens;
}

function runHead(session: Session, kind: 'keep' | 'compare', text: boolean): void {
  const { state, workspace } = session.measuring;
  for (let first = 0; first < workspace.tokens; first += state.logitRows) {
    const some = { first, count: Math.min(state.logitRows, workspace.tokens - first) };
    session.run(kind === 'keep' ? { kind, ...some } : { kind, ...some, text });
  }
}
