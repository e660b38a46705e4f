// What the results of sequences come to: sensitivities. Beside the numbers it takes what the weights are, as plain data, so that parts that several
// machines measured come to the same, to the last digit, as the run of one: sums are in the order of sequences.

import { FormatError } from '../../errors.ts';
import type { Alpha } from '../../linearity/alphas.ts';
import { exp } from '../../numerics/exponential.ts';
import { fitLevels, meanOf } from './fit.ts';

/** A weight that is measured. */
export interface MeasuredWeight {
  /** Of the tensor. */
  readonly name: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  /** The shape of the stack that it is of. */
  readonly stack: readonly number[] | null;
  /** ‖W‖². */
  readonly norm: number;
  /** Tells experts of one layer and role: those that no token reached get the mean of the others. */
  readonly group: string | null;
}

/**
 * What results of gradients are of: traces, a weight (weights, draws), of the embeddings and what stands beside them, of the head; mean −ln p.
 * Of embeddings, their table beside them, and the head, traces of rows count ‖row‖² each.
 */
export interface FisherSurvey {
  readonly estimator: 'fisher';
  /** The checkpoint, for messages. */
  readonly file: string;
  /** Whether sequences were of a text, rather than sampled or random. */
  readonly isText: boolean;
  /** Labels drawn for each token. */
  readonly draws: number;
  /** Measured weights of blocks, in order. */
  readonly weights: readonly MeasuredWeight[];
  /** The table of embeddings. */
  readonly embedding: MeasuredWeight;
  /** Tables that stand beside it: those of vectors for all layers. */
  readonly beside: readonly MeasuredWeight[];
  /** Left out where it is the embeddings' weight. */
  readonly head: MeasuredWeight | null;
}

/** What results of noise are of: increases of the loss, a layer of a sequence: (weights, levels); mean −ln p. */
export interface NoiseSurvey {
  readonly estimator: 'noise';
  /** The checkpoint, for messages. */
  readonly file: string;
  /** Whether sequences were of a text, rather than sampled or random. */
  readonly isText: boolean;
  /** t² of the noise, ascending. */
  readonly levels: readonly number[];
  /** Measured weights of each layer, in order. */
  readonly layers: readonly (readonly MeasuredWeight[])[];
}

/** What results are of. */
export type Survey = FisherSurvey | NoiseSurvey;

/** Sensitivities, and what the text scored. */
export interface ScoredAlphas {
  /** Perplexity of the text, if there is one. */
  readonly base: number | null;
  /** α by the name of the tensor. */
  readonly tensors: Map<string, Alpha>;
  /** Weights of experts that no token reached, which have their layer's mean. */
  readonly unreached: number;
}

type SequenceResults = readonly (readonly number[])[];

/**
 * @param results of all sequences, in their order
 * @throws {FormatError} when a sensitivity is not finite
 */
export function combine(survey: Survey, results: SequenceResults): ScoredAlphas {
  if (results.length === 0) return { base: null, tensors: new Map(), unreached: 0 };
  return survey.estimator === 'fisher' ? combineFisher(survey, results) : combineNoise(survey, results);
}

interface Estimate {
  readonly weight: MeasuredWeight;
  readonly alpha: number;
  readonly error: number | null;
}

function combineFisher(survey: FisherSurvey, results: SequenceResults): ScoredAlphas {
  const { file, isText, draws, weights, embedding, beside, head } = survey;
  const base = isText ? exp(meanOf(results.map((result) => result.at(-1)!)).mean) : null;
  const estimates: Estimate[] = [];
  const ofWhole = ({ norm, rows }: MeasuredWeight) => norm / rows;
  const ofRows = () => 1;
  /** @param scale what traces are to be multiplied by: the mean ‖row‖², or nothing where they have it @param ofDraws traces of a sequence, one for each draw */
  const add = (
    weight: MeasuredWeight,
    scale: (weight: MeasuredWeight) => number,
    ofDraws: (result: readonly number[]) => number[],
  ) => {
    const { name, cols } = weight;
    const factor = ((base ?? 1) * scale(weight)) / (2 * cols);
    const values = results.map(ofDraws);
    // Draws of one sequence are not independent, but all that there is for one sequence alone.
    const means = values.map((samples) => meanOf(samples).mean);
    const { mean, error: unscaled } = meanOf(means.length > 1 ? means : values[0]);
    const [alpha, error] = [factor * mean, unscaled && factor * unscaled];
    checkAlpha(file, name, alpha, error);
    estimates.push({ weight, alpha, error });
  };
  const drawsAt = (result: readonly number[], place: number) => result.slice(place * draws, (place + 1) * draws);
  for (const [index, weight] of weights.entries()) add(weight, ofWhole, (result) => drawsAt(result, index));
  const unreached = fillUnreached(estimates);
  const last = weights.length;
  const ofHead = (result: readonly number[]) => result.at(-2)!;
  if (head) {
    add(embedding, ofRows, (result) => drawsAt(result, last));
    add(head, ofRows, (result) => [ofHead(result)]);
  } else {
    add(embedding, ofRows, (result) => drawsAt(result, last).map((trace) => trace + ofHead(result)));
  }
  for (const [i, weight] of beside.entries()) {
    add(weight, i === 0 ? ofRows : ofWhole, (result) => drawsAt(result, last + 1 + i));
  }
  return { base: base === null ? null : rounded(base), tensors: alphasOf(estimates), unreached };
}

// By tensor: a stack has the sum over its rows, as α t² of experts add up and one grid errs alike on all.
function alphasOf(estimates: readonly Estimate[]): Map<string, Alpha> {
  const tensors = new Map<string, Alpha>();
  for (const { weight, alpha, error } of estimates) {
    const { name, rows, cols, stack } = weight;
    const existing = tensors.get(name) ?? { alpha: 0, error: 0 };
    const both = error === null || existing.error === null ? null : Math.sqrt(existing.error ** 2 + error ** 2);
    tensors.set(name, {
      alpha: rounded(existing.alpha + alpha),
      error: both === null ? null : rounded(both),
      r2: null,
      shape: stack ?? [rows, cols],
      levels: [],
    });
  }
  return tensors;
}

// Weights of experts that no token reached get the mean of their layer's others, of the same role. @returns how many there are
function fillUnreached(estimates: Estimate[]): number {
  const groups = new Map<string, number[]>();
  for (const [index, { weight }] of estimates.entries()) {
    if (weight.group !== null) groups.set(weight.group, [...(groups.get(weight.group) ?? []), index]);
  }
  let filled = 0;
  for (const all of groups.values()) {
    const reached = all.filter((index) => estimates[index].alpha > 0);
    if (reached.length === 0) continue;
    const mean = reached.reduce((sum, index) => sum + estimates[index].alpha, 0) / reached.length;
    for (const index of all) {
      if (estimates[index].alpha > 0) continue;
      estimates[index] = { weight: estimates[index].weight, alpha: mean, error: null };
      filled++;
    }
  }
  return filled;
}

function combineNoise({ file, isText, levels, layers }: NoiseSurvey, results: SequenceResults): ScoredAlphas {
  const sequences = Array.from({ length: results.length / layers.length }, (_, i) => i);
  const ofLayer = (i: number, layer: number) => results[i * layers.length + layer];
  const base = isText ? exp(meanOf(sequences.map((i) => ofLayer(i, 0).at(-1)!)).mean) : null;
  const tensors = new Map<string, Alpha>();
  for (const [layer, weights] of layers.entries()) {
    for (const [place, { name, rows, cols, stack }] of weights.entries()) {
      const deltas = sequences.map((i) => {
        const samples = ofLayer(i, layer).slice(place * levels.length, (place + 1) * levels.length);
        return base === null ? samples : samples.map((delta) => base * (exp(delta) - 1));
      });
      const { alpha, error, r2, levels: fitted } = fitLevels(levels, deltas);
      checkAlpha(file, name, alpha, error);
      const existing = stack && tensors.get(name);
      if (existing) {
        tensors.set(name, addedTo(existing, alpha, error));
        continue;
      }
      tensors.set(name, {
        alpha: rounded(alpha),
        error: error === null ? null : rounded(error),
        r2: r2 === null ? null : rounded(r2),
        shape: stack ?? [rows, cols],
        levels: fitted.map(({ t2, delta, error, used }) => ({
          ...{ t2, delta: rounded(delta), error: error === null ? null : rounded(error), used },
        })),
      });
    }
  }
  return { base: base === null ? null : rounded(base), tensors, unreached: 0 };
}

// Experts of a stack: what they cost adds up; levels are each one's own.
function addedTo(existing: Alpha, alpha: number, error: number | null): Alpha {
  const both = error === null || existing.error === null ? null : rounded(Math.sqrt(existing.error ** 2 + error ** 2));
  return { ...existing, alpha: rounded(existing.alpha + alpha), error: both, r2: null, levels: [] };
}

/** @throws {FormatError} when weights are not finite, or so large that sums in f32 are not */
function checkAlpha(file: string, tensor: string, alpha: number, error: number | null): void {
  if (Number.isFinite(alpha) && Number.isFinite(error ?? 0)) return;
  const message = `sensitivity must be a finite number, which needs finite weights: it is ${alpha}${error === null ? '' : ` ± ${error}`}`;
  throw new FormatError(message, { file, tensor });
}

// Six digits: errors are larger, and the file is for people, too.
function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
