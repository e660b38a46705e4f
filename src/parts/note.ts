// What a part says of itself: `higgs.part`, one sealed line (source/lines.ts) that is written last. A folder with it holds a complete part.
//
//   {"higgs.part":1,"version":"0.1.0","part":3,"parts":8,"layout":"…","scaleSearch":false,"input":"…","files":[["model.safetensors",81920],…]}
//
// The first part carries what no tensor is: `higgs.layout`, the headers of the final files one behind the other, and the files beside the weights.

import { version } from '../../package.json';
import { INDEX_NAME } from '../checkpoint/checkpoint.ts';
import { FormatError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import type { Plan } from '../quantize/plan.ts';
import { readSealed, sealLine } from '../source/lines.ts';
import { digest, hexOf } from '../source/sha256.ts';
import type { Folder } from '../source/source.ts';
import type { Part } from './shares.ts';

/** The file in which a part says what it is. */
export const PART_NAME = 'higgs.part';
/** The file with the headers of the whole. */
export const LAYOUT_NAME = 'higgs.layout';
/** Largest note in bytes: some 60 a file; of the first part, 100 a tensor, and the original's card. */
const NOTE_LIMIT = 128 << 20;
const NOTE_VERSION = 1;

/** What tells parts of one run from those of others: all must be the same, but for `part`. */
export interface PartIdentity {
  /** The release that made it. */
  readonly version: string;
  /** Which part it is, from 1 on. */
  readonly part: number;
  /** How many parts there are. */
  readonly parts: number;
  /** SHA-256 of the headers that all parts together will have: names, shapes, grids, seeds. */
  readonly layout: string;
  /** Whether scales were searched for. */
  readonly scaleSearch: boolean;
  /** What tells the input's weights. */
  readonly input: string;
}

/** A file that is carried into the result as it is. */
export interface CarriedFile {
  /** Its name. */
  readonly name: string;
  /** Its size. */
  readonly bytes: number;
  /** Its CRC-32. */
  readonly crc: number;
}

/** What a part says of itself: `higgs.part`. */
export interface PartNote extends PartIdentity {
  /** The files of tensors, with their sizes. */
  readonly files: readonly (readonly [name: string, bytes: number])[];
  /** Of the first part: files beside the weights, `higgs.layout` among them. */
  readonly carried: readonly CarriedFile[];
  /** Of the first part: the final files in the order of their headers. */
  readonly shards: readonly (readonly [name: string, bytes: number])[];
  /** Of the first part: bytes of all tensors of the input, what the plan was made by, and the caller's own text. */
  readonly whole: {
    readonly bytesIn: number;
    readonly sensitivities: KnownSensitivities | null;
    readonly about: string | null;
  } | null;
}

/** Sensitivities of a plan, by which its loss is predicted. */
export interface KnownSensitivities {
  /** How they came about. */
  readonly estimator: string;
  /** What α counts. */
  readonly loss: string;
  /** Loss of the model as it is, where it is known. */
  readonly base: number | null;
  /** α by the name of the tensor; null where it is not known. */
  readonly alphas: readonly (readonly [name: string, alpha: number | null])[];
}

/** The identity of a part, before it is there. */
export async function partIdentity(plan: Plan, part: Part, scaleSearch: boolean): Promise<PartIdentity> {
  const headers = await new Blob(plan.shards.map(({ header }) => header)).arrayBuffer();
  const layout = hexOf(await digest(headers, 'to work in parts'));
  return { version, part: part.index, parts: part.count, layout, scaleSearch, input: part.input ?? '' };
}

/** The bytes of a note. */
export function noteBytes(note: PartNote): Uint8Array<ArrayBuffer> {
  return sealLine({ 'higgs.part': NOTE_VERSION, ...note }).bytes;
}

/**
 * Reads the note of a part.
 * @returns undefined where there is none: the part is not complete
 * @throws {FormatError} when it is damaged, or of another version
 */
export async function readNote(folder: Folder): Promise<PartNote | undefined> {
  if (!(await folder.list()).includes(PART_NAME)) return undefined;
  const source = await folder.open(PART_NAME);
  const bytes = new Uint8Array(await source.slice(0, Math.min(source.byteLength, NOTE_LIMIT)));
  const line = readSealed(bytes)[0];
  const file = `${folder.name}/${PART_NAME}`;
  if (!line || line.end !== source.byteLength) {
    throw new FormatError('note of a part must be a line whose seal holds: it is damaged', { file });
  }
  const { 'higgs.part': written, ...note } = (line.value ?? {}) as PartNote & { 'higgs.part': unknown };
  if (written === NOTE_VERSION && isNote(note)) return note;
  throw new FormatError(`note of a part must be of version ${NOTE_VERSION}: got ${show(written)}`, { file });
}

/**
 * Why a part is not one of those that `wanted` is of: half a sentence; undefined if it is.
 * @param wanted what the other parts have, or a run would give
 */
export function differenceOf(note: PartIdentity, wanted: PartIdentity): string | undefined {
  const is = (key: 'version' | 'parts') => `${excerpt(String(note[key]))}, not ${excerpt(String(wanted[key]))}`;
  if (note.version !== wanted.version) return `was made by version ${is('version')}`;
  if (note.parts !== wanted.parts) return `is one of ${is('parts')}`;
  if (note.input !== wanted.input) return 'was made of another input, or of one that was changed since';
  if (note.layout !== wanted.layout)
    return 'has another plan: its tensors, grids, groups, seeds or file sizes are others';
  if (note.scaleSearch !== wanted.scaleSearch)
    return `was made ${note.scaleSearch ? 'with' : 'without'} a search for scales`;
  return undefined;
}

// A line that holds may still be of another hand.
function isNote(note: Partial<Record<keyof PartNote, unknown>>): note is PartNote {
  const { version, part, parts, layout, scaleSearch, input, files, carried, shards, whole } = note;
  const isText = [version, layout, input].every((value) => typeof value === 'string');
  const isCount = [part, parts].every((value) => Number.isInteger(value) && Number(value) > 0);
  const isPart = isCount && Number(part) <= Number(parts);
  const isSize = (bytes: unknown) => Number.isSafeInteger(bytes) && Number(bytes) >= 0;
  const isFile = (name: unknown, bytes: unknown) => typeof name === 'string' && !/[/\\\0]/.test(name) && isSize(bytes);
  const isList = [files, shards].every(
    (list) => Array.isArray(list) && list.every((row) => Array.isArray(row) && isFile(row[0], row[1])),
  );
  const areCarried =
    Array.isArray(carried) && carried.every((one) => isFile(one?.name, one?.bytes) && one.crc >>> 0 === one.crc);
  if (!isText || !isPart || !isList || !areCarried) return false;
  // What is carried replaces no file of tensors.
  const names = [
    ...(shards as PartNote['shards']).map(([name]) => name),
    INDEX_NAME,
    ...carried.map(({ name }) => name),
  ];
  const isApart = new Set(names).size === names.length;
  return typeof scaleSearch === 'boolean' && isApart && (whole === null || isWhole(whole));
}

function isWhole(whole: unknown): boolean {
  const { bytesIn, sensitivities, about } = (whole ?? {}) as Partial<Record<string, unknown>>;
  const isKnown = sensitivities === null || areSensitivities(sensitivities);
  return (
    Number.isSafeInteger(bytesIn) && Number(bytesIn) >= 0 && isKnown && (about === null || typeof about === 'string')
  );
}

// As far as they are put together; `predict` looks at their values.
function areSensitivities(value: unknown): boolean {
  const { alphas } = (value ?? {}) as Partial<KnownSensitivities>;
  const isRow = (row: unknown) =>
    Array.isArray(row) && typeof row[0] === 'string' && (row[1] === null || typeof row[1] === 'number');
  return Array.isArray(alphas) && alphas.every(isRow);
}
