// Sensitivities in parts: each machine measures some of the sequences, and what it found is a text of sealed lines (source/lines.ts):
//
//   {"higgs.sensitivity.part":2,"version":…,"part":3,"parts":8,"first":…,"end":…,"sequences":…,"key":…,"about":…,"survey":…}
//   [0.31,…]            a result, in the order of sequences
//
// `mergeSensitivities` needs nothing else: not the model.

import { version } from '../../../package.json';
import { flag, integer, list, needed, nullable, number, object, oneOf, type Reader, text } from '../../check.ts';
import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import { type Alphas, givenAlphas, LEVELS_LIMIT, matrixShapeOf, TENSORS_LIMIT } from '../../linearity/alphas.ts';
import { readSealed, sealLine } from '../../source/lines.ts';
import {
  combine,
  type FisherSurvey,
  type MeasuredWeight,
  type NoiseSurvey,
  type ScoredAlphas,
  type Survey,
} from './combine.ts';

/** Most parts of a measurement: as many as there may be sequences. */
const PARTS_LIMIT = 65535;
/** The second has traces of embeddings and head by rows. */
const PART_VERSION = 2;

/** Which part of how many, from 1 on. */
export interface SensitivityPart {
  /** From 1 to `count`. */
  readonly index: number;
  /** How many parts there are. */
  readonly count: number;
}

/** What is the same in all parts, beside `survey`. */
type About = Omit<Alphas, 'base' | 'tensors'>;

interface Opening {
  readonly version: string;
  readonly part: number;
  readonly parts: number;
  /** The sequences of it, and all. */
  readonly first: number;
  readonly end: number;
  readonly sequences: number;
  /** Model and settings. */
  readonly key: string;
  readonly about: About;
  readonly survey: Survey;
}

const weightOf = object<MeasuredWeight>('a weight', {
  name: needed(text),
  rows: needed(integer(1)),
  cols: needed(integer(1)),
  stack: needed(nullable(matrixShapeOf)),
  norm: needed(number(0)),
  group: needed(nullable(text)),
});
const weightsOf = needed(list(weightOf, TENSORS_LIMIT));
const head = { file: needed(text), isText: needed(flag) };
const fisherOf = object<FisherSurvey>('a survey', {
  ...{ ...head, estimator: needed(oneOf('fisher')), draws: needed(integer(1, PARTS_LIMIT)) },
  ...{ weights: weightsOf, embedding: needed(weightOf), beside: weightsOf, head: needed(nullable(weightOf)) },
});
const noiseOf = object<NoiseSurvey>('a survey', {
  ...{ ...head, estimator: needed(oneOf('noise')), levels: needed(list(number(0), LEVELS_LIMIT)) },
  layers: needed(list(list(weightOf, TENSORS_LIMIT), TENSORS_LIMIT)),
});
const surveyOf: Reader<Survey> = (subject, value) =>
  (value as Partial<Survey> | null)?.estimator === 'noise' ? noiseOf(subject, value) : fisherOf(subject, value);
const openingOf = object<Opening & { 'higgs.sensitivity.part': number }>('an object', {
  'higgs.sensitivity.part': needed(integer(1)),
  ...{ version: needed(text), key: needed(text), survey: needed(surveyOf) },
  ...{ part: needed(integer(1, PARTS_LIMIT)), parts: needed(integer(1, PARTS_LIMIT)) },
  ...{ first: needed(integer(0)), end: needed(integer(0)), sequences: needed(integer(0, PARTS_LIMIT)) },
  about: needed((_, value) => value as About), // checked as sensitivities are
});

const given = object<SensitivityPart>('a part', {
  index: needed(integer(1, PARTS_LIMIT)),
  count: needed(integer(1, PARTS_LIMIT)),
});

/** A part as a caller gives it. @throws {RangeError} when there are fewer */
export const givenSensitivityPart: Reader<SensitivityPart> = (subject, value) => {
  const part = given(subject, value);
  if (part.index <= part.count) return part;
  throw new RangeError(`index of ${subject} must be at most its count ${part.count}: got ${part.index}`);
};

/** The sequences of a part: from `first` to before `end`, perhaps none. All of them without a part. */
export function sequencesOfPart(
  { index, count }: SensitivityPart = { index: 1, count: 1 },
  sequences: number,
): { first: number; end: number } {
  return { first: Math.floor(((index - 1) * sequences) / count), end: Math.floor((index * sequences) / count) };
}

/** The text of a part. */
export function partText(opening: Omit<Opening, 'version'>, results: readonly (readonly number[])[]): string {
  const decoder = new TextDecoder();
  let { bytes, seal } = sealLine({ 'higgs.sensitivity.part': PART_VERSION, version, ...opening });
  let content = decoder.decode(bytes);
  for (const result of results) {
    ({ bytes, seal } = sealLine(result, seal));
    content += decoder.decode(bytes);
  }
  return content;
}

/** Sensitivities of what was found. */
export function alphasWith({ settings, ...about }: About, { base, tensors, unreached }: ScoredAlphas): Alphas {
  return { ...about, base, settings: { ...settings, ...(unreached > 0 && { unreached }) }, tensors };
}

/** A part's text with a name for messages. */
export interface NamedPart {
  /** The name, such as a file's. */
  readonly name: string;
  /** The text that `onPart` gave. */
  readonly content: string;
}

const named = list(
  object<NamedPart>('a part, with its name', { name: needed(text), content: needed(text) }),
  PARTS_LIMIT,
);

/**
 * Puts the parts of a measurement together: the same as one run gives.
 * @param parts in any order
 * @throws {FormatError} names each that is missing, damaged, of another model, other settings, or another release
 * @throws {TypeError} when they are of another kind
 * @example
 * const alphas = mergeSensitivities(contents.map((content, i) => ({ name: `part ${i + 1}`, content })));
 */
export function mergeSensitivities(parts: readonly NamedPart[]): Alphas {
  const faults: string[] = [];
  const read = named('parts', parts).flatMap(({ name, content }) => {
    const part = readPart(content);
    if (typeof part !== 'string') return [{ name, ...part }];
    faults.push(`${name} ${part}`);
    return [];
  });
  const [usual] = read;
  const byIndex = new Map<number, (typeof read)[number]>();
  for (const part of read) {
    const difference = differenceOf(part.opening, usual.opening);
    if (difference) faults.push(`${part.name} ${difference}`);
    const twice = byIndex.get(part.opening.part);
    if (twice) faults.push(`part ${part.opening.part} occurs twice, in ${twice.name} and ${part.name}`);
    byIndex.set(part.opening.part, part);
  }
  const count = usual?.opening.parts ?? 0;
  const indexes = Array.from({ length: count }, (_, i) => i + 1);
  const missing = indexes.filter((index) => !byIndex.has(index));
  if (missing.length > 0)
    faults.push(`all ${count} parts must be given: ${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} missing`);
  if (!usual || faults.length > 0) throw new FormatError(faults.join('; ') || 'parts must be given: there are none');
  const { about, survey } = usual.opening;
  const results = indexes.flatMap((index) => byIndex.get(index)!.results);
  return alphasWith(about, combine(survey, results));
}

// The part, or half a sentence that says what is wrong with it.
function readPart(content: string): { opening: Opening; results: number[][] } | string {
  const bytes = new TextEncoder().encode(content);
  const lines = readSealed(bytes);
  if (lines.length === 0) return 'must begin with a line whose seal holds: it is damaged, or another file';
  const [first, ...results] = lines.map(({ value }) => value);
  const { 'higgs.sensitivity.part': ownVersion, version: release } = (first ?? {}) as Record<string, unknown>;
  if (ownVersion !== PART_VERSION) return `must be a part of version ${PART_VERSION}: got ${show(ownVersion)}`;
  if (release !== version) return `was made by version ${show(release)}, not ${version}`;
  let opening: Opening;
  try {
    opening = openingOf('it', first);
    givenAlphas('it', { ...opening.about, base: null, tensors: new Map() });
  } catch (error) {
    return `must be as this release writes it: ${(error as Error).message}`; // sealed, but by somebody else
  }
  const isWhole = lines.at(-1)!.end === bytes.length && results.length === resultsOf(opening);
  if (!isWhole || !results.every((result, i) => isResult(result, opening.survey, i))) return 'is damaged, or cut short';
  return { opening, results: results as number[][] };
}

function resultsOf({ first, end, survey }: Opening): number {
  return (end - first) * (survey.estimator === 'noise' ? survey.layers.length : 1);
}

function isResult(result: unknown, survey: Survey, i: number): boolean {
  const numbers =
    survey.estimator === 'noise'
      ? survey.layers[i % survey.layers.length].length * survey.levels.length + 1
      : (survey.weights.length + 1 + survey.beside.length) * survey.draws + 2;
  return Array.isArray(result) && result.length === numbers && result.every((value) => typeof value === 'number');
}

function differenceOf(part: Opening, usual: Opening): string | undefined {
  if (part.parts !== usual.parts) return `is one of ${part.parts} parts, not ${usual.parts}`;
  if (part.key !== usual.key) return 'is of another model, or of other settings';
  const { first, end } = sequencesOfPart({ index: part.part, count: part.parts }, part.sequences);
  const isSame = JSON.stringify([part.about, part.survey]) === JSON.stringify([usual.about, usual.survey]);
  return isSame && part.first === first && part.end === end ? undefined : 'does not agree with the others';
}
