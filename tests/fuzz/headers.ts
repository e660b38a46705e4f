// Headers of safetensors files and indexes of sharded checkpoints. What is taken must cover the files without a hole.

import { openCheckpoint } from '../../src/checkpoint/checkpoint.ts';
import { dtypeBits } from '../../src/checkpoint/safetensors/dtype.ts';
import { layOutShards } from '../../src/checkpoint/safetensors/layout.ts';
import { fileOf, indexOf, memoryFolder, rawTensor, readSafetensors, safetensors, tensorOf } from '../checkpoints.ts';
import { changeBytes, joined } from './bytes.ts';
import { changeDraft, encodeDraft, type Files } from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect, Fault } from './oracle.ts';
import { aFewTimes, type Random } from './random.ts';
import { encode, folderOfCase, type Target, type World } from './target.ts';

const Q = 'model.layers.0.self_attn.q_proj.weight';
const seeds = [
  safetensors({ [Q]: tensorOf('F32', [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]), b: rawTensor('I64', [], 8) }, { format: 'pt' }),
  safetensors({
    a: rawTensor('BOOL', [3], 3),
    empty: rawTensor('U8', [0, 5], 0),
    f4: rawTensor('F4', [3], 2),
    '': rawTensor('BF16', [1], 2),
  }),
  safetensors({
    'x.weight': rawTensor('F8_E4M3', [2, 3], 6),
    'x.weight_scale_inv': tensorOf('F32', [1, 1], [1]),
    é: rawTensor('Q', [9], 1),
  }),
  safetensors({}),
];

function headerText(file: Uint8Array): { json: unknown; data: Uint8Array } {
  const { dataStart } = readSafetensors(file);
  return { json: JSON.parse(new TextDecoder().decode(file.subarray(8, dataStart))), data: file.subarray(dataStart) };
}

function changedFile(random: Random): Uint8Array {
  let file: Uint8Array = random.pick(seeds);
  const way = random.below(3);
  if (way === 0) {
    const { json, data } = headerText(file);
    return fileOf(changedJson(json, random), data);
  }
  if (way === 1) {
    aFewTimes(random, () => {
      file = changeBytes(file, random, random.pick(seeds));
    });
    return file;
  }
  const { metadata, tensors } = readSafetensors(file);
  const draft = {
    metadata: { ...metadata },
    tensors: [...tensors].map(
      ([name, { dtype, shape, bytes }]) =>
        [name, { dtype, shape, bytes }] as [string, { dtype: string; shape: number[]; bytes: Uint8Array }],
    ),
  };
  aFewTimes(random, () => changeDraft(draft, random));
  return encodeDraft(draft);
}

async function inspect(files: Files, { higgs }: World): Promise<void> {
  const folder = folderOfCase(files);
  const report = await higgs.inspectCheckpoint(folder);
  const checkpoint = await openCheckpoint(folder);
  expect(report.tensors.length === checkpoint.tensors.length, 'inspect counts the tensors');
  for (const file of checkpoint.files) {
    const end = file.tensors.reduce((end, { byteLength }) => end + byteLength, file.dataStart);
    expect(end === file.source.byteLength, 'tensors end with the file');
  }
  const sum = report.files.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(
    sum === report.bytes && Number.isSafeInteger(report.parameters + 0) === report.parameters <= 2 ** 53 - 1,
    'sums agree',
  );
  await writtenAgain(checkpoint);
  await higgs.planCheckpoint(folder, { grid: 'p1n4', groupSize: 16 });
}

// What was read, written by the library and read again, is the same.
async function writtenAgain({ tensors, metadata }: Awaited<ReturnType<typeof openCheckpoint>>): Promise<void> {
  if (tensors.some(({ dtype }) => dtypeBits(dtype) === undefined)) return;
  const specs = tensors.map(({ name, dtype, shape, byteLength }) => [{ name, dtype, shape, byteLength }]);
  const [shard, ...more] = layOutShards(specs, {
    maxShardBytes: 2 ** 40,
    metadata: () => Object.fromEntries(metadata),
    align: false,
  });
  expect(more.length === 0, 'one shard is enough');
  const again = await openCheckpoint(
    memoryFolder({ 'model.safetensors': joined(shard.header, new Uint8Array(shard.byteLength - shard.header.length)) }),
  ).catch((error: Error) => {
    throw new Fault(`what was written is refused: ${error.message}`);
  });
  const about = (list: typeof tensors) =>
    JSON.stringify(list.map(({ name, dtype, shape, byteLength }) => [name, dtype, shape, byteLength]));
  expect(about(again.tensors) === about(tensors), 'what was written reads the same');
  expect(
    JSON.stringify([...again.metadata]) === JSON.stringify([...metadata]) ||
      [...metadata.keys()].some((key) => /^\d+$/.test(key)),
    'metadata read the same',
  );
}

export const header: Target = {
  name: 'header',
  make: (random) => ({ 'model.safetensors': changedFile(random) }),
  run: inspect,
};

const shards: Files = {
  'model-00001-of-00002.safetensors': safetensors(
    { a: rawTensor('F32', [2, 2], 16), b: rawTensor('U8', [1], 1) },
    { x: 'y' },
  ),
  'model-00002-of-00002.safetensors': safetensors({ [Q]: rawTensor('BF16', [2, 16], 64) }, { x: 'z' }),
};
const map = { 'model-00001-of-00002.safetensors': ['a', 'b'], 'model-00002-of-00002.safetensors': [Q] };

export const index: Target = {
  name: 'index',
  make(random) {
    const files = { ...shards };
    const name = 'model.safetensors.index.json';
    const text = new TextDecoder().decode(indexOf(map));
    files[name] = random.chance(0.7)
      ? encode(changedJson(JSON.parse(text), random))
      : changeBytes(encode(text), random);
    if (random.chance(0.2)) files[Object.keys(shards)[random.below(2)]] = changedFile(random);
    if (random.chance(0.1)) delete files[Object.keys(shards)[random.below(2)]];
    return files;
  },
  run: inspect,
};
