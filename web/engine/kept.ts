// Models that the page keeps, in the origin's private file system (OPFS): models/<id>/ has the files of each, notes/<id> what was asked for.
// Where a browser gives none, as in private windows of Safari, results stay in memory, and sensitivities are not kept.

import {
  blobSource,
  directoryFolder,
  folderOf,
  memorySink,
  type ResumableFolder,
  type Sink,
  type Store,
} from './library.ts';
import type { KeptModel } from './protocol.ts';
import { DEFAULT_RECIPE } from './recipe.ts';

/** What is noted of a model. */
export type Note = Omit<KeptModel, 'bytes'> & { readonly identity: string };

/** Of a model whose note cannot be read: a tab may have ended while it was written. */
const unreadable = (id: string): Note => ({
  ...{ id, name: id, recipe: DEFAULT_RECIPE, isMeasured: false },
  ...{ outcome: undefined, source: undefined, identity: '' },
});

export interface Keeper {
  readonly isKeeping: boolean;
  list(): Promise<(Note & { bytes: number })[]>;
  note(id: string): Promise<Note | undefined>;
  write(note: Note): Promise<void>;
  remove(id: string): Promise<void>;
  /** The folder of a model, made if it is not there. */
  folder(id: string): Promise<ResumableFolder>;
  files(id: string): Promise<File[]>;
  /** Works on a model's files while no other tab does. @throws where one does */
  alone<T>(id: string, work: () => Promise<T>): Promise<T>;
  /** Where the sensitivities of a model are kept. */
  store(key: string): Promise<Store | undefined>;
}

/** Opens what this browser has. */
export async function openKeeper(): Promise<Keeper> {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = directoryFolder(root as Parameters<typeof directoryFolder>[0]);
    const probe = `probe-${crypto.randomUUID()}`; // of this tab alone: another may begin at the same time
    await (await folder.create(probe)).close();
    await folder.remove(probe);
    return keeperIn(root);
  } catch {
    return keeperInMemory();
  }
}

type Directory = FileSystemDirectoryHandle & { values(): AsyncIterable<FileSystemHandle> };

function keeperIn(root: FileSystemDirectoryHandle): Keeper {
  const within = async (...path: string[]) => {
    let directory = root as Directory;
    for (const name of path) directory = (await directory.getDirectoryHandle(name, { create: true })) as Directory;
    return directory;
  };
  const folder = async (...path: string[]) => directoryFolder(await within(...path));
  const files = async (id: string) => {
    const entries: File[] = [];
    for await (const entry of (await within('models', id)).values())
      if (entry.kind === 'file') entries.push(await (entry as FileSystemFileHandle).getFile());
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  };
  const note = async (id: string): Promise<Note | undefined> => {
    const text = await textIn(await folder('notes'), id);
    return text === undefined ? undefined : JSON.parse(text);
  };
  return {
    isKeeping: true,
    note,
    files,
    folder: (id) => folder('models', id),
    async list() {
      const models: (Note & { bytes: number })[] = [];
      for await (const { name } of (await within('models')).values()) {
        const written = (await note(name).catch(() => undefined)) ?? unreadable(name);
        const bytes = (await files(name)).reduce((sum, { size }) => sum + size, 0);
        models.push({ ...written, bytes });
      }
      return models.sort((a, b) => (a.id < b.id ? -1 : 1));
    },
    write: async (changed) => writeText(await folder('notes'), changed.id, JSON.stringify(changed)),
    alone: aloneAmongTabs,
    async remove(id) {
      await (await within('models')).removeEntry(id, { recursive: true }).catch(({ name }: DOMException) => {
        if (name !== 'NotFoundError') throw new Error(`${id} cannot be deleted: it is in use (${name})`);
      });
      await (await folder('notes')).remove(id);
    },
    async store(key) {
      const directory = await folder('sensitivities', key);
      return {
        name: key,
        read: (name) => textIn(directory, name),
        write: (name, content) => writeText(directory, name, content),
        remove: (name) => directory.remove(name),
      };
    },
  };
}

// A lock ends with its tab, even if that crashes.
async function aloneAmongTabs<T>(id: string, work: () => Promise<T>): Promise<T> {
  return navigator.locks.request(`higgs model ${id}`, { ifAvailable: true }, (lock) => {
    if (!lock) throw new Error(`${id} is being written in another tab: stop it there, or wait until it is done`);
    return work();
  });
}

async function textIn(folder: ResumableFolder, name: string): Promise<string | undefined> {
  if (!(await folder.list()).includes(name)) return undefined;
  const source = await folder.open(name);
  return new TextDecoder().decode(await source.slice(0, source.byteLength));
}

async function writeText(folder: ResumableFolder, name: string, text: string): Promise<void> {
  const sink = await folder.create(name);
  await sink.write(new TextEncoder().encode(text));
  await sink.close();
}

function keeperInMemory(): Keeper {
  const models = new Map<string, Map<string, ReturnType<typeof memorySink>>>();
  const notes = new Map<string, Note>();
  const blobs = (id: string) =>
    [...(models.get(id) ?? [])].map(([name, sink]): [string, File] => [name, new File([sink.bytes()], name)]);
  const files = async (id: string) => blobs(id).map(([, file]) => file);
  return {
    isKeeping: false,
    note: async (id) => notes.get(id),
    files,
    async list() {
      const size = async (id: string) => (await files(id)).reduce((sum, file) => sum + file.size, 0);
      return Promise.all([...notes.values()].map(async (note) => ({ ...note, bytes: await size(note.id) })));
    },
    async write(note) {
      notes.set(note.id, note);
    },
    async remove(id) {
      notes.delete(id);
      models.delete(id);
    },
    async folder(id) {
      const sinks = models.get(id) ?? new Map<string, ReturnType<typeof memorySink>>();
      models.set(id, sinks);
      const read = () => folderOf(id, new Map(blobs(id).map(([name, file]) => [name, blobSource(file)])));
      const create = async (name: string): Promise<Sink> => {
        const sink = memorySink();
        sinks.set(name, sink);
        return sink;
      };
      return {
        name: id,
        list: async () => [...sinks.keys()].sort(),
        open: (name) => read().open(name),
        create,
        extend: async (name, byteLength) => {
          const before = sinks.get(name)?.bytes().subarray(0, byteLength);
          const sink = await create(name);
          if (before) await sink.write(before);
          return sink;
        },
        remove: async (name) => {
          sinks.delete(name);
        },
      };
    },
    alone: (_, work) => work(),
    store: async () => undefined,
  };
}
