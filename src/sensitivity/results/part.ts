// Sensitivities in parts: each machine measures some of the sequences, and what it found is a text of sealed lines (source/lines.ts):
//
//   {"higgs.sensitivity.part":1,"version":…,"part":3,"parts":8,"first":…,"end":…,"sequences":…,"key":…,"about":…,"survey":…}
//   [0.31,…]            a result, in the order of sequences
//
// `mergeSensitivities` needs nothing else: not the model.

import { version } from '../../../package.json';
import { integer, list, needed, object, type Reader, text } from '../../check.ts';
import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Alphas } from '../../linearity/alphas.ts';
import { readSealed, sealLine } from '../../source/lines.ts';
import { combine, type Found, type Survey } from './combine.ts';

/** Most parts of a measurement: as many as there may be sequences. */
const PARTS_LIMIT = 65535;
const PART_VERSION = 1;

/** Which part of how many, from 1 on. */
export interface SensitivityPart {
  readonly index: number;
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
export function alphasWith({ settings, ...about }: About, { base, tensors, unreached }: Found): Alphas {
  return { ...about, base, settings: { ...settings, ...(unreached > 0 && { unreached }) }, tensors };
}

/** A part's text with a name for messages. */
export interface NamedPart {
  readonly name: string;
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
  const found = new Map<number, (typeof read)[number]>();
  for (const part of read) {
    const difference = differenceOf(part.opening, usual!.opening);
    if (difference) faults.push(`${part.name} ${difference}`);
    const twice = found.get(part.opening.part);
    if (twice) faults.push(`part ${part.opening.part} is there twice, in ${twice.name} and ${part.name}`);
    found.set(part.opening.part, part);
  }
  const count = usual?.opening.parts ?? 0;
  const indexes = Array.from({ length: count }, (_, i) => i + 1);
  const missing = indexes.filter((index) => !found.has(index));
  if (missing.length > 0) faults.push(`part ${missing.join(', ')} of ${count} must be there: it is not`);
  if (!usual || faults.length > 0) throw new FormatError(faults.join('; ') || 'parts must be given: there are none');
  const { about, survey } = usual.opening;
  const results = indexes.flatMap((index) => found.get(index)!.results);
  return alphasWith(about, combine(survey, results));
}

// The part, or half a sentence that says what is wrong with it.
function readPart(content: string): { opening: Opening; results: number[][] } | string {
  const bytes = new TextEncoder().encode(content);
  const lines = readSealed(bytes);
  const { 'higgs.sensitivity.part': own, ...opening } = (lines[0]?.value ?? {}) as Opening & Record<string, unknown>;
  if (lines.length === 0) return 'must begin with a line whose seal holds: it is damaged, or another file';
  if (own !== PART_VERSION) return `must be a part of version ${PART_VERSION}: got ${show(own)}`;
  if (opening.version !== version) return `was made by version ${show(opening.version)}, not ${version}`;
  const { first, end, survey } = opening;
  const each = survey.estimator === 'noise' ? survey.layers.length : 1;
  if (lines.at(-1)!.end !== bytes.length || lines.length !== 1 + (end - first) * each)
    return 'is damaged, or cut short';
  return { opening, results: lines.slice(1).map(({ value }) => value as number[]) };
}

function differenceOf(part: Opening, usual: Opening): string | undefined {
  if (part.parts !== usual.parts) return `is one of ${part.parts} parts, not ${usual.parts}`;
  if (part.key !== usual.key) return 'is of another model, or of other settings';
  const { first, end } = sequencesOfPart({ index: part.part, count: part.parts }, part.sequences);
  const isSame = JSON.stringify([part.about, part.survey]) === JSON.stringify([usual.about, usual.survey]);
  return isSame && part.first === first && part.end === end ? undefined : 'does not agree with the others';
}
