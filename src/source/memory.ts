// Sources, folders and sinks in memory: for pages, tests and buffers that are already here.

import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import type { Folder, Sink, Source } from './source.ts';

/**
 * A folder of given sources.
 * @param name names it in messages
 * @param files by file name; an ArrayBuffer is a source as it stands
 */
export function folderOf(name: string, files: Readonly<Record<string, Source>> | ReadonlyMap<string, Source>): Folder {
  const sources = new Map(files instanceof Map ? files : Object.entries(files as Record<string, Source>));
  return {
    name,
    list: async () => [...sources.keys()].sort(),
    open: async (file) => {
      const source = sources.get(file);
      if (source === undefined)
        throw new FormatError(`folder must have the file ${show(file)}: it has not`, { file: name });
      return source;
    },
  };
}

/** A sink that keeps what is written; `bytes()` gives a copy of it, joined. */
export function memorySink(): Sink & { bytes(): Uint8Array<ArrayBuffer> } {
  const pieces: Uint8Array[] = [];
  let byteLength = 0;
  let open = true;
  return {
    write: async (bytes) => {
      if (!open) throw new Error('sink must be open to write: it is closed');
      pieces.push(bytes.slice());
      byteLength += bytes.byteLength;
    },
    close: async () => {
      open = false;
    },
    abort: async () => {
      open = false;
      pieces.length = byteLength = 0;
    },
    bytes: () => {
      const joined = new Uint8Array(byteLength);
      let at = 0;
      for (const piece of pieces) {
        joined.set(piece, at);
        at += piece.byteLength;
      }
      return joined;
    },
  };
}

/** A Blob, or a page's File, as a source. */
export function blobSource(blob: Blob): Source {
  return { byteLength: blob.size, slice: (start, end) => blob.slice(start, end).arrayBuffer() };
}
