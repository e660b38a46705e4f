// What an unfinished measurement has done, as text that a later run goes on from: sealed lines (source/lines.ts). Numbers are read back
// as they were, to the last bit.
//
//   {"higgs.sensitivity":4,"key":…}        model and settings
//   {"sampled":8,"ids":[[…],…]}            ids of sequences that the model sampled, the first of them the eighth; or the first ones of each
//   [0.31,…]                               a result, in the order in which they are made

import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { readSealed, sealLine } from '../source/lines.ts';
import { isRecord } from '../text/files.ts';

const VERSION = 4;

/** What a run can go on from. */
interface PartialShape {
  /** Model and settings. */
  readonly key: string;
  /** Numbers of a result, and the most results that there are. */
  readonly numbers: number;
  readonly results: number;
  /** Tokens of a sequence, the most sequences, and the ids that there are. */
  readonly tokens: number;
  readonly sequences: number;
  readonly vocabSize: number;
  /** Begin anew where the text is of another run or damaged. */
  readonly orAnew: boolean;
}

/** What an interrupted measurement had done. */
export interface Partial {
  /** Results in the order of the work. */
  readonly results: readonly (readonly number[])[];
  /** Ids of sampled sequences, by their index; and those of sequences whose sampling was begun. */
  readonly sampled: ReadonlyMap<number, readonly number[]>;
  /** Ids of sequences whose sampling was begun, by their index. */
  readonly begun: ReadonlyMap<number, readonly number[]>;
  /** All that is done, as text. */
  readonly content: string;
  /** Adds a result. @returns the text with all that is done */
  add(result: readonly number[]): string;
  /** Adds sampled sequences, from index `first` on. @returns the text with all that is done */
  addSampled(first: number, ids: readonly (readonly number[])[]): string;
}

/**
 * @param text what an earlier run left, if it is to be gone on with; what follows the last line that holds is dropped
 * @throws {FormatError} when it is of another model or other settings, or nothing of the kind; unless it is to begin anew then
 */
export function openPartial(text: string | undefined, shape: PartialShape): Partial {
  const opening = { 'higgs.sensitivity': VERSION, key: shape.key };
  let content = '';
  let last = 0;
  const addLine = (value: unknown): string => {
    const { bytes, seal } = sealLine(value, last);
    last = seal;
    content += new TextDecoder().decode(bytes);
    return content;
  };
  const results: (readonly number[])[] = [];
  const sampled = new Map<number, readonly number[]>();
  const begun = new Map<number, readonly number[]>();
  const partial: Partial = {
    results,
    sampled,
    begun,
    get content() {
      return content;
    },
    add(result) {
      results.push(result);
      return addLine(result);
    },
    addSampled(first, ids) {
      for (const [j, sequence] of ids.entries())
        (sequence.length < shape.tokens ? begun : sampled).set(first + j, sequence);
      return addLine({ sampled: first, ids });
    },
  };
  addLine(opening);
  if (text === undefined) return partial;
  const [first, ...lines] = readSealed(new TextEncoder().encode(text)).map(({ value }) => value);
  const fault = faultOf(first, opening.key);
  if (fault && shape.orAnew) return partial;
  if (fault) throw new FormatError(`unfinished sensitivities must ${fault}`, { reason: 'partial' });
  for (const line of lines) {
    if (isResult(line, shape) && results.length < shape.results) partial.add(line);
    else if (isSampled(line, shape)) partial.addSampled(line.sampled, line.ids);
    else break; // it holds, but is of another hand
  }
  return partial;
}

function faultOf(first: unknown, key: string): string | undefined {
  if (!isRecord(first)) return 'begin with a line whose seal holds: it is damaged, or another file';
  const { 'higgs.sensitivity': version, key: writtenKey } = first;
  if (version !== VERSION) return `be of version ${VERSION}: got ${show(version)}`;
  return writtenKey === key ? undefined : 'be of the same model and settings: they are of others';
}

function isResult(line: unknown, { numbers }: PartialShape): line is number[] {
  return Array.isArray(line) && line.length === numbers && line.every((value) => typeof value === 'number');
}

function isSampled(
  line: unknown,
  { sequences, tokens, vocabSize }: PartialShape,
): line is { sampled: number; ids: number[][] } {
  if (!isRecord(line)) return false;
  const { sampled, ids } = line;
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize;
  const isSequence = (value: unknown) =>
    Array.isArray(value) && value.length > 0 && value.length <= tokens && value.every(isId);
  if (!Number.isInteger(sampled) || (sampled as number) < 0) return false;
  return Array.isArray(ids) && (sampled as number) + ids.length <= sequences && ids.every(isSequence);
}
