// A folder that is read once: one listing, one opening of each file, one reading of each small one. On a server each of these is a
// request, of a file that may change between two.

import type { Folder, Source } from './source.ts';

/** Largest file, in bytes, whose content is kept: configurations; tokenizers and weights have one reader. */
const KEPT_BYTES = 1 << 20;

// Each bundle of the package has a registry of its own: such a folder is known by a mark.
const MARK = Symbol.for('higgs-wasm folder, read once');

/** Whether a folder is one of `readOnce`. */
export const isOnce = (folder: object): boolean => MARK in folder;

/** The folder, read once; of one that is so already nothing new is made. */
export function readOnce(folder: Folder): Folder {
  if (isOnce(folder)) return folder;
  let names: Promise<string[]> | undefined;
  const sources = new Map<string, Promise<Source>>();
  const once: Folder = {
    name: folder.name,
    async list() {
      names ??= folder.list();
      return [...(await orForget(names, () => (names = undefined)))];
    },
    open(name) {
      let source = sources.get(name);
      if (!source) {
        source = orForget(folder.open(name).then(keepSmall), () => sources.delete(name));
        sources.set(name, source);
      }
      return source;
    },
    ...(folder.unchanged && { unchanged: () => folder.unchanged!() }),
  };
  return Object.defineProperty(once, MARK, { value: true });
}

function keepSmall(source: Source): Source {
  const { byteLength } = source;
  if (byteLength > KEPT_BYTES) return source;
  let content: Promise<ArrayBuffer> | undefined;
  return {
    byteLength,
    ...(source.sliceSync && { sliceSync: (start, end, spare) => source.sliceSync!(start, end, spare) }),
    ...(source.sliceInto && { sliceInto: (start, end, to) => source.sliceInto!(start, end, to) }),
    ...(source.sliceIntoLater && { sliceIntoLater: (start, end, to) => source.sliceIntoLater!(start, end, to) }),
    ...(source.prefetch && { prefetch: (start, end) => source.prefetch!(start, end) }),
    async slice(start, end, spare) {
      if (start !== 0 || end !== byteLength) return source.slice(start, end, spare);
      content ??= orForget(Promise.resolve(source.slice(0, byteLength)), () => (content = undefined));
      return (await content).slice(0); // the buffer becomes the reader's
    },
  };
}

// What fails is asked for again the next time: a server may have been away for a moment.
function orForget<T>(result: Promise<T>, forget: () => void): Promise<T> {
  return result.catch((error) => {
    forget();
    throw error;
  });
}
