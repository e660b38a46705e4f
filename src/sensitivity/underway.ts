// The sequence under way, kept between two blocks, so that a run that was interrupted goes on from there. Of a large model a sequence takes
// minutes. One file has what the rest of it needs, and is written anew when an abort ends the run, or a minute after the last time:
//
//   bytes of the line, u64 · a sealed line (source/lines.ts): {"higgs.sequence":2,"key":…,"sequence":3,"block":7,…,"crc":…} · f32
//
//   forward, before block 7:   the residual streams before blocks 0 to 7
//   back, after block 7:       the streams before blocks 0 to 6 · gradients of the stream · what the embeddings' gradients need

import { having, type Reader, text } from '../check.ts';
import { readSealed, sealLine } from '../source/lines.ts';
import type { Sink, Source } from '../source/source.ts';
import { isRecord } from '../text/files.ts';
import { savedAt, tailOf } from './program/measuring.ts';
import type { Session } from './session.ts';

const VERSION = 2;
/** Milliseconds of work that a crash may cost. */
const KEEP_AFTER = 60_000;
/** Bytes that are written at a time: threads may share the memory, and sinks may not take it. */
const CHUNK_BYTES = 1 << 22;

/** One file that is replaced whole. */
export interface ReplacedFile {
  /** For messages. */
  readonly name: string;
  /** The file as it was kept last; undefined where there is none. */
  open(): Promise<Source | undefined>;
  /** Starts the next file: when it is closed it takes the place of that which `open` gives. */
  create(): Promise<Sink>;
}

const replaced = having<ReplacedFile>('a file that is replaced', ['open', 'create']);

/** A file as a caller gives it. */
export const givenReplaced: Reader<ReplacedFile> = (subject, value) => {
  const file = replaced(subject, value);
  text(`name of ${subject}`, file.name);
  return file;
};

/** How far a sequence is. */
export interface Whereabouts {
  /** Which sequence. */
  readonly sequence: number;
  /** Blocks that it has gone through; on its way back, blocks that it has yet to go through. */
  block: number;
  /** Whether gradients are on their way back. */
  goesBack: boolean;
  /** Traces of the blocks behind, then those of the head and the mean −ln p, once it goes back. */
  found: readonly number[];
}

/** Keeps the sequence at work between two blocks. */
export interface Underway {
  /** Puts a sequence back as it was kept, if it was: it is embedded already. */
  restore(sequence: number): Promise<Whereabouts | undefined>;
  /** Keeps it, unless that was done a short time ago. */
  note(place: Whereabouts): Promise<void>;
  /** Keeps it. A file that cannot be written is no reason to end: nothing is kept from then on. */
  keep(place: Whereabouts): Promise<void>;
}

/**
 * @param key model and settings: what is kept of others counts as nothing
 * @param onKept called when something is kept
 * @returns undefined where blocks hand one another more than the residual stream
 */
export function openUnderway(
  { measuring, place: memory }: Session,
  file: ReplacedFile,
  key: string,
  onKept: () => void,
): Underway | undefined {
  const { state, workspace, floats } = measuring;
  if (state.perLayerInputs || state.blocks.some((block) => 'borrows' in block && block.borrows)) return undefined;
  const { kernels, buffer, layout } = memory;
  const blocks = state.blocks.length;
  const stream = workspace.tokens * state.dim;
  let last = performance.now();
  let isBroken = false;

  const regionsOf = ({ block, goesBack }: Pick<Whereabouts, 'block' | 'goesBack'>) => [
    { address: savedAt(measuring, 0), floats: (goesBack ? block : block + 1) * stream },
    ...(goesBack ? tailOf(measuring) : []),
  ];
  const checksum = (place: Pick<Whereabouts, 'block' | 'goesBack'>): number => {
    kernels.crc32Table(layout.staging.address);
    let crc = 0;
    for (const region of regionsOf(place))
      crc = kernels.crc32(crc, region.address, region.floats * 4, layout.staging.address);
    return crc >>> 0;
  };

  // What the line says, if it is of this run and holds.
  function readPlace(line: Uint8Array, sequence: number): (Whereabouts & { readonly crc: number }) | undefined {
    const value = readSealed(line)[0]?.value;
    if (!isRecord(value) || value['higgs.sequence'] !== VERSION) return undefined;
    const { block, goesBack, found, crc } = value;
    const isOurs = value.key === key && value.sequence === sequence && typeof goesBack === 'boolean';
    const isPlace = Number.isInteger(block) && Number(block) >= 0 && Number(block) <= blocks;
    const isNumbers = Array.isArray(found) && found.every((number) => typeof number === 'number');
    if (!isOurs || !isPlace || !isNumbers || typeof crc !== 'number') return undefined;
    return { sequence, block: Number(block), goesBack, found: found as number[], crc };
  }

  async function write(sink: Sink, place: Whereabouts): Promise<void> {
    const { bytes: line } = sealLine({ 'higgs.sequence': VERSION, key, ...place, crc: checksum(place) });
    await sink.write(new Uint8Array(BigUint64Array.of(BigInt(line.length)).buffer));
    await sink.write(line);
    for (const { address, floats: count } of regionsOf(place)) {
      for (let start = 0; start < count * 4; start += CHUNK_BYTES) {
        await sink.write(new Uint8Array(buffer, address + start, Math.min(CHUNK_BYTES, count * 4 - start)).slice());
      }
    }
    await sink.close();
  }

  async function keep(place: Whereabouts): Promise<void> {
    if (isBroken) return;
    if (!place.goesBack && place.block < blocks) {
      floats.copyWithin(savedAt(measuring, place.block) / 4, state.x / 4, state.x / 4 + stream);
    }
    try {
      const sink = await file.create();
      await write(sink, place).catch(async (error) => {
        await sink.abort(error);
        throw error;
      });
    } catch {
      isBroken = true;
      return;
    }
    last = performance.now();
    onKept();
  }

  return {
    keep,
    async restore(sequence) {
      last = performance.now();
      const source = await file.open();
      if (!source || source.byteLength < 8) return undefined;
      const length = Number(new DataView(await source.slice(0, 8)).getBigUint64(0, true));
      if (length > source.byteLength - 8) return undefined;
      const read = readPlace(new Uint8Array(await source.slice(8, 8 + length)), sequence);
      if (!read) return undefined;
      const { crc, ...place } = read;
      const regions = regionsOf(place);
      const bytes = regions.reduce((sum, region) => sum + region.floats * 4, 0);
      if (source.byteLength !== 8 + length + bytes) return undefined;
      let offset = 8 + length;
      for (const { address, floats: count } of regions) {
        for (let start = 0; start < count * 4; start += CHUNK_BYTES) {
          const some = Math.min(CHUNK_BYTES, count * 4 - start);
          new Uint8Array(buffer, address + start).set(new Uint8Array(await source.slice(offset, offset + some)));
          offset += some;
        }
      }
      if (checksum(place) !== crc) return undefined;
      const from = savedAt(measuring, place.block) / 4;
      if (!place.goesBack) floats.copyWithin(state.x / 4, from, from + stream);
      return place;
    },
    async note(place) {
      if (performance.now() - last > KEEP_AFTER) await keep(place);
    },
  };
}
