// Experts that share slots of memory, and are read when tokens are routed to them: the same bits as with all in memory.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { estimateMemory } from '../src/model/model.ts';
import { blobSource, folderOf } from '../src/source/memory.ts';
import type { Folder } from '../src/source/source.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryFolder, memoryOutput, readSafetensors } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('paging');
const NAMES = ['deepseek_v3', 'gpt_oss', 'mixtral', 'qwen2_moe', 'qwen3_moe', 'qwen3_next'];

const idsOf = (name: string) => referencesOf(families[name].logits)[0].ids;

async function quantized(name: string, grid: string) {
  const output = memoryOutput();
  const folder = modelFolder(families[name].config, families[name].model);
  await (await load()).quantizeCheckpoint(folder, output, { grid, groupSize: 16, embeddings: grid });
  return output;
}

/** Bytes of a model with this many slots. */
async function memoryFor(folder: Folder, context: number, slots: number): Promise<number> {
  let [low, high] = [0, (await estimateMemory(folder, { context })).bytes];
  while (high - low > 1) {
    const memory = Math.floor((low + high) / 2);
    const resident = await estimateMemory(folder, { context, memory }).then(
      ({ experts }) => experts.resident,
      () => 0,
    );
    if (resident >= slots) high = memory;
    else low = memory;
  }
  return high;
}

const messageOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => '',
    ({ name, message }) => `${name}: ${message}`,
  );

for (const name of NAMES) {
  for (const grid of ['t4', 'p2n16', undefined]) {
    if (name === 'gpt_oss' && !grid) continue; // its experts are turned as they are read
    test(`any memory gives the same bits, in passes of many tokens and of one: ${name}, ${grid ?? 'plain weights'}`, async () => {
      const folder = grid
        ? (await quantized(name, grid)).folder()
        : modelFolder(families[name].config, families[name].model);
      const ids = idsOf(name);
      const context = ids.length;
      const whole = await loadAlone(folder, { context });
      const wanted = await whole.forward(ids, { logits: 'all' });
      await whole.close();
      assert.is(whole.paging, undefined);
      const { experts } = await estimateMemory(folder, { context });
      const sizes = [];
      for (const slots of [1, 2, experts.count - 1]) {
        const memory = await memoryFor(folder, context, slots);
        const model = await loadAlone(folder, { context, memory });
        assert.ok(model.memory.bytes <= memory, `${model.memory.bytes} of ${memory}`);
        assert.is(model.paging!.slots, slots);
        sameBits(await model.forward(ids, { logits: 'all' }), wanted);
        const { hits, misses, bytesRead } = model.paging!;
        assert.ok(misses > 0 && bytesRead > 0);
        const rows = [];
        const from = ids.length - 3;
        for (let i = from; i < ids.length; i++) rows.push(...(await model.forward([ids[i]], { from: i })));
        sameBits(Float32Array.from(rows), wanted.subarray((from * wanted.length) / ids.length));
        assert.ok(model.paging!.hits + model.paging!.misses > hits + misses);
        sizes.push(memory);
        await model.close();
      }
      assert.ok(sizes[0] < sizes[1] && sizes[1] < sizes[2]);
      const all = await loadAlone(folder, { context, memory: whole.memory.bytes });
      assert.is(all.paging, undefined);
      await all.close();
    });
  }
}

test('several memories have slots of their own', async () => {
  const folder = (await quantized('qwen3_moe', 't4')).folder();
  const ids = idsOf('qwen3_moe');
  const context = ids.length;
  const whole = await loadAlone(folder, { context });
  const wanted = await whole.forward(ids, { logits: 'all' });
  await whole.close();
  const { bytes, experts } = await estimateMemory(folder, { context });
  const options = { context, memoryLimit: bytes - Math.floor(experts.bytes / 3) };
  const parts = await estimateMemory(folder, options);
  assert.ok(parts.memories >= 2);
  const model = await loadAlone(folder, { ...options, memory: parts.bytes - Math.floor(experts.bytes / 2) });
  assert.ok(model.paging!.slots >= 2);
  sameBits(await model.forward(ids, { logits: 'all' }), wanted);
  await model.close();
});

test('experts of a layer that exceed a memory share slots of it', async () => {
  const folder = (await quantized('qwen3_moe', 't4')).folder();
  const ids = idsOf('qwen3_moe');
  const context = ids.length;
  const whole = await loadAlone(folder, { context });
  const wanted = await whole.forward(ids, { logits: 'all' });
  await whole.close();
  const { bytes, experts } = await estimateMemory(folder, { context });
  // The largest limit that a layer exceeds.
  let [low, high] = [0, bytes];
  while (high - low > 1024) {
    const memoryLimit = Math.floor((low + high) / 2);
    const message = await messageOf(estimateMemory(folder, { context, memoryLimit }));
    if (message === '') high = memoryLimit;
    else low = memoryLimit;
  }
  const memoryLimit = low;
  assert.match(await messageOf(loadAlone(folder, { context, memoryLimit })), /layer \d, experts, must fit/);
  const model = await loadAlone(folder, { context, memoryLimit, memory: 1e9 });
  assert.ok(model.paging!.slots < experts.count);
  sameBits(await model.forward(ids, { logits: 'all' }), wanted);
  await model.close();
});

test('a slot goes to who asks for it when nobody asked for its expert for longest; all that fit are read once', async () => {
  const folder = (await quantized('mixtral', 't4')).folder();
  const ids = idsOf('mixtral');
  const context = ids.length;
  const { experts } = await estimateMemory(folder, { context });
  const model = await loadAlone(folder, { context, memory: await memoryFor(folder, context, experts.count - 1) });
  for (const id of ids.slice(0, 2)) await model.forward([id]);
  const { misses } = model.paging!;
  const { hits } = model.paging!;
  await model.forward([ids[1]]); // routed as just now
  assert.is(model.paging!.misses, misses);
  assert.ok(model.paging!.hits > hits);
  await model.close();
});

test('a checksum that does not hold is found: of an expert when it is first read, of a stack when the model is loaded', async () => {
  for (const [name, tensor, isStack] of [
    ['mixtral', /experts\.\d+\.w2\.weight\.packed$/, false],
    ['qwen3_moe', /experts\.down_proj\.packed$/, true],
  ] as const) {
    const ids = idsOf(name);
    const context = ids.length;
    const output = await quantized(name, 't4');
    const memory = await memoryFor(output.folder(), context, 2);
    const [[file, bytes]] = output.files;
    const faulty = bytes.slice();
    for (const [tensorName, { start }] of readSafetensors(bytes).tensors)
      if (tensor.test(tensorName)) faulty[start] ^= 1;
    const folder = memoryFolder({ ...Object.fromEntries(output.files), [file]: faulty });
    const loading = loadAlone(folder, { context, memory });
    const wanted = /^FormatError: .*experts.*packed": CRC-32 must be/;
    if (isStack) assert.match(await messageOf(loading), wanted);
    else {
      const model = await loading;
      assert.match(await messageOf(model.forward(ids)), wanted);
      await model.close();
    }
  }
});

test('what cannot be is refused in one sentence', async () => {
  const folder = (await quantized('qwen3_moe', 't4')).folder();
  const { bytes, experts } = await estimateMemory(folder);
  assert.match(
    await messageOf(loadAlone(folder, { memory: 3 << 20 })),
    /^RangeError: all weights except experts, the cache and the activations must fit memory: they need \d+ MB, of \d+ MB$/,
  );
  assert.match(await messageOf(loadAlone(folder, { memory: 0 })), /^RangeError: memory must be an integer/);
  const dense = modelFolder(families.qwen3.config, families.qwen3.model);
  assert.match(
    await messageOf(loadAlone(dense, { memory: 1000 })),
    /^RangeError: model must fit memory, or have experts that can be read when they are needed: it needs \d+ MB, of 0 MB$/,
  );
  // A server's bytes come later.
  const later: Folder = {
    ...folder,
    open: async (name) => {
      const source = (await folder.open(name)) as ArrayBuffer;
      return { byteLength: source.byteLength, slice: async (start, end) => source.slice(start, end) };
    },
  };
  const half = bytes - Math.floor(experts.bytes / 2);
  assert.match(
    await messageOf(loadAlone(later, { memory: half })),
    /^UnsupportedError: .*experts.*: memory must hold all experts, as this source or dtype cannot be read at once/,
  );
  const all = await loadAlone(later, { memory: bytes });
  await all.close();
});

test('files of a page are read at once where a worker can: experts then share slots', async () => {
  const output = await quantized('qwen3_moe', 't4');
  const ids = idsOf('qwen3_moe');
  const context = ids.length;
  const whole = await loadAlone(output.folder(), { context });
  const wanted = await whole.forward(ids, { logits: 'all' });
  await whole.close();
  const memory = await memoryFor(output.folder(), context, 3);
  // A Blob whose parts a FileReaderSync knows: only workers of browsers have real ones.
  const blobOf = (bytes: Uint8Array<ArrayBuffer>) => ({
    size: bytes.length,
    bytes,
    slice: (start: number, end: number) => blobOf(bytes.slice(start, end)),
    arrayBuffer: async () => bytes.slice().buffer,
  });
  class FileReaderSync {
    readAsArrayBuffer({ bytes }: ReturnType<typeof blobOf>): ArrayBuffer {
      return bytes.slice().buffer;
    }
  }
  const folder = () => {
    const sources = [...output.files].map(([name, bytes]) => [name, blobSource(blobOf(bytes) as unknown as Blob)]);
    return folderOf('page', Object.fromEntries(sources));
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, 'FileReaderSync');
  try {
    Reflect.deleteProperty(globalThis, 'FileReaderSync');
    assert.match(await messageOf(loadAlone(folder(), { context, memory })), /cannot be read at once/);
    Object.defineProperty(globalThis, 'FileReaderSync', { value: FileReaderSync, configurable: true });
    const model = await loadAlone(folder(), { context, memory });
    assert.is(model.paging!.slots, 3);
    sameBits(await model.forward(ids, { logits: 'all' }), wanted);
    await model.close();
  } finally {
    Reflect.deleteProperty(globalThis, 'FileReaderSync');
    if (before) Object.defineProperty(globalThis, 'FileReaderSync', before);
  }
});

test.run();
