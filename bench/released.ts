// A release written with seeded weights: its original in shards of 5 GB; the same quantized, without an original, of random codes and
// plausible scales; or its headers alone, over sparse files. Weights have variance 1 / cols, so activations neither
// vanish nor grow; embeddings have 1, so that tokens differ, and go to experts of their own.

import { copyFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { INDEX_NAME, openSingle } from '../src/checkpoint/checkpoint.ts';
import { byteLengthOf } from '../src/checkpoint/safetensors/dtype.ts';
import { indexJson, layOutShards, type Shard } from '../src/checkpoint/safetensors/layout.ts';
import type { Grid } from '../src/grids/grid.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { groupsPerRow } from '../src/kernels/layout.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { DEFAULT_SHARD_BYTES, type PlanItem, planCheckpoint } from '../src/quantize/plan.ts';
import { DEFAULT_GROUP_SIZE } from '../src/quantize/scheme.ts';
import { gridBytes } from '../src/quantize/stored-grid.ts';
import { openShard } from '../src/quantize/writer.ts';
import { f32ToBf16, f32ToF16, floatBits } from '../src/reference/float.ts';
import { createFolder } from '../src/source/file.ts';
import { normals, uniform } from '../tests/bits.ts';
import { sizeOf } from './models.ts';
import type { Release } from './releases.ts';

const POOL = 1 << 22;
const SEED = 1;
const ONE = 0x3f80; // in bf16
/** How much the scales of groups differ. */
const SPREAD = 0.03;
/** Whose tokenizer it gets: ids of a small vocabulary are ids of a large one. */
const TOKENIZER = fileURLToPath(new URL('../../models/books-llama', import.meta.url)); // seen from build/bench

/** Writes bf16 weights, or with `sparse` headers alone; returns the bytes. */
export async function writeOriginal(release: Release, path: string, sparse: boolean): Promise<number> {
  const fill = weights();
  const shards = originalShards(release);
  const folder = await createFolder(path);
  for (const { fileName, header, entries, byteLength } of shards) {
    const sink = await folder.create(fileName);
    await sink.write(header);
    if (!sparse) {
      for (const { spec } of entries) {
        if (spec.dtype !== 'BF16') throw new RangeError(`${spec.dtype} is for sparse files: got ${spec.name}`);
        for (const part of fill(spec.shape, deviationOf(spec.name, spec.shape))) await sink.write(part);
      }
    }
    await sink.close();
    if (sparse) await truncate(join(path, fileName), byteLength);
  }
  await writeSideFiles(release, path, indexJson(shards));
  await folder.close();
  return shards.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** Writes what `higgs quantize --grid G --embeddings G` would, but with random codes; returns the bytes. */
export async function writeQuantized(release: Release, path: string, grid: Grid): Promise<number> {
  const [{ header, byteLength }] = originalShards(release, Number.MAX_SAFE_INTEGER);
  const slice = async (start: number, end: number) => {
    const bytes = new Uint8Array(end - start);
    bytes.set(header.subarray(start, end));
    return bytes.buffer;
  };
  const checkpoint = await openSingle({ byteLength, slice }, 'original');
  const scheme = { grid, groupSize: DEFAULT_GROUP_SIZE, seed: 0 };
  const plan = planCheckpoint(checkpoint, { scheme, embeddings: grid });
  const kernels = wrapKernels(await loadKernels());
  const folder = await createFolder(path);
  const contents = { weights: weights(), codes: codes(), scales: scales() };
  for (const shard of plan.shards) {
    const writer = await openShard(shard, folder, kernels);
    for (const item of shard.items) {
      for (const parts of contentOf(item, contents)) {
        await writer.begin();
        for (const part of parts) await writer.write(part);
        writer.end();
      }
      if (item.kind === 'quantize') {
        const { name, shape } = item.quantized;
        const squaredNorm = sizeOf(shape) * deviationOf(name, shape) ** 2;
        writer.noteErrors({ squaredError: squaredNorm * grid.mse, squaredNorm });
      }
    }
    await writer.finish();
  }
  await writeSideFiles(release, path, indexJson(plan.shards));
  await folder.close();
  return plan.bytesOut;
}

type Filler = (shape: readonly number[], deviation: number) => Iterable<Uint8Array>;

function deviationOf(name: string, shape: readonly number[]): number {
  return name.endsWith('embed_tokens.weight') ? 1 : 1 / Math.sqrt(shape.at(-1)!);
}

// The tensors of an item, each in parts.
function contentOf(
  item: PlanItem,
  { weights, codes, scales }: { weights: Filler; codes: Filler; scales: Filler },
): Iterable<Uint8Array>[] {
  if (item.kind === 'grid') return [[new Uint8Array(gridBytes(item.grid))]];
  if (item.kind === 'copy') return [weights(item.tensor.shape, deviationOf(item.tensor.name, item.tensor.shape))];
  const { name, rows, cols, scheme } = item.quantized;
  const deviation = deviationOf(name, [rows, cols]);
  if ((cols * scheme.grid.bits) % (8 * scheme.grid.p) !== 0)
    throw new RangeError(`codes of ${name} must fill whole bytes`);
  return [codes([rows, (cols * scheme.grid.bits) / (8 * scheme.grid.p)], deviation), scales([rows, cols], deviation)];
}

function originalShards({ tensors }: Release, maxShardBytes = DEFAULT_SHARD_BYTES): Shard[] {
  const specs = tensors.map((tensor) => ({ ...tensor, byteLength: byteLengthOf(tensor.dtype, tensor.shape)! }));
  return layOutShards(
    specs.map((spec) => [spec]),
    { maxShardBytes, align: false },
  );
}

async function writeSideFiles({ config }: Release, path: string, index: string | undefined): Promise<void> {
  if (index !== undefined) await writeFile(join(path, INDEX_NAME), index);
  await writeFile(join(path, 'config.json'), JSON.stringify(config, null, 2));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    await copyFile(join(TOKENIZER, name), join(path, name));
}

// Parts of a pool from seeded places.
function* partsOf(pool: Uint8Array, byteLength: number, width: number, next: () => number): Generator<Uint8Array> {
  for (let left = byteLength; left > 0; ) {
    const start = Math.floor((next() * pool.length) / 2 / width) * width;
    const part = pool.subarray(start, start + left);
    yield part;
    left -= part.length;
  }
}

// Ones for vectors, else Gaussian, in bf16.
function weights(): Filler {
  const samples = normals(POOL, SEED);
  const next = uniform(SEED);
  const poolOf = once((deviation) => Uint16Array.from(samples, (z) => f32ToBf16(floatBits(z * deviation))));
  return (shape, deviation) => {
    const count = sizeOf(shape);
    if (shape.length === 1) return [bytesOf(new Uint16Array(count).fill(ONE))];
    return partsOf(poolOf(deviation), 2 * count, 2, next);
  };
}

// Any code is one.
function codes(): Filler {
  const next = uniform(SEED + 1);
  const pool = bytesOf(Uint32Array.from({ length: POOL }, () => next() * 2 ** 32));
  return (shape) => partsOf(pool, sizeOf(shape), 1, next);
}

// One for each group of a matrix, rows × cols, near its deviation, in f16.
function scales(): Filler {
  const samples = normals(1 << 16, SEED + 2);
  const next = uniform(SEED + 2);
  const poolOf = once((deviation) =>
    Uint16Array.from(samples, (z) => f32ToF16(floatBits((1 + SPREAD * z) * deviation))),
  );
  return ([rows, cols], deviation) =>
    partsOf(poolOf(deviation), 2 * rows * groupsPerRow(cols, DEFAULT_GROUP_SIZE), 2, next);
}

// Made once for each deviation.
function once(make: (deviation: number) => Uint16Array): (deviation: number) => Uint8Array {
  const pools = new Map<number, Uint8Array>();
  return (deviation) => {
    const pool = pools.get(deviation) ?? bytesOf(make(deviation));
    pools.set(deviation, pool);
    return pool;
  };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array | Uint32Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);
