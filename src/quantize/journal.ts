// The journal of a run: sealed lines (source/lines.ts), so that an interrupted run can be gone on with. The first tells the run from
// others, then comes one for each tensor that is written, in the order of the plan. No line is trusted with what it is about: data
// that it says was written is read again and compared, and so are the header and the padding between.

import { flag, needed, object, type Reader, text } from '../check.ts';
import type { ShardEntry } from '../checkpoint/safetensors/layout.ts';
import { FormatError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { readSealed, type SealedLine, sealLine } from '../source/lines.ts';
import type { ResumableFolder, Source } from '../source/source.ts';
import type { Plan, PlanItem, PlannedShard } from './plan.ts';

/** The file that says how far an interrupted run came. */
export const JOURNAL_NAME = 'higgs.journal';
/** Bytes of a journal that are read: some 200 a tensor, of which a header holds about a million. What follows is done again. */
const JOURNAL_LIMIT = 256 << 20;
const READ_BYTES = 4 << 20;

/** What is known of an item that was finished. */
export interface JournalEntry {
  /** CRC-32 of each tensor that the item became. */
  checksums: number[];
  /** Of a quantized weight. */
  sums?: [squaredError: number, squaredNorm: number];
  /** Of a refined weight. */
  weighted?: [error: number, gain: number];
}

interface Journal {
  /** What an earlier run wrote of a shard, from its start and without a gap. */
  done(shard: PlannedShard): readonly JournalEntry[];
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

/** How a run is gone on with. */
export interface Resume {
  /** Text that tells the run from others, such as options and the input's dates. */
  identity: string;
  /** Without a journal, shards that are complete by their own checksums are taken for this run's. */
  adopt?: boolean | undefined;
  /** Leaves the journal with success, for a caller that has more to do with the output. */
  keepJournal?: boolean | undefined;
}

/** As a caller gives it. */
export const givenResume: Reader<Resume> = object<Resume>('an object', {
  identity: needed(text),
  adopt: flag,
  keepJournal: flag,
});

/**
 * Opens the journal in `folder`, or starts one. What follows the last line that holds, of data that is as it was written, is dropped.
 * @throws {FormatError} when it is no journal, or of another plan or another `identity`
 */
export async function openJournal(
  folder: ResumableFolder,
  plan: Plan,
  kernels: Kernels,
  { identity, adopt = false }: Resume,
): Promise<Journal> {
  const layout = plan.shards.reduce((crc, { header }) => kernels.crc32(crc, header), 0);
  const opening = { identity, layout };
  const done = new Map<PlannedShard, JournalEntry[]>();
  const lines = await readLines(folder, opening);
  const entries = lines ? lines.slice(1).map(({ value }) => value) : adopt ? await storedEntries(folder, plan) : [];
  const kept = await check(entries, folder, plan, kernels, done);

  let { bytes, seal } = sealLine(opening);
  let end = bytes.length;
  if (lines) ({ seal, end } = lines[kept.length]);
  else {
    const pieces = [bytes];
    for (const entry of kept) {
      ({ bytes, seal } = sealLine(entry, seal));
      pieces.push(bytes);
    }
    const start = await folder.create(JOURNAL_NAME);
    for (const piece of pieces) await start.write(piece);
    await start.close(); // on the disk before anything that it is about
    end = pieces.reduce((sum, { length }) => sum + length, 0);
  }
  const sink = await folder.extend(JOURNAL_NAME, end);
  return {
    done: (shard) => done.get(shard) ?? [],
    append: (entry) => {
      ({ bytes, seal } = sealLine(entry, seal));
      return sink.write(bytes);
    },
    close: () => sink.close(),
  };
}

// The lines that hold, the opening first; undefined where a run has not come as far as that.
async function readLines(folder: ResumableFolder, opening: object): Promise<SealedLine[] | undefined> {
  if (!(await folder.list()).includes(JOURNAL_NAME)) return undefined;
  const source = await folder.open(JOURNAL_NAME);
  const bytes = new Uint8Array(await source.slice(0, Math.min(source.byteLength, JOURNAL_LIMIT)));
  const lines = readSealed(bytes);
  const place = { file: `${folder.name}/${JOURNAL_NAME}` };
  if (lines.length === 0) {
    if (!bytes.includes(0x0a)) return undefined;
    const message =
      'journal must begin with a line whose seal holds, it is damaged or another: start again with --force';
    throw new FormatError(message, place);
  }
  if (JSON.stringify(lines[0].value) !== JSON.stringify(opening)) {
    throw new FormatError('an interrupted run had other options or another input: start again with --force', place);
  }
  return lines;
}

// Fills `done` with the entries whose data is as it was written, up to the first that is not. Returns these.
async function check(
  entries: readonly unknown[],
  folder: ResumableFolder,
  plan: Plan,
  kernels: Kernels,
  done: Map<PlannedShard, JournalEntry[]>,
): Promise<JournalEntry[]> {
  const present = new Set(await folder.list());
  const kept: JournalEntry[] = [];
  for (const shard of plan.shards) {
    const entriesOfShard: JournalEntry[] = [];
    done.set(shard, entriesOfShard);
    if (kept.length === entries.length || !present.has(shard.fileName)) return kept;
    const source = await folder.open(shard.fileName);
    if (!(await isHeader(source, shard.header))) return kept;
    let next = 0;
    for (const item of shard.items) {
      const entry = entries[kept.length];
      if (!isEntryOf(item, entry)) return kept;
      for (const expected of entry.checksums) {
        const gap = shard.entries[next];
        if (gap.padding) {
          next++;
          if (!(await isZero(source, gap.start, gap.start + gap.spec.byteLength))) return kept;
        }
        const { start, spec } = shard.entries[next++];
        if (start + spec.byteLength > source.byteLength) return kept;
        let crc = 0;
        for await (const { bytes } of pieces(source, start, start + spec.byteLength)) crc = kernels.crc32(crc, bytes);
        if (crc !== expected) return kept;
      }
      entriesOfShard.push(entry);
      kept.push(entry);
    }
  }
  return kept;
}

// What shards say of themselves, in the form of a journal's entries: of those that have all their bytes, up to the first that has not.
async function storedEntries(folder: ResumableFolder, plan: Plan): Promise<JournalEntry[]> {
  const present = new Set(await folder.list());
  const stored: JournalEntry[] = [];
  for (const { fileName, byteLength, errors, weighted, checksums, items } of plan.shards) {
    if (!present.has(fileName)) return stored;
    const source = await folder.open(fileName);
    if (source.byteLength !== byteLength) return stored;
    const read = ({ start, spec }: ShardEntry) => source.slice(start, start + spec.byteLength);
    const [, ...crcs] = new Uint32Array(await read(checksums)); // the first is the header's
    const sums = errors ? new Float64Array(await read(errors)) : [];
    const refined = weighted ? new Float64Array(await read(weighted)) : [];
    let [tensor, weight] = [0, 0];
    for (const item of items) {
      const entry = { checksums: crcs.slice(tensor, tensor + tensorsOf(item)) };
      tensor += tensorsOf(item);
      if (item.kind !== 'quantize') {
        stored.push(entry);
        continue;
      }
      const plainEntry = { ...entry, sums: [sums[2 * weight], sums[2 * weight + 1]] as [number, number] };
      const { isRefined } = item.quantized;
      stored.push(isRefined ? { ...plainEntry, weighted: [refined[2 * weight], refined[2 * weight + 1]] } : plainEntry);
      weight++;
    }
  }
  return stored;
}

const tensorsOf = ({ kind }: PlanItem) => (kind === 'quantize' ? 2 : 1);

// A line that holds may still be of another release or another hand.
function isEntryOf(item: PlanItem, entry: unknown): entry is JournalEntry {
  const { checksums, sums, weighted } = (entry ?? {}) as Partial<Record<keyof JournalEntry, unknown>>;
  const isCrc = (value: unknown) => typeof value === 'number' && value >>> 0 === value;
  if (!Array.isArray(checksums) || checksums.length !== tensorsOf(item) || !checksums.every(isCrc)) return false;
  if (item.kind !== 'quantize') return sums === undefined;
  const isPair = (pair: unknown) =>
    Array.isArray(pair) && pair.length === 2 && pair.every((value) => Number.isFinite(value) && value >= 0);
  return isPair(sums) && (item.quantized.isRefined ? isPair(weighted) : weighted === undefined);
}

async function isHeader(source: Source, header: Uint8Array): Promise<boolean> {
  if (source.byteLength < header.length) return false;
  for await (const { start, bytes } of pieces(source, 0, header.length)) {
    if (bytes.some((byte, i) => byte !== header[start + i])) return false;
  }
  return true;
}

async function isZero(source: Source, start: number, end: number): Promise<boolean> {
  if (end > source.byteLength) return false;
  return new Uint8Array(await source.slice(start, end)).every((byte) => byte === 0);
}

async function* pieces(source: Source, start: number, end: number) {
  for (let from = start; from < end; from += READ_BYTES) {
    yield { start: from, bytes: new Uint8Array(await source.slice(from, Math.min(from + READ_BYTES, end))) };
  }
}
