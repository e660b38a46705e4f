// Sensitivities: what a unit of relative error t² in one tensor costs the model, loss ≈ base + Σ α t² (the linearity theorem).
// As a file: FORMAT.md, "Sensitivities".

import {
  finite,
  flag,
  integer,
  list,
  mapOf,
  type Needed,
  needed,
  number,
  object,
  oneOf,
  type Reader,
  recordOf,
  refuseKind,
  type Schema,
  text,
  textOrBytes,
} from '../check.ts';
import { FormatError } from '../errors.ts';
import { fromFile, parseFile, takeTensors, takeVersion, writeLines } from './json.ts';

const ALPHAS_VERSION = 1;

/** A noise level that α was fitted to. */
export interface AlphaLevel {
  /** Relative error t² of the noise. */
  readonly t2: number;
  /** Increase of the loss, and its standard error where it is known. */
  readonly delta: number;
  /** Standard error of `delta`; null where it is not known. */
  readonly error: number | null;
  /** Whether the level is in the linear range, and so in the fit. */
  readonly used: boolean;
}

/** The sensitivity of one tensor. What is not known is null. */
export interface Alpha {
  /** Loss per unit of t². Estimates may fall below 0; they count as 0. */
  readonly alpha: number;
  /** Standard error of `alpha`. */
  readonly error: number | null;
  /** Of the fit over the levels. */
  readonly r2: number | null;
  /** Of the tensor; checked against the checkpoint where it is known. */
  readonly shape: readonly number[] | null;
  /** The measured noise levels; empty where none were. */
  readonly levels: readonly AlphaLevel[];
}

/** What the loss is: KL divergence in nats, perplexity, or a figure of which only ratios mean something. */
export type LossKind = 'kl' | 'perplexity' | 'relative';

/** The sensitivities of a model. */
export interface Alphas {
  /** The model; `identity` is the estimator's own text that tells its weights from others. */
  readonly model: { readonly name: string | null; readonly identity: string | null };
  /** How they came about: `noise`, `fisher`, `prior`, `uniform`, or words on where they are from. */
  readonly estimator: string;
  /** What α counts: KL divergence in nats, perplexity, or relative error. */
  readonly loss: LossKind;
  /** Loss of the model as it is, such as its perplexity. */
  readonly base: number | null;
  /** Notes of the estimator: seeds, numbers of tokens. */
  readonly settings: Readonly<Record<string, string | number | boolean | null>>;
  /** By the name of the tensor, `….weight`. */
  readonly tensors: ReadonlyMap<string, Alpha>;
}

/** Most tensors of a model that are read from a caller: as many as a header has room for. */
export const TENSORS_LIMIT = 1 << 20;
/** Most levels of noise, and most sizes of a shape. */
export const LEVELS_LIMIT = 1000;
const DIMENSIONS_LIMIT = 16;
/** Most notes of an estimator. */
const SETTINGS_LIMIT = 1000;

/** A shape: a list of sizes. */
export const shapeOf: Reader<number[]> = list(integer(1), DIMENSIONS_LIMIT, 'a list of sizes');
/** The shape of a matrix or a stack of them. */
export const matrixShapeOf: Reader<number[]> = (subject, value) => {
  const shape = shapeOf(subject, value);
  if (shape.length === 2 || shape.length === 3) return shape;
  throw new RangeError(`${subject} must have two or three sizes: got ${shape.length}`);
};
/** A kind of loss. */
export const lossOf = oneOf('kl', 'perplexity', 'relative');

// Null, or left out.
const orNull = <T>(reader: Reader<T>): Needed<T | null> =>
  needed((subject, value) => (value == null ? null : reader(subject, value)));

const settingsOf = recordOf((subject, value): string | number | boolean | null => {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  return typeof value === 'number' ? finite(subject, value) : refuseKind(subject, 'a plain value', value);
}, SETTINGS_LIMIT);
const levelOf = object<AlphaLevel>('an object', {
  t2: needed(number(0)),
  delta: needed(finite),
  error: orNull(number(0)),
  used: needed(flag),
});
const alphaOf = object<Alpha>('an object', {
  alpha: needed(finite),
  error: orNull(number(0)),
  r2: orNull(finite),
  shape: orNull(matrixShapeOf),
  levels: needed(list(levelOf, LEVELS_LIMIT)),
});
const head: Schema<Omit<Alphas, 'tensors'>> = {
  model: needed(object<Alphas['model']>('an object', { name: orNull(text), identity: orNull(text) })),
  estimator: needed(text),
  loss: needed(lossOf),
  base: orNull(finite),
  settings: needed((subject, value) => Object.fromEntries(settingsOf(subject, value))),
};
const headOf = object('an object', head);

/** Sensitivities as a caller gives them. */
export const givenAlphas = object<Alphas>('sensitivities, as readAlphas() gives', {
  ...head,
  tensors: needed(mapOf(alphaOf, TENSORS_LIMIT)),
});

/** An α of which nothing else is known. */
export function bareAlpha(alpha: number, shape: readonly number[] | null = null): Alpha {
  return { alpha, error: null, r2: null, shape, levels: [] };
}

/**
 * Reads a file of sensitivities. `{"source": …, "alpha": {"model.layers.0.mlp.up_proj": …}}`, as published with the method, is
 * understood too: its names gain `.weight`, its loss is perplexity.
 * @param content UTF-8 JSON
 * @param file its name, for messages
 * @throws {FormatError} when it is anything else; {UnsupportedError} for another version
 * @throws {TypeError} when an argument is of another kind
 * @example
 * const alphas = readAlphas(await readFile('alphas.json'), 'alphas.json');
 */
export function readAlphas(content: string | Uint8Array, file: string): Alphas {
  const root = parseFile(textOrBytes('content', content), text('file', file), 'alphas');
  if (root.has('alpha') && !root.has('higgs.alphas')) return readPublished(root, file);
  takeVersion(root, 'higgs.alphas', ALPHAS_VERSION, 'alphas must have their', file);
  const tensors = takeTensors(root, alphaOf, 'sensitivity', file);
  return { ...fromFile({ file }, headOf, 'alphas', root), tensors };
}

const publishedOf = object<{ source?: string; alpha: Map<string, unknown> }>('an object', {
  source: text,
  alpha: needed(mapOf((_, value) => value, TENSORS_LIMIT)),
});

function readPublished(root: ReadonlyMap<string, unknown>, file: string): Alphas {
  const { source = 'published', alpha } = fromFile({ file }, publishedOf, 'alphas', root);
  const tensors = new Map<string, Alpha>();
  for (const [name, value] of alpha) {
    const tensor = name.endsWith('.weight') ? name : `${name}.weight`;
    if (tensors.has(tensor))
      throw new FormatError('alpha must name a tensor once: this one occurs twice', { file, tensor });
    tensors.set(tensor, bareAlpha(fromFile({ file, tensor }, finite, 'alpha', value)));
  }
  return {
    model: { name: null, identity: null },
    estimator: source,
    loss: 'perplexity',
    base: null,
    settings: {},
    tensors,
  };
}

/**
 * The file of sensitivities; the same content gives the same bytes.
 * @throws {TypeError} when they are none @throws {RangeError} when a number is not finite
 * @example
 * await writeFile('alphas.json', writeAlphas(await checkpoint.sensitivity()));
 */
export function writeAlphas(alphas: Alphas): string {
  const { model, estimator, loss, base, settings, tensors } = givenAlphas('alphas', alphas);
  const { name, identity } = model;
  return writeLines(
    { 'higgs.alphas': ALPHAS_VERSION, model: { name, identity }, estimator, loss, base, settings },
    [...tensors].map(([tensor, { alpha, error, r2, shape, levels }]) => [
      tensor,
      { alpha, error, r2, shape, levels: levels.map(({ t2, delta, error, used }) => ({ t2, delta, error, used })) },
    ]),
  );
}
