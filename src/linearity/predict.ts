// What the theorem predicts: loss ≈ base + Σ α t².

import { callback, finite, list, member, needed, nullable, number, object, text } from '../check.ts';
import { type Alphas, givenAlphas, type LossKind, lossOf, TENSORS_LIMIT } from './alphas.ts';
import { type BitPlan, givenPlan } from './plan.ts';

/** What is predicted of a plan or of a quantized checkpoint. */
export interface Prediction {
  /** Where the sensitivities are from. */
  readonly estimator: string;
  /** What the prediction counts: KL divergence in nats, perplexity, or relative error. */
  readonly loss: LossKind;
  /** Loss of the model as it is, where it is known. */
  readonly base: number | null;
  /** Σ α t²: the increase of the loss. */
  readonly delta: number;
  /** base + delta, where the base is known. */
  readonly total: number | null;
  /** The part of each tensor, delta = alpha · relativeError, in the order of the checkpoint. */
  readonly tensors: readonly {
    readonly name: string;
    readonly relativeError: number;
    readonly alpha: number;
    readonly delta: number;
  }[];
  /** Tensors without a sensitivity: they are not in the sum. */
  readonly unknown: readonly string[];
}

/** Sensitivities to predict by: those of a file or of a plan. */
export interface Sensitivities {
  /** How they came about: `noise`, `fisher`, `prior`, `uniform`, or words. */
  readonly estimator: string;
  /** What α counts: KL divergence in nats, perplexity, or relative error. */
  readonly loss: LossKind;
  /** Loss of the model as it is, where it is known. */
  readonly base: number | null;
  /** By name; null and missing alike are unknown. */
  alphaOf(name: string): number | null | undefined;
}

const measured = list(
  object<{ name: string; relativeError: number }>('an object', { name: needed(text), relativeError: needed(finite) }),
  TENSORS_LIMIT,
);
const given = object<Sensitivities>('sensitivities, as sensitivitiesOf() gives', {
  estimator: needed(text),
  loss: needed(lossOf),
  base: needed(nullable(finite)),
  alphaOf: needed<Sensitivities['alphaOf']>(callback),
});
const predicted = object<Pick<Prediction, 'loss' | 'delta'>>('a prediction, as predict() gives', {
  loss: needed(lossOf),
  delta: needed(finite),
});

/**
 * The sensitivities that are in a plan or in a file.
 * @throws {TypeError} when it is neither @throws {RangeError} when a number of it is out of range
 * @example
 * const prediction = predict(report.tensors, sensitivitiesOf(alphas));
 */
export function sensitivitiesOf(from: BitPlan | Alphas): Sensitivities {
  const isObject = typeof from === 'object' && from !== null;
  if (isObject && member('from', from, 'model') === undefined) {
    const { estimator, loss, base, tensors } = givenPlan('from', from);
    const alphas = new Map(tensors.map(({ name, alpha }) => [name, alpha]));
    return { estimator, loss, base, alphaOf: (name) => alphas.get(name) };
  }
  const { estimator, loss, base, tensors } = givenAlphas('from', from);
  return { estimator, loss, base, alphaOf: (name) => tensors.get(name)?.alpha };
}

/**
 * Predicts the loss.
 * @param tensors names and t², measured or a grid's MSE
 * @throws {TypeError} when an argument is of another kind @throws {RangeError} when a number is not finite
 * @example
 * const { delta } = predict(report.tensors, sensitivitiesOf(plan));
 */
export function predict(
  tensors: Iterable<{ name: string; relativeError: number }>,
  sensitivities: Sensitivities,
): Prediction {
  const { estimator, loss, base, alphaOf } = given('sensitivities', sensitivities);
  const rows: { name: string; relativeError: number; alpha: number; delta: number }[] = [];
  const unknown: string[] = [];
  let delta = 0;
  for (const { name, relativeError } of measured('tensors', tensors)) {
    const given = alphaOf(name);
    if (given == null) {
      unknown.push(name);
      continue;
    }
    const alpha = Math.max(0, finite('result of alphaOf', given));
    rows.push({ name, relativeError, alpha, delta: alpha * relativeError });
    delta += alpha * relativeError;
  }
  return { estimator, loss, base, delta, total: base === null ? null : base + delta, tensors: rows, unknown };
}

/**
 * The perplexity that is predicted of a text, from the original's. KL divergence counts as the increase of −ln p, which it is where the
 * text is as likely as the original says; sensitivities without a unit predict none.
 * @param perplexity of the original
 * @throws {TypeError} when an argument is of another kind @throws {RangeError} when a number is out of range
 * @example
 * const expected = predictPerplexity(report.predicted, 31.3);
 */
export function predictPerplexity(prediction: Pick<Prediction, 'loss' | 'delta'>, perplexity: number): number | null {
  const { loss, delta } = predicted('prediction', prediction);
  number(0)('perplexity', perplexity);
  if (loss === 'perplexity') return perplexity + delta;
  return loss === 'kl' ? perplexity * Math.exp(delta) : null;
}
