// What the theorem predicts: loss ≈ base + Σ α t².

import type { Alphas, LossKind } from './alphas.ts';
import type { BitPlan } from './plan.ts';

/** What is predicted of a plan or of a quantized checkpoint. */
export interface Prediction {
  /** Where the sensitivities are from. */
  readonly estimator: string;
  readonly loss: LossKind;
  /** Loss of the model as it is, where it is known. */
  readonly base: number | null;
  /** Σ α t²: the increase of the loss. */
  readonly delta: number;
  /** base + delta, where the base is known. */
  readonly total: number | null;
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
  readonly estimator: string;
  readonly loss: LossKind;
  readonly base: number | null;
  /** By name; null and missing alike are unknown. */
  alphaOf(name: string): number | null | undefined;
}

/** The sensitivities that are in a plan or in a file. */
export function sensitivitiesOf(from: BitPlan | Alphas): Sensitivities {
  const { estimator, loss, base, tensors } = from;
  if (tensors instanceof Map) return { estimator, loss, base, alphaOf: (name) => tensors.get(name)?.alpha };
  const alphas = new Map((from as BitPlan).tensors.map(({ name, alpha }) => [name, alpha]));
  return { estimator, loss, base, alphaOf: (name) => alphas.get(name) };
}

/**
 * Predicts the loss.
 * @param tensors names and t², measured or a grid's MSE
 */
export function predict(
  tensors: Iterable<{ name: string; relativeError: number }>,
  { estimator, loss, base, alphaOf }: Sensitivities,
): Prediction {
  const rows: { name: string; relativeError: number; alpha: number; delta: number }[] = [];
  const unknown: string[] = [];
  let delta = 0;
  for (const { name, relativeError } of tensors) {
    const found = alphaOf(name);
    if (found == null) {
      unknown.push(name);
      continue;
    }
    const alpha = Math.max(0, found);
    rows.push({ name, relativeError, alpha, delta: alpha * relativeError });
    delta += alpha * relativeError;
  }
  return { estimator, loss, base, delta, total: base === null ? null : base + delta, tensors: rows, unknown };
}

/**
 * The perplexity that is predicted of a text, from the original's. KL divergence counts as the increase of −ln p, which it is where the
 * text is as likely as the original says; sensitivities without a unit predict none.
 * @param perplexity of the original
 */
export function predictPerplexity({ loss, delta }: Prediction, perplexity: number): number | null {
  if (loss === 'perplexity') return perplexity + delta;
  return loss === 'kl' ? perplexity * Math.exp(delta) : null;
}
