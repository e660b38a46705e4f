// Sensitivities: what a unit of relative error t² in one tensor costs the model, loss ≈ base + Σ α t² (the linearity theorem).
// As a file: FORMAT.md, "Sensitivities".

import {
  finite,
  flag,
  integer,
  list,
  mapOf,
  needed,
  nullable,
  number,
  object,
  oneOf,
  type Reader,
  recordOf,
  refuseKind,
  text,
  textOrBytes,
} from '../check.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { type Members, membersOf, parseFile, writeLines } from './json.ts';

export const ALPHAS_VERSION = 1;

/** A noise level that α was fitted to. */
export interface AlphaLevel {
  /** Relative error t² of the noise. */
  readonly t2: number;
  /** Increase of the loss, and its standard error where it is known. */
  readonly delta: number;
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
const LEVELS_LIMIT = 1000;
const DIMENSIONS_LIMIT = 16;
/** Most notes of an estimator. */
const SETTINGS_LIMIT = 1000;

export const shapeOf: Reader<number[]> = list(integer(1), DIMENSIONS_LIMIT, 'a list of sizes');
export const lossOf = oneOf('kl', 'perplexity', 'relative');
const errorOf = nullable(number(0, Number.POSITIVE_INFINITY));
const settingsOf = recordOf((subject, value): string | number | boolean | null => {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  return typeof value === 'number' ? finite(subject, value) : refuseKind(subject, 'a plain value', value);
}, SETTINGS_LIMIT);
const levelOf = object<AlphaLevel>('a level', {
  t2: needed(finite),
  delta: needed(finite),
  error: needed(errorOf),
  used: needed(flag),
});
const alphaOf = object<Alpha>('a sensitivity', {
  alpha: needed(finite),
  error: needed(errorOf),
  r2: needed(nullable(finite)),
  shape: needed(nullable(shapeOf)),
  levels: needed(list(levelOf, LEVELS_LIMIT)),
});

/** Sensitivities as a caller gives them. */
export const givenAlphas = object<Alphas>('sensitivities, as readAlphas() gives', {
  model: needed(
    object<Alphas['model']>('an object', { name: needed(nullable(text)), identity: needed(nullable(text)) }),
  ),
  estimator: needed(text),
  loss: needed(lossOf),
  base: needed(nullable(finite)),
  settings: needed((subject, value) => Object.fromEntries(settingsOf(subject, value))),
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
 */
export function readAlphas(content: string | Uint8Array, file: string): Alphas {
  const root = parseFile(textOrBytes('content', content), text('file', file), 'alphas');
  if (root.has('alpha') && !root.has('higgs.alphas')) return readPublished(root, file);
  const version = root.take('higgs.alphas');
  if (typeof version !== 'number') {
    throw new FormatError(`alphas must have their version as higgs.alphas: got ${show(version)}`, { file });
  }
  if (version !== ALPHAS_VERSION) {
    const message = `higgs.alphas must be ${ALPHAS_VERSION}, the version this release reads: it is ${version}`;
    throw new UnsupportedError(`alphas ${version}`, message, { file });
  }
  const model = root.object('model');
  const textOrNull = (key: string) => (model.take(key) === null ? null : model.string(key));
  const about = { name: textOrNull('name'), identity: textOrNull('identity') };
  model.end();
  const estimator = root.string('estimator');
  const loss = root.string('loss');
  if (loss !== 'kl' && loss !== 'perplexity' && loss !== 'relative') {
    throw new FormatError(`loss must be kl, perplexity or relative: got ${show(loss)}`, { file });
  }
  const base = root.optional('base');
  const settings: Record<string, string | number | boolean | null> = {};
  for (const [key, value] of root.object('settings').entries()) {
    if (typeof value === 'object' && value !== null)
      throw new FormatError(`settings must be plain values: ${show(key)} is not`, { file });
    settings[key] = value;
  }
  const tensors = new Map<string, Alpha>();
  for (const [name, entry] of root.object('tensors').entries()) {
    const place = { file, tensor: name };
    const own = membersOf(entry, 'sensitivity', place);
    const levels = own.take('levels');
    if (!Array.isArray(levels)) throw new FormatError(`levels must be an array: got ${show(levels)}`, place);
    tensors.set(name, {
      alpha: own.number('alpha'),
      error: own.optional('error', 0),
      r2: own.optional('r2'),
      shape: own.take('shape') === null ? null : own.shape('shape'),
      levels: levels.map((level) => readLevel(membersOf(level, 'level', place))),
    });
    own.end();
  }
  root.end();
  return { model: about, estimator, loss, base, settings, tensors };
}

function readLevel(level: Members): AlphaLevel {
  const found = {
    t2: level.number('t2', 0),
    delta: level.number('delta'),
    error: level.optional('error', 0),
    used: level.boolean('used'),
  };
  level.end();
  return found;
}

function readPublished(root: Members, file: string): Alphas {
  const source = root.has('source') ? root.string('source') : 'published';
  const tensors = new Map<string, Alpha>();
  const alphas = root.object('alpha');
  for (const [name] of alphas.entries()) {
    const tensor = name.endsWith('.weight') ? name : `${name}.weight`;
    if (tensors.has(tensor)) throw new FormatError('alpha must have a tensor once: it has it twice', { file, tensor });
    tensors.set(tensor, bareAlpha(alphas.number(name)));
  }
  root.end();
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
