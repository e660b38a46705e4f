// Downloads a model into the cache that the hub's Python client shares. A file grows as <digest>.higgs.incomplete, in order, several
// ranges ahead; it gets its name once its digest is right, and a link in the snapshot once it has its name. The revision's name comes last.

import { createHash, type Hash } from 'node:crypto';
import { copyFile, mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { INDEX_NAME, readIndex, SINGLE_NAME } from '../checkpoint/checkpoint.ts';
import { modelFiles } from '../checkpoint/gguf/parts.ts';
import { FileError, FormatError } from '../errors.ts';
import type { HubFile } from '../hub/client.ts';
import { type HubName, nameText, readName } from '../hub/name.ts';
import type { HubMeans, RemoteModel } from '../hub/remote.ts';
import { inOrder } from '../quantize/pipeline.ts';
import { createFile, openFile } from '../source/file.ts';
import { folderOf } from '../source/memory.ts';
import type { Source } from '../source/source.ts';
import { attempt } from '../source/system.ts';
import { cachedFile, repoPath, snapshotPath } from './cache.ts';
import { type HubSettings, hubSettings, meansOf } from './hub.ts';
import { takeLock } from './lock.ts';

/** Bytes of one request, requests under way for one file, and files at once: 48 MB of memory. */
const RANGE = 4 << 20;
const RANGES_AT_ONCE = 4;
const FILES_AT_ONCE = 3;

/** How far a download is. */
interface PullProgress {
  readonly done: number;
  readonly total: number;
  /** The file at work. */
  readonly file: string;
}

/** What was downloaded. */
interface Pulled {
  readonly name: string;
  readonly commit: string;
  /** The snapshot's directory. */
  readonly path: string;
  readonly files: number;
  readonly bytes: number;
  /** Bytes that came from the hub now; the others were in the cache. */
  readonly downloaded: number;
  /** Names of files that were left at the hub, being no part of the checkpoint. */
  readonly left: readonly string[];
}

interface PullOptions {
  /** Every file of the repository, in folders, too. */
  all?: boolean | undefined;
  signal?: AbortSignal;
  onProgress?: (progress: PullProgress) => void;
}

/**
 * Downloads a model of the hub.
 * @throws {RangeError} when the name is none of a model on the hub
 * @throws {FileError} when the hub refuses, or the disk does
 * @throws {FormatError} when a file has not the digest that the hub tells
 */
export async function pull(text: string, { all = false, signal, onProgress }: PullOptions): Promise<Pulled> {
  const name = readName(text);
  if (!name) throw new RangeError(`name must be that of a model on the hub, such as hf:org/model: got ${text}`);
  const settings = await hubSettings();
  if (settings.isOffline) throw new FileError('read', text, undefined, 'HF_HUB_OFFLINE is set');
  const { resolveModel } = await import('../hub/remote.ts');
  const means: HubMeans = { ...meansOf(settings), ...(signal && { signal }) };
  const remote = await resolveModel(name, means, all);
  const files = all || name.file !== undefined ? remote.files : await checkpointFiles(name, remote);
  const total = files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let [done, downloaded] = [0, 0];
  const take = (file: HubFile, bytes: number, isNew: boolean) => {
    done += bytes;
    if (isNew) downloaded += bytes;
    onProgress?.({ done, total, file: file.path });
  };
  const tasks = files.map((file) => () => pullFile({ settings, name, remote, signal, take }, file));
  for await (const _ of inOrder(tasks, FILES_AT_ONCE));
  await writeRef(settings, name, remote.commit);
  return {
    name: nameText(name),
    commit: remote.commit,
    path: snapshotPath(settings.cache, name, remote.commit, name.folder),
    files: files.length,
    bytes: total,
    downloaded,
    left: remote.files.filter((file) => !files.includes(file)).map(({ path }) => path),
  };
}

// The weights that a checkpoint is read from, and what stands beside them and is no weights.
async function checkpointFiles(name: HubName, { files, open }: RemoteModel): Promise<readonly HubFile[]> {
  const nameIn = ({ path }: HubFile) => path.slice(path.lastIndexOf('/') + 1);
  const named = new Map(files.map((file) => [nameIn(file), file]));
  const index = named.get(INDEX_NAME);
  const weights = [...named.keys()].filter((file) => file.endsWith('.safetensors'));
  let chosen = weights;
  if (named.has(SINGLE_NAME)) chosen = [SINGLE_NAME];
  else if (index) {
    const folder = folderOf(nameText(name), { [INDEX_NAME]: await open(index) });
    const shards = new Set((await readIndex(folder)).values());
    chosen = weights.filter((file) => shards.has(file));
  } else if (weights.length === 0 && [...named.keys()].some((file) => file.endsWith('.gguf'))) {
    chosen = modelFiles([...named.keys()], nameText(name));
  } else if (weights.length !== 1) {
    const wanted = `${SINGLE_NAME}, ${INDEX_NAME} or one *.safetensors or *.gguf`;
    throw new FormatError(`folder must have ${wanted}: none is there; --all pulls the other files`, {
      file: nameText(name),
    });
  }
  const isOther = /\.(safetensors|bin|gguf|ggml|pt|pth|ckpt|h5|msgpack|onnx|onnx_data|ot|tflite|npz)$/i;
  return files.filter((file) => chosen.includes(nameIn(file)) || !isOther.test(file.path));
}

interface Pulling {
  settings: HubSettings;
  name: HubName;
  remote: RemoteModel;
  signal: AbortSignal | undefined;
  take(file: HubFile, bytes: number, isNew: boolean): void;
}

async function pullFile(pulling: Pulling, file: HubFile): Promise<void> {
  const { settings, name, remote, take } = pulling;
  const { path, byteLength, sha256, oid } = file;
  const digest = sha256 ?? oid;
  if (digest === undefined)
    throw new FormatError('listing must have a digest of the file: it is missing', { file: path });
  if (await cachedFile(settings.cache, name, remote.commit, path, byteLength)) return take(file, byteLength, false);
  const blob = join(repoPath(settings.cache, name), 'blobs', digest);
  const has = await stat(blob).catch(() => undefined);
  if (has?.size === byteLength) take(file, byteLength, false);
  else await download(pulling, file, blob);
  await link(blob, snapshotPath(settings.cache, name, remote.commit, path));
}

async function download({ name, remote, signal, take }: Pulling, file: HubFile, blob: string): Promise<void> {
  // A name of ours: clients in Python may write <digest>.incomplete at the same time, and lock it in a way that Node cannot.
  const incomplete = `${blob}.higgs.incomplete`;
  await attempt('create', dirname(blob), () => mkdir(dirname(blob), { recursive: true }));
  const lock = await takeLock(`${incomplete}.lock`, 'downloads');
  try {
    const hash = startHash(file);
    let begun = await hashFile(incomplete, file.byteLength, hash);
    if (begun === undefined) {
      begun = 0;
      await attempt('remove', incomplete, () => rm(incomplete, { force: true }));
    }
    take(file, begun, false);
    const source = await remote.open(file);
    const sink = await createFile(incomplete, begun > 0 ? { append: begun } : {});
    try {
      for await (const bytes of inOrder(ranges(source, begun), RANGES_AT_ONCE)) {
        signal?.throwIfAborted();
        hash.update(bytes);
        await sink.write(bytes);
        take(file, bytes.length, true);
      }
    } finally {
      await sink.close();
    }
    const actual = hash.digest('hex');
    if (actual !== (file.sha256 ?? file.oid)) {
      await attempt('remove', incomplete, () => rm(incomplete, { force: true }));
      const message = `file must have the digest of the hub, ${file.sha256 ?? file.oid}: it has ${actual}`;
      throw new FormatError(message, { file: nameText({ ...name, folder: '', file: file.path }) });
    }
    await attempt('rename', incomplete, () => rename(incomplete, blob));
  } finally {
    await lock.release();
  }
}

function* ranges(source: Source, begun: number): Generator<() => Promise<Uint8Array>> {
  for (let start = begun; start < source.byteLength; start += RANGE) {
    const end = Math.min(start + RANGE, source.byteLength);
    yield async () => new Uint8Array(await source.slice(start, end));
  }
}

// Git's digest of a file is that of a header and its content.
function startHash({ sha256, byteLength }: HubFile): Hash {
  return sha256 === undefined ? createHash('sha1').update(`blob ${byteLength}\0`) : createHash('sha256');
}

// Feeds what an earlier run left. @returns its bytes; undefined where it is none of this file
async function hashFile(path: string, limit: number, hash: Hash): Promise<number | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile() || info.size === 0 || info.size > limit) return undefined;
  const file = await openFile(path);
  try {
    for (let start = 0; start < file.byteLength; start += RANGE) {
      hash.update(new Uint8Array(await file.slice(start, Math.min(start + RANGE, file.byteLength))));
    }
    return file.byteLength;
  } finally {
    await file.close();
  }
}

// A snapshot's file: a link that stays right when the cache moves; a copy where the system has no links.
async function link(blob: string, path: string): Promise<void> {
  await attempt('create', path, async () => {
    await mkdir(dirname(path), { recursive: true });
    await rm(path, { force: true });
    await symlink(relative(dirname(path), blob), path).catch(async (error) => {
      if (error.code === 'EEXIST') return; // another client made it meanwhile
      if (!['EPERM', 'ENOSYS', 'ENOTSUP'].includes(error.code)) throw error;
      await copyFile(blob, path);
    });
  });
}

async function writeRef({ cache }: HubSettings, name: HubName, commit: string): Promise<void> {
  if (name.revision === commit) return;
  const path = join(repoPath(cache, name), 'refs', ...name.revision.split('/'));
  await attempt('write', path, async () => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, commit);
  });
}
