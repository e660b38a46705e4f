// Folders, sources and sinks as a caller gives them. What their methods give is checked as it comes, so that nobody behind this door
// need ask: names are strings, sources have a size, slices are buffers of the bytes that were asked for. What they throw passes through.

import {
  bufferFrom,
  classOf,
  having,
  integer,
  isTypedArray,
  list,
  member,
  type Reader,
  reading,
  refuseKind,
  text,
} from '../check.ts';
import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { isOnce } from './once.ts';
import type { Folder, OutputFolder, ResumableFolder, Sink, Source } from './source.ts';

/** Most files of a folder: some fifty times those of the largest checkpoints. */
const NAMES_LIMIT = 1 << 16;

const names = list(text, NAMES_LIMIT, 'a list of names');
const size = integer(0);
const givenSink = having<Sink>('a sink', ['write', 'close', 'abort']);
const sliceable = having<Source>('a source', ['slice'], ' and byteLength, such as an ArrayBuffer');
const readable = having<Folder>(
  'a folder',
  ['list', 'open'],
  ' and a name, as openFolder(path) of higgs-wasm/files gives',
);
const from = ', as createFolder(path) of higgs-wasm/files gives';
const writable = having<OutputFolder>('an output folder', ['create'], from);
const resumable = having<ResumableFolder>('a resumable folder', ['list', 'open', 'create', 'extend', 'remove'], from);

/**
 * A source that keeps its promises.
 * @param file names it in messages
 * @throws {FormatError} from `slice`, when it gives other bytes than it was asked for
 */
export function givenSource(subject: string, value: unknown, file: string): Source {
  if (isTypedArray(value)) refuseKind(subject, 'a source, such as the ArrayBuffer of a typed array', value);
  const source = sliceable(subject, value);
  const byteLength = size(`byteLength of ${subject}`, member(subject, source, 'byteLength'));
  const exactly = (given: number, start: number, end: number): number => {
    if (given === end - start) return given;
    const message = `source must give the ${end - start} bytes from ${start} to ${end}: it gave ${given}`;
    throw new FormatError(message, { file, byteOffset: start });
  };
  const checked = (given: unknown, from: string, start: number, end: number): ArrayBuffer => {
    const buffer = bufferFrom(from, given) ?? refuseKind(from, 'an ArrayBuffer', given);
    exactly(buffer.byteLength, start, end);
    return buffer;
  };
  const isBuffer = ['ArrayBuffer', 'SharedArrayBuffer'].includes(classOf(subject, value));
  const key = isBuffer ? 'slice' : 'sliceSync';
  const readsNow = typeof member(subject, source, key) === 'function';
  const readsInto = !isBuffer && typeof member(subject, source, 'sliceInto') === 'function';
  const readsLater = !isBuffer && typeof member(subject, source, 'sliceIntoLater') === 'function';
  const readsAhead = !isBuffer && typeof member(subject, source, 'prefetch') === 'function';
  return {
    byteLength,
    slice: async (start, end, spare) =>
      checked(await source.slice(start, end, spare), `slice() of ${subject}`, start, end),
    ...(readsNow && {
      sliceSync: (start, end, spare) => checked(source[key]!(start, end, spare), `${key}() of ${subject}`, start, end),
    }),
    // A place that is not filled still has what was read there before.
    ...(readsInto && {
      sliceInto: (start, end, to) =>
        exactly(size(`sliceInto() of ${subject}`, source.sliceInto!(start, end, to)), start, end),
    }),
    ...(readsLater && {
      sliceIntoLater: async (start, end, to) =>
        exactly(size(`sliceIntoLater() of ${subject}`, await source.sliceIntoLater!(start, end, to)), start, end),
    }),
    ...(readsAhead && { prefetch: (start, end) => source.prefetch!(start, end) }),
  };
}

/** A folder to read from. */
export const givenFolder: Reader<Folder> = (subject, value) => {
  const folder = readable(subject, value);
  if (reading(subject, () => isOnce(folder))) return folder; // checked when it was opened
  const name = text(`name of ${subject}`, member(subject, folder, 'name'));
  const unchanged = typeof member(subject, folder, 'unchanged') === 'function';
  return {
    name,
    ...readingOf(subject, folder, name),
    ...(unchanged && { unchanged: async () => folder.unchanged!() }),
  };
};

/** A folder to write to; `isResumable` if an interrupted run is to be gone on with. */
export function givenOutput(subject: string, value: unknown, isResumable: boolean): OutputFolder | ResumableFolder {
  const create = (folder: OutputFolder) => async (file: string) =>
    givenSink(`create(${show(file)}) of ${subject}`, await folder.create(file));
  if (!isResumable) return { create: create(writable(subject, value)) };
  const folder = resumable(subject, value);
  const name = text(`name of ${subject}`, member(subject, folder, 'name'));
  return {
    name,
    ...readingOf(subject, folder, name),
    create: create(folder),
    extend: async (file, byteLength) =>
      givenSink(`extend(${show(file)}) of ${subject}`, await folder.extend(file, byteLength)),
    remove: async (file) => folder.remove(file),
  };
}

function readingOf(subject: string, folder: Folder, name: string): Pick<Folder, 'list' | 'open'> {
  return {
    list: async () => names(`list() of ${subject}`, await folder.list()),
    open: async (file) =>
      givenSource(`open(${show(file)}) of ${subject}`, await folder.open(file), name === '' ? file : `${name}/${file}`),
  };
}

/** The bytes `[start, end)` of a source. @param file names it in messages @throws {RangeError} unless they lie within it */
export function spanOf(start: number, end: number, byteLength: number, file: string): [start: number, end: number] {
  const [from, to] = [size('start', start), size('end', end)];
  if (from <= to && to <= byteLength) return [from, to];
  throw new RangeError(`start and end must lie within the ${byteLength} bytes of ${file}: got ${start}, ${end}`);
}
