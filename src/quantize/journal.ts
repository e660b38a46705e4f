// The journal of a run: a line for each tensor that is safely written, so that an interrupted run can be gone on with.
// Lines of JSON: first {"identity": …}, then one entry a tensor, in the order of the plan. It is removed with success.

import { FormatError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { ResumableFolder } from '../source/source.ts';
import type { Plan, PlannedShard } from './plan.ts';

export const JOURNAL_NAME = 'higgs.journal';
const READ_BYTES = 4 << 20;

export interface JournalEntry {
  /** CRC-32 of each tensor that the item became. */
  checksums: number[];
  /** Squared error and squared norm of a quantized weight. */
  sums?: [error: number, norm: number];
}

export interface Journal {
  /** What an earlier run wrote of a shard, from its start and without a gap. */
  done(shard: PlannedShard): readonly JournalEntry[];
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens the journal in `folder`, or starts one. Everything it says was written is read again and checked.
 * @throws {FormatError} when the journal is of another plan or another `identity`
 */
export async function openJournal(
  folder: ResumableFolder,
  plan: Plan,
  kernels: Kernels,
  identity: string,
): Promise<Journal> {
  const layout = plan.shards.reduce((crc, { header }) => kernels.crc32(crc, header), 0);
  const opening = JSON.stringify({ identity, layout });
  const done = new Map<PlannedShard, JournalEntry[]>();
  let lines = [opening];
  if ((await folder.list()).includes(JOURNAL_NAME)) {
    const source = await folder.open(JOURNAL_NAME);
    const found = new TextDecoder().decode(await source.slice(0, source.byteLength)).split('\n');
    if (found[0] !== '' && found[0] !== opening) {
      throw new FormatError('an interrupted run had other options or another input: start again with --force', {
        file: `${folder.name}/${JOURNAL_NAME}`,
      });
    }
    lines = [opening, ...(await check(found.slice(1), folder, plan, kernels, done))];
  }
  // The journal is written anew with the entries that hold: a line that an interruption cut short goes.
  const sink = await folder.create(JOURNAL_NAME);
  const encoder = new TextEncoder();
  await sink.write(encoder.encode(`${lines.join('\n')}\n`));
  return {
    done: (shard) => done.get(shard) ?? [],
    append: (entry) => sink.write(encoder.encode(`${JSON.stringify(entry)}\n`)),
    close: () => sink.close(),
  };
}

// Fills `done` with the entries whose data is as it was written, up to the first that is not. Returns their lines.
async function check(
  lines: readonly string[],
  folder: ResumableFolder,
  plan: Plan,
  kernels: Kernels,
  done: Map<PlannedShard, JournalEntry[]>,
): Promise<string[]> {
  const present = new Set(await folder.list());
  const kept: string[] = [];
  for (const shard of plan.shards) {
    const entries: JournalEntry[] = [];
    done.set(shard, entries);
    if (!present.has(shard.fileName)) return kept;
    const source = await folder.open(shard.fileName);
    const specs = shard.entries.filter(({ padding }) => !padding);
    for (let next = 0; entries.length < shard.items.length; ) {
      const entry = parseEntry(lines[kept.length]);
      if (!entry) return kept;
      for (const expected of entry.checksums) {
        const { start, spec } = specs[next++];
        if (start + spec.byteLength > source.byteLength) return kept;
        let crc = 0;
        for (let at = start; at < start + spec.byteLength; at += READ_BYTES) {
          const end = Math.min(at + READ_BYTES, start + spec.byteLength);
          crc = kernels.crc32(crc, new Uint8Array(await source.slice(at, end)));
        }
        if (crc !== expected) return kept;
      }
      entries.push(entry);
      kept.push(lines[kept.length]);
    }
  }
  return kept;
}

function parseEntry(line: string | undefined): JournalEntry | undefined {
  try {
    const entry = JSON.parse(line ?? '') as JournalEntry;
    return Array.isArray(entry.checksums) ? entry : undefined;
  } catch {
    return undefined; // cut short
  }
}
