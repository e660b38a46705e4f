// Parts of a quantized checkpoint, put together: the bytes are those of one run. Headers come from the first part, tensors from where they are;
// every tensor's CRC-32 is compared with what its part noted as it is written.

import { version } from '../../package.json';
import { callback, optionsOf, signalOf } from '../check.ts';
import { openCheckpoint } from '../checkpoint/checkpoint.ts';
import { headerByteLength, parseHeader } from '../checkpoint/safetensors/header.ts';
import { isPadding, type ShardEntry, type TensorSpec } from '../checkpoint/safetensors/layout.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import { FormatError } from '../errors.ts';
import type { Grid } from '../grids/grid.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { bytesPerWeight } from '../kernels/operands.ts';
import { piecesOf } from '../quantize/blocks.ts';
import { type MadeCodes, type Progress, runPlan } from '../quantize/checkpoint.ts';
import {
  openQuantized,
  type QuantizedWeight,
  RESERVED,
  readChecksums,
  readErrors,
  trailingSpecs,
} from '../quantize/format.ts';
import { givenResume, JOURNAL_NAME, type Resume } from '../quantize/journal.ts';
import type { Plan, PlanItem, PlannedShard } from '../quantize/plan.ts';
import type { Report } from '../quantize/report.ts';
import type { SquareSums } from '../quantize/scheme.ts';
import { writeWhole } from '../quantize/writer.ts';
import { digest, hexOf } from '../source/sha256.ts';
import type { Folder, OutputFolder, ResumableFolder } from '../source/source.ts';
import type { Pool } from '../workers/pool.ts';
import { differenceOf, type KnownSensitivities, LAYOUT_NAME, type PartNote, readNote } from './note.ts';
import { PARTS_LIMIT } from './shares.ts';

/** Options of `mergeParts`. */
export interface MergeOptions {
  /** Called often, with the same object. */
  onProgress?: (progress: Progress) => void;
  /** Aborts the run between two tensors. */
  signal?: AbortSignal;
  /** Keeps a journal in the output, which must be a resumable folder, and goes on with an interrupted run. */
  resume?: Resume;
}

/** As a caller gives them. */
export const mergeOptions = optionsOf<MergeOptions>({ onProgress: callback, signal: signalOf, resume: givenResume });

interface MergeMeans extends MergeOptions {
  kernels: Kernels;
  pool: Pool;
}

/** What merging gives, and what the first part noted for it. */
interface Merged {
  readonly report: Report;
  readonly sensitivities: KnownSensitivities | null;
  readonly about: string | null;
}

/** A complete part, open. */
interface OpenPart {
  readonly folder: Folder;
  readonly note: PartNote;
  readonly files: Awaited<ReturnType<typeof openCheckpoint>>['files'];
  readonly quantized: readonly QuantizedWeight[];
  readonly plain: readonly CheckpointTensor[];
  readonly grids: ReadonlyMap<string, Grid>;
  readonly errors: ReadonlyMap<string, SquareSums>;
  readonly checksums: ReadonlyMap<string, number>;
}

/**
 * Puts parts together to the checkpoint that one run would have written.
 * @throws {FormatError} names every part that is missing, of another plan or version, or damaged
 */
export async function mergeParts(
  folders: readonly Folder[],
  output: OutputFolder | ResumableFolder,
  { kernels, pool, onProgress, signal: stop, resume }: MergeMeans,
): Promise<Merged> {
  const notes = await checkedNotes(folders);
  const parts: OpenPart[] = [];
  const faults: string[] = [];
  for (const { folder, note } of notes) {
    await openPart(folder, note, kernels).then(
      (part) => parts.push(part),
      (error) => faults.push(faultText(note.part, fault(error))),
    );
  }
  refuse(faults);
  const first = parts[0];
  const plan = await planOf(first, parts, kernels);
  const going = resume && { ...resume, identity: JSON.stringify([resume.identity, first.note]) };
  try {
    const running = { kernels, pool, encoded: madeCodes(parts), onProgress, signal: stop, resume: going };
    const report = await runPlan(plan, output, running);
    for (const { name } of first.note.carried) {
      if (name !== LAYOUT_NAME) await writeWhole(output, name, await carriedBytes(first, name, kernels));
    }
    for (const { folder } of parts) await folder.unchanged?.();
    if (resume && !resume.keepJournal) await (output as ResumableFolder).remove(JOURNAL_NAME);
    const { bytesIn = report.bytesIn, sensitivities = null, about = null } = first.note.whole ?? {};
    return { report: { ...report, bytesIn }, sensitivities, about };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    // One tensor is damaged: all that are be named at once.
    refuse(await damaged(parts, kernels, stop));
    throw error;
  }
}

/**
 * Whether a folder holds what these parts become: its headers are those of their plan, and every checksum is as its part noted.
 * @throws {FormatError} names every part that is missing, or of another plan or version
 */
export async function isMergeOf(folders: readonly Folder[], merged: Folder): Promise<boolean> {
  const notes = await checkedNotes(folders);
  const { layout, shards, carried } = notes[0].note;
  const names = new Set(await merged.list());
  if (
    ![...shards.map(([name]) => name), ...carried.map(({ name }) => name)].every(
      (name) => name === LAYOUT_NAME || names.has(name),
    )
  )
    return false;
  const headers: BlobPart[] = [];
  for (const [name, bytes] of shards) {
    const source = await merged.open(name);
    if (source.byteLength !== bytes) return false;
    const start = new Uint8Array(await source.slice(0, 8));
    headers.push(await source.slice(0, 8 + headerByteLength(start, `${merged.name}/${name}`, bytes)));
  }
  if (hexOf(await digest(await new Blob(headers).arrayBuffer(), 'to merge parts')) !== layout) return false;
  const wanted = new Map<string, number>();
  for (const { folder } of notes) {
    for (const file of (await openCheckpoint(folder)).files) {
      for (const { tensor, crc } of (await readChecksums(file)).tensors) wanted.set(tensor.name, crc);
    }
  }
  for (const file of (await openCheckpoint(merged)).files) {
    const { tensors } = await readChecksums(file);
    // Errors stand together otherwise in parts.
    if (tensors.some(({ tensor, crc }) => !tensor.name.startsWith(ERRORS) && wanted.get(tensor.name) !== crc))
      return false;
  }
  return true;
}

// Every part once, of one run and this release.
async function checkedNotes(folders: readonly Folder[]) {
  const byPart = new Map<number, { folder: Folder; note: PartNote }>();
  const faults: string[] = [];
  for (const folder of folders) {
    const note = await readNote(folder).catch((error) => void faults.push(fault(error).message));
    if (!note) continue;
    const twice = byPart.get(note.part);
    if (twice) faults.push(`part ${note.part} occurs twice, in ${twice.folder.name} and ${folder.name}`);
    byPart.set(note.part, { folder, note });
  }
  const notes = [...byPart.values()].sort((a, b) => a.note.part - b.note.part);
  const usual = mostCommon(notes.map(({ note }) => note));
  for (const { note } of notes) {
    const difference = differenceOf(note, { ...usual!, version });
    if (difference) faults.push(`part ${note.part} ${difference}`);
  }
  const count = Math.min(usual?.parts ?? 0, PARTS_LIMIT);
  const missing = Array.from({ length: count }, (_, i) => i + 1).filter((index) => !byPart.has(index));
  if (missing.length > 0)
    faults.push(
      `${missing.length === 1 ? 'part' : 'parts'} ${rangesText(missing)} of ${count} must be there: not complete`,
    );
  if (notes.length === 0 && faults.length === 0) faults.push('a complete part must be there: there is none');
  refuse(faults);
  return notes;
}

// Rising numbers as Slurm's --array takes them: 2,4,7-9.
function rangesText(numbers: readonly number[]): string {
  const starts = numbers.filter((number, i) => numbers[i - 1] !== number - 1);
  const ends = numbers.filter((number, i) => numbers[i + 1] !== number + 1);
  return starts.map((start, i) => (start === ends[i] ? `${start}` : `${start}-${ends[i]}`)).join(',');
}

// What most parts say, so that the odd one is named: the first of those that are as many.
function mostCommon(notes: readonly PartNote[]): PartNote | undefined {
  const keyOf = ({ parts, layout, scaleSearch, input }: PartNote) =>
    JSON.stringify([parts, layout, scaleSearch, input]);
  const counts = new Map<string, number>();
  for (const note of notes) counts.set(keyOf(note), (counts.get(keyOf(note)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  return notes.find((note) => counts.get(keyOf(note)) === most);
}

async function openPart(folder: Folder, note: PartNote, kernels: Kernels): Promise<OpenPart> {
  const names = new Set(await folder.list());
  for (const [name, bytes] of [...note.files, ...note.carried.map((file) => [file.name, file.bytes] as const)]) {
    const file = `${folder.name}/${name}`;
    if (!names.has(name)) throw new FormatError('file must be there, as the part noted: it is missing', { file });
    const { byteLength } = await folder.open(name);
    if (byteLength !== bytes) throw new FormatError(`file must have ${bytes} bytes: it has ${byteLength}`, { file });
  }
  const stored = await openQuantized(await openCheckpoint(folder));
  const { files } = stored.checkpoint;
  const checksums = new Map<string, number>();
  for (const file of files) {
    const noted = await readChecksums(file);
    const header = kernels.crc32(0, new Uint8Array(await file.source.slice(0, file.dataStart)));
    if (header !== noted.header)
      throw new FormatError('CRC-32 of the header must be as noted: it differs', { file: file.file });
    for (const { tensor, crc } of noted.tensors) {
      checksums.set(tensor.name, crc);
      // Errors are put together anew: no tensor of the output is compared with them.
      if (!tensor.name.startsWith(ERRORS) || kernels.crc32(0, new Uint8Array(await tensor.read())) === crc) continue;
      throw new FormatError(CHANGED, { file: file.file, tensor: tensor.name });
    }
  }
  const { quantized, plain, grids } = stored;
  return { folder, note, files, quantized, plain, grids, errors: await readErrors(stored), checksums };
}

// The plan that the headers of the first part tell, with the tensors of all.
async function planOf(first: OpenPart, parts: readonly OpenPart[], kernels: Kernels): Promise<Plan> {
  const headers = await carriedBytes(first, LAYOUT_NAME, kernels);
  if (hexOf(await digest(headers, 'to merge parts')) !== first.note.layout) {
    const file = `${first.folder.name}/${LAYOUT_NAME}`;
    throw new FormatError('SHA-256 of the layout must be as all parts noted: it differs', { file });
  }
  const sizes = new Map(parts.flatMap((part) => part.files.flatMap(({ tensors }) => tensors.map(sizeOf))));
  const grids = new Map(parts.flatMap(({ grids }) => [...grids]));
  const weights = new Map(
    parts.flatMap(({ quantized }) => quantized.map((weight) => [weight.packed.name, weight] as const)),
  );
  const plain = new Map(parts.flatMap((part) => part.plain.map((tensor) => [tensor.name, tensor] as const)));
  const shards: PlannedShard[] = [];
  let position = 0;
  let groups = 0;
  for (const [fileName, byteLength] of first.note.shards) {
    const file = `${first.folder.name}/${LAYOUT_NAME}`;
    const length = 8 + headerByteLength(headers.subarray(position, position + 8), file, byteLength);
    const header = headers.slice(position, position + length);
    position += length;
    const { tensors } = parseHeader(header.subarray(8), file, byteLength);
    const entries = tensors.map(({ name, dtype, shape, start, end }): ShardEntry => {
      return { spec: { name, dtype, shape, byteLength: end - start }, start, padding: isPadding(name, RESERVED) };
    });
    const other = entries.find(
      ({ spec }) => !spec.name.startsWith(RESERVED) && sizes.get(spec.name) !== spec.byteLength,
    );
    if (other) throw new FormatError(MISFIT, { file, tensor: other.spec.name });
    const trailing = entries.filter(({ spec }) => /^higgs\.(errors|checksums)\.\d+$/.test(spec.name));
    const items = entries.flatMap(({ spec, padding }): PlanItem[] => {
      const grid = spec.name.startsWith(GRID) ? grids.get(spec.name.slice(GRID.length)) : undefined;
      if (grid) return [{ kind: 'grid', grid }];
      if (padding || spec.name.startsWith(RESERVED)) return [];
      const weight = weights.get(spec.name);
      if (weight) return [{ kind: 'quantize', tensor: tensorOf(weight), quantized: weight }];
      const tensor = plain.get(spec.name);
      return tensor ? [{ kind: 'copy', tensor, reason: 'as it was' }] : []; // scales come with their codes
    });
    checkTrailing(items, trailing, shards.length, file);
    const [errors] = trailing.length > 1 ? trailing : [];
    const shard = { fileName, header, first: groups, end: groups + items.length, entries, trailing, byteLength };
    shards.push({ ...shard, items, errors, weighted: undefined, checksums: trailing.at(-1)! });
    groups += items.length;
  }
  const items = shards.flatMap((shard) => shard.items);
  const quantized = items.filter((item) => item.kind === 'quantize');
  return {
    ...{ items, shards },
    bytesIn: items.reduce((sum, item) => sum + originalBytes(item), 0),
    bytesOut: shards.reduce((sum, { byteLength }) => sum + byteLength, 0),
    weights: quantized.reduce((sum, item) => sum + item.quantized.rows * item.quantized.cols, 0),
  };
}

const MISFIT = 'tensor of the plan must be in one of the parts, at its planned size: no part has it';

const CHANGED = 'CRC-32 must be as the part noted: it differs';

const sizeOf = ({ name, byteLength }: CheckpointTensor) => [name, byteLength] as const;

// What ends a file follows from what it holds.
function checkTrailing(items: readonly PlanItem[], trailing: readonly ShardEntry[], index: number, file: string): void {
  const quantized = items.flatMap((item) => (item.kind === 'quantize' ? [item.quantized] : []));
  const expected = trailingSpecs(index, quantized, items.length + quantized.length);
  const sizes = (specs: readonly TensorSpec[]) => specs.map(({ name, byteLength }) => `${name} ${byteLength}`).join();
  if (sizes(trailing.map(({ spec }) => spec)) === sizes(expected)) return;
  throw new FormatError('errors and checksums must have their places in the layout: one is missing', { file });
}

// As the input had it, factors left out.
function originalBytes(item: PlanItem): number {
  if (item.kind === 'grid') return 0;
  if (item.kind === 'copy') return item.tensor.byteLength;
  const { rows, cols, dtype } = item.quantized;
  return rows * cols * bytesPerWeight[dtype];
}

const GRID = 'higgs.grid.';
const ERRORS = 'higgs.errors.';

// A weight's codes and scales as one tensor, for what counts bytes.
function tensorOf({ name, packed, scales }: QuantizedWeight): CheckpointTensor {
  return { ...packed, name, byteLength: packed.byteLength + scales.byteLength };
}

function madeCodes(parts: readonly OpenPart[]): MadeCodes {
  const all = new Map(
    parts.flatMap((part) => part.quantized.map((stored) => [stored.name, { part, stored }] as const)),
  );
  const checksums = new Map(parts.flatMap((part) => [...part.checksums]));
  return {
    of(item) {
      const { part, stored } = all.get(item.quantized.name)!;
      return { stored, sums: part.errors.get(stored.name)! };
    },
    check(item, written) {
      const names =
        item.kind === 'grid'
          ? [`${GRID}${item.grid.name}`]
          : item.kind === 'copy'
            ? [item.tensor.name]
            : [`${item.tensor.name}.packed`, `${item.tensor.name}.scales`];
      for (const [i, name] of names.entries()) {
        if (written[i] === checksums.get(name)) continue;
        throw new FormatError(CHANGED, { tensor: name });
      }
    },
  };
}

// Every tensor whose bytes are not those that its part wrote.
async function damaged(parts: readonly OpenPart[], kernels: Kernels, stop: AbortSignal | undefined): Promise<string[]> {
  const faults: string[] = [];
  for (const { files, note, checksums } of parts) {
    for (const tensor of files.flatMap((file) => file.tensors)) {
      const noted = checksums.get(tensor.name);
      if (noted === undefined) continue;
      let crc = 0;
      for (const { read } of piecesOf(tensor)) {
        stop?.throwIfAborted();
        crc = kernels.crc32(crc, await read());
      }
      if (crc === noted) continue;
      const error = new FormatError(CHANGED, {
        file: tensor.file,
        tensor: tensor.name,
      });
      faults.push(faultText(note.part, error));
    }
  }
  return faults;
}

async function carriedBytes(
  { folder, note }: OpenPart,
  name: string,
  kernels: Kernels,
): Promise<Uint8Array<ArrayBuffer>> {
  const noted = note.carried.find((file) => file.name === name);
  const source = noted && (await folder.open(name));
  const bytes = source && new Uint8Array(await source.slice(0, source.byteLength));
  if (bytes && kernels.crc32(0, bytes) === noted.crc) return bytes;
  const error = new FormatError(CHANGED, { file: `${folder.name}/${name}` });
  throw new FormatError(faultText(note.part, error));
}

function faultText(part: number, { message }: Error): string {
  return `part ${part} is damaged: ${message}`;
}

// What is wrong with a part: not what the system, a limit or a bug of ours says.
function fault(error: unknown): FormatError {
  if (error instanceof FormatError) return error;
  throw error;
}

/** Faults that are named at once: a message has room for as many, with long paths. */
const SHOWN = 8;

function refuse(faults: readonly string[]): void {
  if (faults.length === 0) return;
  const more = faults.length > SHOWN ? [`${faults.length - SHOWN} more`] : [];
  throw new FormatError([...faults.slice(0, SHOWN), ...more].join('; '), { reason: 'parts' });
}
