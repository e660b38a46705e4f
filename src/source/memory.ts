// Sources, folders and sinks in memory: for pages, tests and buffers that are already here.

import { bytesOf, having, integer, member, recordOf, text } from '../check.ts';
import { closed, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { givenSource, spanOf } from './given.ts';
import type { Folder, Sink, Source } from './source.ts';

/** Most files of a folder in memory: some fifty times those of the largest checkpoints. */
const FILES_LIMIT = 1 << 16;
const given = recordOf((_, value) => value, FILES_LIMIT);

/**
 * A folder of given sources.
 * @param name names it in messages
 * @param files by file name; an ArrayBuffer is a source as it stands
 * @throws {TypeError} when a file is no source
 * @example
 * const checkpoint = await higgs.open(folderOf('memory', { 'model.safetensors': bytes.buffer }));
 */
export function folderOf(name: string, files: Readonly<Record<string, Source>> | ReadonlyMap<string, Source>): Folder {
  text('name', name);
  const sources = new Map<string, Source>();
  for (const [file, source] of given('files', files)) {
    givenSource(`files[${show(file)}]`, source, file);
    sources.set(file, source as Source);
  }
  return {
    name,
    list: async () => [...sources.keys()].sort(),
    open: async (file) => {
      const source = sources.get(text('name', file));
      if (source === undefined)
        throw new FormatError(`folder must have the file ${show(file)}: it is missing`, { file: name });
      return source;
    },
  };
}

/**
 * A sink that keeps what is written; `bytes()` gives a copy of it, joined.
 * @example
 * const sink = memorySink();
 * await sink.write(new Uint8Array([1, 2, 3]));
 * await sink.close();
 * console.log(sink.bytes().length); // 3
 */
export function memorySink(): Sink & { bytes(): Uint8Array<ArrayBuffer> } {
  const pieces: Uint8Array[] = [];
  let byteLength = 0;
  let open = true;
  return {
    write: async (bytes) => {
      if (!open) throw closed('sink');
      const piece = new Uint8Array(bytesOf('bytes', bytes));
      pieces.push(piece);
      byteLength += piece.byteLength;
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
      let filled = 0;
      for (const piece of pieces) {
        joined.set(piece, filled);
        filled += piece.byteLength;
      }
      return joined;
    },
  };
}

const sliced = having<Blob>('a Blob', ['slice', 'arrayBuffer']);

/** What workers read a Blob with at once; pages have none. */
declare const FileReaderSync: (new () => { readAsArrayBuffer(blob: Blob): ArrayBuffer }) | undefined;

/**
 * A Blob, or a page's File, as a source; in a worker of a browser it can be read at once, too.
 * @throws {TypeError} when it is none
 * @example
 * const folder = folderOf('picked', { 'model.safetensors': blobSource(input.files[0]) });
 */
export function blobSource(blob: Blob): Source {
  const byteLength = integer(0)('size of blob', member('blob', sliced('blob', blob), 'size'));
  const part = (start: number, end: number) => blob.slice(...spanOf(start, end, byteLength, 'blob'));
  const Reader = typeof FileReaderSync === 'undefined' ? undefined : FileReaderSync;
  return {
    byteLength,
    slice: async (start, end) => part(start, end).arrayBuffer(),
    ...(Reader && { sliceSync: (start, end) => new Reader().readAsArrayBuffer(part(start, end)) }),
  };
}
