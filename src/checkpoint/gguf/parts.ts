// The files of a model: one, or parts that llama.cpp calls name-00001-of-00003.gguf.

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';

const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** The names of all parts of the model that a file is one of, in order; its own alone if it is whole. */
export function siblingsOf(name: string): string[] {
  const [, stem, , count] = PART.exec(name) ?? [];
  if (stem === undefined || Number(count) === 0) return [name];
  const part = (i: number) => `${stem}-${String(i + 1).padStart(5, '0')}-of-${count}.gguf`;
  return Array.from({ length: Number(count) }, (_, i) => part(i));
}

/**
 * The names of the one model in a folder; a projector of images or sounds may stand beside it.
 * @throws {FormatError} when there are several, or a part is missing
 */
export function modelFiles(names: readonly string[], folder: string): string[] {
  const candidates = names.filter((name) => name.endsWith('.gguf') && !/^mmproj/i.test(name));
  const [first] = candidates;
  if (first === undefined)
    throw new FormatError('folder must have a model in GGUF: no .gguf file is in it', { file: folder });
  const parts = siblingsOf(first);
  const missing = parts.find((name) => !names.includes(name));
  if (missing !== undefined) {
    const message = `every part of the model must be in the folder: ${show(missing)} is missing`;
    throw new FormatError(message, { file: folder });
  }
  const other = candidates.find((name) => !parts.includes(name));
  if (other === undefined) return parts;
  const message = `folder must have one model in GGUF: it has ${show(first)} and ${show(other)}; give the file`;
  throw new FormatError(message, { file: folder });
}
