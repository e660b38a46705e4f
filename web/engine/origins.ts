// Where models come from, as folders of the library.

import type { Keeper } from './kept.ts';
import { blobSource, directoryFolder, type Folder, folderOf, urlSource } from './library.ts';
import type { DemoFolder, Origin } from './protocol.ts';

const DEMO_FILES = 'model.safetensors config.json generation_config.json tokenizer.json tokenizer_config.json'.split(
  ' ',
);

/** An origin that is open. */
export interface Opened {
  readonly folder: Folder;
  /** What people call it, and what the command line would be given. */
  readonly name: string;
  /** Tells its content from others. */
  readonly identity: string;
  /** What to open to have it again, if that can be said. */
  readonly source: string | undefined;
}

/** Opens what was dropped, picked, named or kept. */
export async function openOrigin(origin: Origin, keeper: Keeper, signal: AbortSignal): Promise<Opened> {
  switch (origin.kind) {
    case 'demo':
      return { folder: await demoFolder(origin.folder, signal), name: 'books-llama', identity: 'demo', source: 'demo' };
    case 'files':
      return {
        folder: folderOf(
          stem(origin.name),
          new Map(named(origin.files).map(([name, file]) => [name, blobSource(file)])),
        ),
        name: origin.name,
        identity: identityOf(origin.files),
        source: undefined,
      };
    case 'directory': {
      const folder = directoryFolder(origin.handle as Parameters<typeof directoryFolder>[0]);
      const files = await Promise.all(
        (await folder.list()).map(async (name) => (await origin.handle.getFileHandle(name)).getFile()),
      );
      return { folder, name: origin.handle.name, identity: identityOf(files), source: undefined };
    }
    case 'name': {
      const { openHub } = await import('../../src/hub/hub.ts');
      const { name, token } = origin;
      const folder = await openHub(name, { signal, ...(token && { token }) });
      return { folder, name, identity: folder.name, source: name };
    }
    case 'kept':
      return {
        folder: await keeper.folder(origin.id),
        name: origin.id,
        identity: `kept ${origin.id}`,
        source: undefined,
      };
  }
}

async function demoFolder(folder: DemoFolder, signal: AbortSignal): Promise<Folder> {
  const base = new URL(`${folder}/`, import.meta.url);
  const sources = DEMO_FILES.map(async (name) => [name, await urlSource(new URL(name, base), { signal })] as const);
  return folderOf('books-llama', new Map(await Promise.all(sources)));
}

// One file of weights alone counts as model.safetensors, whatever it is called.
function named(files: readonly File[]): [string, File][] {
  const weights = files.filter(({ name }) => name.endsWith('.safetensors'));
  return files.map((file) => [weights.length === 1 && file === weights[0] ? 'model.safetensors' : file.name, file]);
}

const stem = (name: string): string => name.replace(/\.(safetensors|gguf)$/, '');

const identityOf = (files: readonly File[]): string =>
  files
    .map(({ name, size, lastModified }) => `${name} ${size} ${lastModified}`)
    .sort()
    .join('\n');
