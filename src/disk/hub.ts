// The hub as the command line reads it: settings from the environment, as its Python client has them, and the cache that both share.
// What is in the cache is read there; the rest streams from the hub and is forgotten.

import { createHash } from 'node:crypto';
import { readFile, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { siblingsOf } from '../checkpoint/gguf/parts.ts';
import { FileError } from '../errors.ts';
import type { HubFile } from '../hub/client.ts';
import { type HubName, nameText, readName } from '../hub/name.ts';
import type { HubFolder, HubMeans } from '../hub/remote.ts';
import { openFolder } from '../source/file.ts';
import { tokenOf, urlOf } from '../source/http.ts';
import { readOnce } from '../source/once.ts';
import type { Folder, Source } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import { say } from '../terminal/print.ts';
import { cachedCommit, cachedFile, keptPath, snapshotPath } from './cache.ts';
import { isAbsent } from './commit.ts';

/** The environment's variables. */
type Environment = Readonly<Record<string, string | undefined>>;

/** What the environment says of the hub. */
export interface HubSettings {
  /** The hub's address, if it is not the usual one. */
  readonly endpoint: string | undefined;
  /** The token that is sent to the hub alone. */
  readonly token: string | undefined;
  /** The directory that holds models--org--name. */
  readonly cache: string;
  /** Whether nothing is to be asked for. */
  readonly isOffline: boolean;
}

/** The settings as huggingface_hub reads them. @throws {FileError} when the token's file cannot be read */
export async function hubSettings(env: Environment = process.env): Promise<HubSettings> {
  const home = pathOf(env, 'HF_HOME') ?? join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface');
  const isHidden = isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN);
  return {
    endpoint: env.HF_ENDPOINT?.replace(/\/+$/, '') || undefined,
    token: isHidden ? undefined : await tokenIn(env, pathOf(env, 'HF_TOKEN_PATH') ?? join(home, 'token')),
    cache: pathOf(env, 'HF_HUB_CACHE') ?? pathOf(env, 'HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'),
    isOffline: isTrue(env.HF_HUB_OFFLINE) || isTrue(env.TRANSFORMERS_OFFLINE),
  };
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');

// A path with ~ and $NAME in it, as shells and the Python client read it.
function pathOf(env: Environment, name: string): string | undefined {
  const value = env[name];
  return value
    ?.replace(/^~(?=\/|$)/, homedir())
    .replace(/\$(\w+)|\$\{(\w+)\}/g, (whole, plain, braced) => env[plain ?? braced] ?? whole);
}

async function tokenIn(env: Environment, path: string): Promise<string | undefined> {
  const given = (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN)?.trim();
  if (given) return given;
  const content = await attempt('read', path, () =>
    readFile(path, 'utf8').catch((error) => {
      if (isAbsent(error)) return '';
      throw error;
    }),
  );
  return content.trim() || undefined;
}

/** What a name of the hub stands for, open. */
interface HubInput {
  folder: Folder & { close(): Promise<void> };
  /** The name, with no more than a name has. */
  path: string;
  isFile: boolean;
  /** Tells it from another commit. */
  identity: string;
  /** Real paths of what is read from the disk. */
  files(): Promise<string[]>;
  /** Where what is measured of it is kept. */
  directory: string;
}

/** The means of the command line: settings, Node's own SHA-256. @throws {RangeError} when endpoint or token cannot be sent */
export function meansOf({ endpoint, token }: HubSettings): HubMeans {
  return {
    ...(endpoint !== undefined && { endpoint: urlOf('HF_ENDPOINT', endpoint) }),
    ...(token !== undefined && { token: tokenOf('token of HF_TOKEN or its file', token) }),
    digest: () => createHash('sha256'),
  };
}

/**
 * Opens what a name of the hub or an address stands for.
 * @throws {FileError} when the hub refuses, or is away or not to be asked, and the cache has no copy
 */
export async function openHubInput(text: string): Promise<HubInput> {
  const settings = await hubSettings();
  const { openRemote } = await import('../hub/remote.ts');
  const model = readName(text);
  const here = model && (await cachedCommit(settings.cache, model));
  if (settings.isOffline) {
    if (model && here) return cachedInput(settings, model, here);
    throw new FileError('read', text, undefined, 'HF_HUB_OFFLINE is set, and the cache has no copy');
  }
  const opened = new Map<string, Promise<Awaited<ReturnType<typeof openFolder>>>>();
  const local = async (commit: string, { path, byteLength }: HubFile): Promise<Source | undefined> => {
    if (!model) return undefined;
    const cached = await cachedFile(settings.cache, model, commit, path, byteLength);
    if (!cached) return undefined;
    const folder = opened.get(cached.folder) ?? openFolder(cached.folder);
    opened.set(cached.folder, folder);
    return (await folder).open(cached.name);
  };
  const closeAll = async () => {
    for (const folder of opened.values()) await (await folder).close();
  };
  try {
    const folder = await openRemote(text, { ...meansOf(settings), local, ...(here && { attempts: 1 }) });
    const isModel = 'commit' in folder;
    const read = isModel ? telling(folder, opened) : folder;
    const identity = JSON.stringify(isModel ? [nameText(folder.model), folder.commit] : [folder.name]);
    return {
      folder: Object.assign(readOnce(read), { close: closeAll }),
      path: folder.name,
      isFile: isWeightsAlone(model),
      identity,
      files: async () => Promise.all([...opened.keys()].map((path) => realpath(path))),
      directory: keptPath(isModel ? nameText(folder.model) : folder.name),
    };
  } catch (error) {
    await closeAll();
    const isAway = error instanceof FileError && (error.code === undefined || Number(error.code) >= 500);
    if (!model || !here || !isAway) throw error;
    say(`${error.message}; using the copy in the cache`);
    return cachedInput(settings, model, here);
  }
}

// A file of safetensors has no configuration beside it; one in GGUF has all in it.
const isWeightsAlone = (name: HubName | undefined): boolean => name?.file?.endsWith('.safetensors') === true;

// The folder; at its end it says of which files the SHA-256 was checked. Not of one that is gone on with: its first bytes were read before.
function telling(folder: HubFolder, opened: ReadonlyMap<string, Promise<{ unchanged(): Promise<void> }>>): Folder {
  return {
    ...folder,
    async unchanged() {
      for (const each of opened.values()) await (await each).unchanged();
      const checked = folder.checked();
      const left = [...checked].filter(([, isChecked]) => !isChecked).map(([name]) => name);
      const count = checked.size - left.length;
      const of = `of ${folder.name} at commit ${folder.commit.slice(0, 12)}`;
      if (count > 0) say(`the SHA-256 of ${count === 1 ? 'one file' : `${count} files`} ${of} is right`);
      if (left.length > 0)
        say(`the SHA-256 of ${left.join(', ')} ${of} was not checked: not all bytes were read, or not in order`);
    },
  };
}

// A snapshot of the cache, with no word to the hub.
async function cachedInput({ cache }: HubSettings, model: HubName, commit: string): Promise<HubInput> {
  const path = snapshotPath(cache, model, commit, model.folder);
  const { close, ...snapshot } = await openFolder(path);
  const { file } = model;
  const one =
    file === undefined
      ? snapshot
      : { ...snapshot, list: async () => (await snapshot.list()).filter((name) => siblingsOf(file).includes(name)) };
  return {
    folder: Object.assign(readOnce(one), { close }),
    path: nameText(model),
    isFile: isWeightsAlone(model),
    identity: JSON.stringify([nameText(model), commit]),
    files: async () => [await realpath(path)],
    directory: keptPath(nameText(model)),
  };
}
