// A checkpoint: one safetensors file, or several ("shards") that an index names together.
// The index, `model.safetensors.index.json`: {"metadata":{"total_size":…},"weight_map":{"tensor":"shard",…}}.

import { FormatError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { readOnce } from '../source/once.ts';
import type { Folder, Source } from '../source/source.ts';
import { openSafetensors, sliceExactly } from './safetensors/file.ts';
import { decodeText, parseStrict } from './safetensors/json.ts';
import { asMatrices } from './stacks.ts';
import { type CheckpointFile, type CheckpointTensor, placeOf } from './tensor.ts';

/** The name of a checkpoint's only file. */
export const SINGLE_NAME = 'model.safetensors';
/** The name of the index of a sharded checkpoint. */
export const INDEX_NAME = 'model.safetensors.index.json';
/** Dtypes of the codes of checkpoints that other programs quantized. */
const CODED: ReadonlySet<string> = new Set(['I32', 'U8', 'I8', 'F8_E4M3']);
/** Longest index in bytes: as a header, it holds about a million tensors. */
const INDEX_LIMIT = 100_000_000;

/** Values of `quant_method` in config.json whose weights are read: in their own dtypes, or decoded (packed/). */
export const READ_METHODS: readonly string[] = [
  'higgs',
  'fp8',
  'mxfp4',
  'awq',
  'gptq',
  'bitsandbytes',
  'compressed-tensors',
];

/** The tensors of one model, over one file or many. */
export interface Checkpoint {
  /** The folder's name; of `openSingle`, the file's. For messages. */
  readonly folder: string;
  /** Sorted by name. Their `file` is folder and file name, for messages. */
  readonly files: readonly CheckpointFile[];
  /** In the order of `files`, then by offset. */
  readonly tensors: readonly CheckpointTensor[];
  /** The files' `__metadata__`, merged; of a key that several have, the first file's value. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Whether it is made as it is read, in the format of quantized checkpoints but without checksums. */
  readonly isMade?: true;
  /** @returns the tensor of that name, or undefined */
  get(name: string): CheckpointTensor | undefined;
}

/** A folder whose checkpoint is open: whatever is read of it is read once. */
export interface OpenFolder extends Folder {
  /** The checkpoint, opened once. */
  readonly checkpoint: Checkpoint;
}

/** Opens the checkpoint in a folder for all that is to be done with it. @throws what `openCheckpoint` throws */
export async function openOnce(folder: Folder): Promise<OpenFolder> {
  const once = await readable(readOnce(folder));
  return Object.assign(once, { checkpoint: await openCheckpoint(once) });
}

// By the folder that it was made of: what reads configuration, weights and tokenizer of a folder asks three times.
const models = new WeakMap<Folder, Promise<OpenFolder>>();

/**
 * A folder whose weights are GGUF, as one of safetensors with all that stands beside them; any other as it is.
 * @throws what `openGguf` throws
 */
export async function readable(folder: Folder | OpenFolder): Promise<Folder | OpenFolder> {
  if ('checkpoint' in folder) return folder;
  const names = await folder.list();
  const has = (ending: string) => names.some((name) => name.endsWith(ending));
  if (!has('.gguf') || has('.safetensors') || names.includes(INDEX_NAME)) return folder;
  let model = models.get(folder);
  if (!model) {
    model = import('./foreign.ts').then(({ openGguf }) => openGguf(folder, gather));
    models.set(folder, model);
    model.catch(() => models.delete(folder));
  }
  return model;
}

/**
 * Opens the checkpoint in a folder: `model.safetensors`, else the shards of `model.safetensors.index.json`, else
 * the folder's only `*.safetensors`, else a model in GGUF. Reads headers only.
 * @throws {FormatError} when there is none, or a file, the index or their agreement is faulty
 */
export async function openCheckpoint(from: Folder | OpenFolder): Promise<Checkpoint> {
  const folder = await readable(from);
  if ('checkpoint' in folder) return folder.checkpoint;
  const names = await folder.list();
  if (names.includes(SINGLE_NAME)) return gathered(folder, [await openIn(folder, SINGLE_NAME)]);
  if (names.includes(INDEX_NAME)) return gathered(folder, await openShards(folder, names));
  const candidates = names.filter((name) => name.endsWith('.safetensors'));
  if (candidates.length === 1) return gathered(folder, [await openIn(folder, candidates[0])]);
  const wanted = `${SINGLE_NAME}, ${INDEX_NAME} or one *.safetensors`;
  if (candidates.length > 1) {
    throw new FormatError(`folder must have ${wanted}: it has ${candidates.length} *.safetensors and no index`, {
      file: folder.name,
    });
  }
  const other = names.find((name) => /\.(bin|ggml|pt|pth|ckpt|h5|msgpack|onnx|zip|tar|t?gz|7z)$/i.test(name));
  const reason = other === undefined ? 'none is there' : `its weights are not safetensors (${excerpt(other)})`;
  throw new FormatError(`folder must have ${wanted}: ${reason}`, { file: folder.name });
}

/**
 * Opens a checkpoint of one file.
 * @param file its name, for messages
 * @throws {FormatError} when its header breaks a rule of the format
 */
export async function openSingle(source: Source, file: string): Promise<Checkpoint> {
  return gather(file, [await openSafetensors(source, file)]);
}

async function openShards(folder: Folder, names: readonly string[]): Promise<CheckpointFile[]> {
  const index = pathIn(folder, INDEX_NAME);
  const weightMap = await readIndex(folder);
  const shards = new Map<string, CheckpointFile>();
  const held = new Map<string, Set<string>>();
  const present = new Set(names);
  for (const shard of [...new Set(weightMap.values())].sort()) {
    if (!present.has(shard)) {
      throw new FormatError(`every shard of the index must be in the folder: ${show(shard)} is missing`, {
        file: index,
      });
    }
    const file = await openIn(folder, shard);
    shards.set(shard, file);
    held.set(shard, new Set(file.tensors.map(({ name }) => name)));
  }
  for (const [tensor, shard] of weightMap) {
    if (!held.get(shard)!.has(tensor)) {
      throw new FormatError(`tensor must be in the shard that the index names: ${show(shard)} lacks it`, {
        file: index,
        tensor: tensor,
      });
    }
  }
  return [...shards.values()];
}

/**
 * Reads a checkpoint's index.
 * @returns the shard of each tensor
 * @throws {FormatError} when it is faulty, or names a shard outside the folder
 */
export async function readIndex(folder: Folder): Promise<Map<string, string>> {
  const file = pathIn(folder, INDEX_NAME);
  const source = await folder.open(INDEX_NAME);
  if (source.byteLength > INDEX_LIMIT) {
    throw new FormatError(`index must have at most ${INDEX_LIMIT} bytes: it has ${source.byteLength}`, { file });
  }
  const bytes = new Uint8Array(await sliceExactly(source, file, 0, source.byteLength));
  const json = parseStrict(decodeText(bytes, file, 'index'), file, {
    subject: 'index',
    tensorOf: ([top, name]) => (top === 'weight_map' ? name : undefined),
  });
  if (!(json instanceof Map)) throw new FormatError(`index must be a JSON object: got ${show(json)}`, { file });
  const weightMap = json.get('weight_map');
  if (!(weightMap instanceof Map))
    throw new FormatError(`weight_map must be an object: got ${show(weightMap)}`, { file });
  if (weightMap.size === 0) throw new FormatError('weight_map must name at least one tensor: it is empty', { file });
  for (const [tensor, shard] of weightMap) {
    if (typeof shard !== 'string' || !isShardName(shard)) {
      throw new FormatError(`shard must be the name of a .safetensors file in the same folder: got ${show(shard)}`, {
        file,
        tensor: tensor,
      });
    }
  }
  return weightMap as Map<string, string>;
}

// The tensors of files; those that other programs have as codes are decoded as they are read.
async function gathered(folder: Folder, files: readonly CheckpointFile[]): Promise<Checkpoint> {
  const checkpoint = gather(folder.name, files);
  const { tensors, metadata } = checkpoint;
  if (metadata.has('higgs.format')) return checkpoint;
  if (tensors.some(({ name }) => /\.(tables2|tq_tensors\.quantized)$/.test(name)))
    return (await import('./flute/read.ts')).readHiggs(folder, checkpoint);
  if (!tensors.some(({ dtype }) => CODED.has(dtype)) || !(await folder.list()).includes('config.json'))
    return checkpoint;
  const { unpacked } = await import('./foreign.ts');
  return { ...checkpoint, ...byName(await unpacked(folder, tensors)) };
}

function gather(folder: string, files: readonly CheckpointFile[]): Checkpoint {
  const tensorsByName = new Map<string, CheckpointTensor>();
  const metadata = new Map<string, string>();
  for (const file of files) {
    for (const tensor of file.tensors) {
      const twin = tensorsByName.get(tensor.name);
      if (twin !== undefined) {
        throw new FormatError(`tensor must be in one shard only: it is in ${show(twin.file)} too`, placeOf(tensor));
      }
      tensorsByName.set(tensor.name, tensor);
    }
    for (const [key, value] of file.metadata) if (!metadata.has(key)) metadata.set(key, value);
  }
  for (const tensor of tensorsByName.values()) {
    const factors = factorsOf(tensor, tensorsByName);
    if (factors) tensorsByName.set(tensor.name, { ...tensor, factors });
  }
  const matrices = asMatrices([...tensorsByName.values()]);
  return { folder, files, metadata, ...byName(matrices) };
}

function byName(tensors: readonly CheckpointTensor[]): Pick<Checkpoint, 'tensors' | 'get'> {
  const existing = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return { tensors, get: (name) => existing.get(name) };
}

// The one place that knows which tensors stand for one: F8 weights have <name>_scale_inv, a factor for 128 × 128 of them
// (DeepSeek-V3). One that is called <name>_scale is refused where weights are read.
function factorsOf({ name, dtype }: CheckpointTensor, byName: ReadonlyMap<string, CheckpointTensor>) {
  if (dtype !== 'F8_E4M3') return undefined;
  return byName.get(`${name}_scale_inv`) ?? byName.get(`${name}_scale`);
}

async function openIn(folder: Folder, name: string): Promise<CheckpointFile> {
  return openSafetensors(await folder.open(name), pathIn(folder, name));
}

function pathIn(folder: Folder, name: string): string {
  return folder.name === '' ? name : `${folder.name.replace(/\/+$/, '')}/${name}`;
}

// A name, not a path: no separators of any system, no drive or stream (`:`), nothing hidden or above.
function isShardName(name: string): boolean {
  return /^[^./\\:\p{Cc}][^/\\:\p{Cc}]*\.safetensors$/u.test(name);
}
