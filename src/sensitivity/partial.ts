// What an unfinished measurement has done: JSON that a later run goes on from. Numbers are read back as they were, to the last bit.

import { FormatError } from '../errors.ts';
import { isRecord } from '../text/files.ts';

const VERSION = 2;

/** Results of steps that took long, in the order in which they are made. */
export interface Partial {
  /** Model and settings. */
  readonly key: string;
  readonly results: readonly (readonly number[])[];
}

export function writePartial({ key, results }: Partial): string {
  return JSON.stringify({ 'higgs.sensitivity': VERSION, key, results });
}

/**
 * @param key of the run that goes on
 * @throws {FormatError} when it is of another model or other settings, or nothing of the kind
 */
export function readPartial(text: string, key: string): number[][] {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`unfinished sensitivities must be JSON: ${(cause as Error).message}`);
  }
  if (!isRecord(content) || content['higgs.sensitivity'] !== VERSION) {
    throw new FormatError(`unfinished sensitivities must be of version ${VERSION}: they are not`);
  }
  if (content.key !== key) {
    throw new FormatError('unfinished sensitivities must be of the same model and settings: they are of others');
  }
  const { results } = content;
  const isResult = (row: unknown) => Array.isArray(row) && row.every((value) => typeof value === 'number');
  if (!Array.isArray(results) || !results.every(isResult)) {
    throw new FormatError('unfinished sensitivities must have arrays of numbers as results: they have not');
  }
  return results;
}
