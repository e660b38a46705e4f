// Files in memory that are written, then read once: what has been read is dropped. So a copy of a checkpoint passes from who makes it
// to who loads it, and takes its room once.

import { closed, FormatError, StateError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Folder, OutputFolder, Sink, Source } from './source.ts';

/** Pieces of fewer bytes stay: headers and sums are read more than once. */
const KEPT_BYTES = 1 << 16;

interface Piece {
  readonly start: number;
  readonly byteLength: number;
  /** Bytes that are still to be read. */
  left: number;
  bytes: Uint8Array<ArrayBuffer> | undefined;
}

/** A place to write to, and the folder of what was written. The first piece of each file stays: a header. */
export function passingFolder(name: string): { output: OutputFolder; folder: Folder } {
  const files = new Map<string, Piece[]>();
  return {
    output: {
      create: async (file) => {
        const pieces: Piece[] = [];
        files.set(file, pieces);
        return sinkOf(pieces);
      },
    },
    folder: {
      name,
      list: async () => [...files.keys()].sort(),
      open: async (file) => {
        const pieces = files.get(file);
        if (pieces) return sourceOf(pieces, `${name}/${file}`);
        throw new FormatError(`folder must have the file ${show(file)}: it has not`, { file: name });
      },
    },
  };
}

function sinkOf(pieces: Piece[]): Sink {
  let open = true;
  return {
    async write(bytes) {
      if (!open) throw closed('sink');
      if (bytes.length === 0) return;
      const { byteLength } = bytes;
      pieces.push({ start: lengthOf(pieces), byteLength, left: byteLength, bytes: new Uint8Array(bytes) });
    },
    async close() {
      open = false;
    },
    async abort() {
      open = false;
      pieces.length = 0;
    },
  };
}

function sourceOf(pieces: Piece[], file: string): Source {
  return {
    byteLength: lengthOf(pieces),
    slice(start, end) {
      const found = new Uint8Array(end - start);
      for (let i = placeOf(pieces, start); i < pieces.length && pieces[i].start < end; i++) {
        const piece = pieces[i];
        if (!piece.bytes) throw new StateError(`${file} must be read once: it was read before`);
        const from = Math.max(start, piece.start);
        const to = Math.min(end, piece.start + piece.byteLength);
        found.set(piece.bytes.subarray(from - piece.start, to - piece.start), from - start);
        piece.left -= to - from;
        if (piece.left <= 0 && i > 0 && piece.byteLength >= KEPT_BYTES) piece.bytes = undefined;
      }
      return found.buffer;
    },
  };
}

function lengthOf(pieces: readonly Piece[]): number {
  const last = pieces.at(-1);
  return last ? last.start + last.byteLength : 0;
}

// The piece that holds a byte.
function placeOf(pieces: readonly Piece[], at: number): number {
  let [low, high] = [0, pieces.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (pieces[middle].start <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}
