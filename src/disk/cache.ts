// What models are on this machine: the hub's cache, which its Python client shares, and a home of our own.
//   <cache>/models--org--name/blobs/<digest>                      the bytes, by SHA-256 or git's SHA-1
//                            /snapshots/<commit>/config.json       links to them
//                            /refs/main                            the commit that a revision was when it was last asked for
//   <home>/models/<name>/                                          quantized models that a verb made by itself
//   <home>/kept/<name>/                                            sensitivities of models that are elsewhere

import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { FileError } from '../errors.ts';
import { type HubName, isPlainPart } from '../hub/name.ts';
import { attempt } from '../source/system.ts';
import { isAbsent } from './commit.ts';

const REPO = /^models--(.+)$/;

/** Where verbs keep what they make by themselves: HIGGS_HOME, or `higgs` in the user's cache. */
function higgsHome(env: Readonly<Record<string, string | undefined>> = process.env): string {
  return env.HIGGS_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'higgs');
}

/** The directory of quantized models that verbs make by themselves. */
export const quantizedHome = (): string => join(higgsHome(), 'models');

/** Where a quantized model is that a verb makes by itself. @param name the original's @param size in words, such as `4bit` */
export const quantizedPath = (name: string, size: string): string =>
  join(quantizedHome(), `${directoryName(name)}--${size}`);

/** How sizes are written in the names of quantized models: `4bit`, `bpw3.25`, `700000000B`. */
const SIZE = /^(\d+bit|bpw[\d.]+|\d+B)$/;

/** The quantized models that verbs made of an original, the newest first. @param name the original's */
export async function quantizedOf(name: string): Promise<{ readonly path: string; readonly size: string }[]> {
  const home = quantizedHome();
  const prefix = `${directoryName(name)}--`;
  const copies: { path: string; size: string; date: number }[] = [];
  for (const entry of await namesIn(home)) {
    const size = entry.startsWith(prefix) ? entry.slice(prefix.length) : '';
    const path = join(home, entry);
    if (!SIZE.test(size) || !(await quantizedModel(path))) continue;
    copies.push({ path, size, date: (await orAbsent(stat(path)))?.mtimeMs ?? 0 });
  }
  return copies.sort((a, b) => b.date - a.date);
}

/** Where small texts are kept about a model that has no directory. @param name its name or address */
export const keptPath = (name: string): string => join(higgsHome(), 'kept', directoryName(name));

// A name as that of a directory: hf:org/model@v2 → org--model@v2.
function directoryName(name: string): string {
  return name
    .replace(/^hf:/, '')
    .replaceAll('/', '--')
    .replace(/[^\w.@-]/g, '_')
    .replace(/^\.+/, '');
}

// --- the hub's cache, read

/** The directory of a model in the cache. */
export const repoPath = (cache: string, { repo }: Pick<HubName, 'repo'>): string =>
  join(cache, `models--${repo.replaceAll('/', '--')}`);

/** A path in the snapshot of a commit. */
export const snapshotPath = (cache: string, name: HubName, commit: string, path: string): string =>
  join(repoPath(cache, name), 'snapshots', commit, ...path.split('/').filter(Boolean));

/** The commit that a model's revision was, if the cache has a snapshot of it. */
export async function cachedCommit(cache: string, name: HubName): Promise<string | undefined> {
  const { revision } = name;
  const ref = join(repoPath(cache, name), 'refs', ...revision.split('/'));
  const content = await attempt('read', ref, () => orAbsent(readFile(ref, 'utf8')));
  for (const commit of [content?.trim(), revision]) {
    if (commit && isPlainPart(commit) && (await isDirectory(snapshotPath(cache, name, commit, '')))) return commit;
  }
  return undefined;
}

/** Where a file of a commit is, if the cache has it whole. */
export async function cachedFile(
  cache: string,
  name: HubName,
  commit: string,
  path: string,
  byteLength: number,
): Promise<{ folder: string; name: string } | undefined> {
  const file = snapshotPath(cache, name, commit, path);
  const info = await attempt('read', file, () => orAbsent(stat(file)));
  return info?.isFile() && info.size === byteLength ? { folder: dirname(file), name: basename(file) } : undefined;
}

// --- what there is

/** A model on this machine. */
export interface LocalModel {
  /** As it can be given to a verb: `hf:org/model`, or a path. */
  readonly name: string;
  /** Whether it is quantized. */
  readonly kind: 'original' | 'quantized';
  /** Its directory. */
  readonly path: string;
  /** Size of its files on the disk. */
  readonly bytes: number;
  /** Bytes of downloads that were interrupted, within `bytes`. */
  readonly incomplete: number;
  /** Of the hub's cache: commits, and the revisions that they were. */
  readonly revisions: readonly { readonly commit: string; readonly refs: readonly string[]; readonly bytes: number }[];
  /** Of a quantized model: its bits per weight, as config.json has them. */
  readonly bpw?: number;
}

/**
 * The models of the hub's cache, of the home, and of the directories that `directory` holds; by name.
 * @throws {FileError} when `directory` is something else
 */
export async function localModels(cache: string, directory?: string): Promise<LocalModel[]> {
  const models: LocalModel[] = [];
  for (const entry of await namesIn(cache)) {
    const [, repo] = REPO.exec(entry) ?? [];
    if (repo !== undefined) models.push(await cachedModel(join(cache, entry), repo.replaceAll('--', '/')));
  }
  for (const place of [quantizedHome(), ...(directory === undefined ? [] : [directory])]) {
    if (place === directory && !(await isDirectory(place)))
      throw new FileError('read', place, undefined, 'it is not a directory');
    for (const path of [place, ...(await namesIn(place)).map((name) => join(place, name))]) {
      const model = await quantizedModel(path);
      if (model) models.push(model);
    }
  }
  const byPath = new Map(models.map((model) => [model.path, model]));
  return [...byPath.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The quantized model in a directory; undefined where there is none. */
export async function quantizedModel(path: string): Promise<LocalModel | undefined> {
  const content = await orAbsent(readFile(join(path, 'config.json'), 'utf8')).catch(() => undefined);
  const about = content === undefined ? undefined : quantizationOf(content);
  if (about?.quant_method !== 'higgs-wasm') return undefined;
  const bpw = Number(about.bits_per_weight);
  const bytes = await bytesBelow(path, new Set());
  return {
    name: path,
    kind: 'quantized',
    path,
    bytes,
    incomplete: 0,
    revisions: [],
    ...(Number.isFinite(bpw) && { bpw }),
  };
}

function quantizationOf(config: string): Record<string, unknown> | undefined {
  try {
    return (JSON.parse(config) as { quantization_config?: Record<string, unknown> } | null)?.quantization_config;
  } catch {
    return undefined;
  }
}

async function cachedModel(path: string, repo: string): Promise<LocalModel> {
  const refs = await refsBelow(join(path, 'refs'));
  const revisions = [];
  for (const commit of await namesIn(join(path, 'snapshots'))) {
    const named = [...refs].filter(([, of]) => of === commit).map(([ref]) => ref);
    revisions.push({ commit, refs: named, bytes: await bytesBelow(join(path, 'snapshots', commit), new Set()) });
  }
  let incomplete = 0;
  for (const name of await namesIn(join(path, 'blobs'))) {
    if (name.endsWith('.incomplete')) incomplete += (await orAbsent(lstat(join(path, 'blobs', name))))?.size ?? 0;
  }
  return {
    name: `hf:${repo}`,
    kind: 'original',
    path,
    bytes: await bytesBelow(path, new Set()),
    incomplete,
    revisions,
  };
}

/** Bytes of the files below a path, links seen through, each file counted once. @param counted the real paths, as they are counted */
export async function bytesBelow(path: string, counted: Set<string>): Promise<number> {
  let bytes = 0;
  for (const name of await namesIn(path)) {
    const entry = join(path, name);
    if (await isOwnDirectory(entry)) {
      bytes += await bytesBelow(entry, counted);
      continue;
    }
    const real = await orAbsent(realpath(entry));
    if (real === undefined || counted.has(real)) continue;
    counted.add(real);
    const info = await orAbsent(stat(real));
    if (info?.isFile()) bytes += info.size;
  }
  return bytes;
}

/** Revisions, whose names may have slashes, and their commits. */
export async function refsBelow(path: string, prefix = ''): Promise<Map<string, string>> {
  const refs = new Map<string, string>();
  for (const name of await namesIn(path)) {
    const entry = join(path, name);
    if (await isOwnDirectory(entry)) {
      for (const [ref, commit] of await refsBelow(entry, `${prefix}${name}/`)) refs.set(ref, commit);
    } else refs.set(`${prefix}${name}`, (await attempt('read', entry, () => readFile(entry, 'utf8'))).trim());
  }
  return refs;
}

// --- what is not there counts as nothing

/** What a directory holds, sorted. */
export async function namesIn(path: string): Promise<string[]> {
  return (await attempt('read', path, () => orAbsent(readdir(path))))?.sort() ?? [];
}

/** What a promise gives; undefined where there is no such file. */
export async function orAbsent<T>(promise: Promise<T>): Promise<T | undefined> {
  return promise.catch((error) => {
    if (isAbsent(error)) return undefined;
    throw error;
  });
}

/** Whether it is a directory, or a link to one. */
export async function isDirectory(path: string): Promise<boolean> {
  return (await attempt('read', path, () => orAbsent(stat(path))))?.isDirectory() ?? false;
}

/** Whether it is a directory itself, not a link to one. */
export async function isOwnDirectory(path: string): Promise<boolean> {
  return (await attempt('read', path, () => orAbsent(lstat(path))))?.isDirectory() ?? false;
}
