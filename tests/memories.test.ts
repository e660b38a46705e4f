// A model in several memories, and one whose pieces take turns in one: the same bits as in one memory.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { readArchitecture } from '../src/families/family.ts';
import { load } from '../src/index.ts';
import { deviceBytes, doesNotFit, whatFits } from '../src/model/fits.ts';
import { planModel } from '../src/model/memories.ts';
import { estimateMemory } from '../src/model/model.ts';
import { openWeights } from '../src/model/weights.ts';
import { sampleByCopy } from '../src/sensitivity/copy.ts';
import { estimateSensitivity } from '../src/sensitivity/cost.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { openSession, openSubject, planSession, readIdentity, survey } from '../src/sensitivity/session.ts';
import type { TokenSequence } from '../src/sensitivity/tokens.ts';
import type { Folder } from '../src/source/source.ts';
import { startThreads } from '../src/workers/web.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { countBytes } from './counting.ts';
import { families } from './families/index.ts';
import { type Config, configs, modelFolder, randomFile, randomIds } from './models.ts';

const test = suite('memories');
const ids = randomIds(70, 361); // more than a batch
const layouts = { rows: 96, cache: 'f16', threads: 1, integers: true } as const;

/** Memories that a model lies in, by the limit of one. */
async function memoriesOf(folder: Folder) {
  const read = await readArchitecture(folder);
  const weights = await openWeights(await openCheckpoint(folder));
  return (limit?: number) => planModel({ ...read, contextLength: 96 }, weights, layouts, limit).memories;
}

const messageOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => '',
    ({ name, message }) => `${name}: ${message}`,
  );

/** The least limit that a model lies within. */
function leastOf(fits: (limit: number) => unknown, most: number): number {
  let [low, high] = [0, most];
  while (high - low > 64) {
    const middle = Math.floor((low + high) / 2);
    try {
      fits(middle);
      high = middle;
    } catch {
      low = middle;
    }
  }
  return high;
}

for (const [name, config] of Object.entries(configs)) {
  for (const grid of [undefined, 't3', 'p2n16']) {
    const weights = grid ?? 'plain weights';
    test(`the same logits and hidden states from one memory and from several, of even and uneven sizes: ${name}, ${weights}`, async () => {
      let folder: Folder = modelFolder(config, randomFile(config));
      if (grid) {
        const output = memoryOutput();
        await (await load()).quantizeCheckpoint(folder, output, { grid, groupSize: 32, embeddings: grid });
        folder = output.folder();
      }
      const memories = await memoriesOf(folder);
      const [{ bytes }] = memories();
      const least = leastOf(memories, bytes);
      const whole = await loadAlone(folder, { context: 96 });
      const logits = await whole.forward(ids, { logits: 'all' });
      const hidden = await whole.hidden(ids);
      const counts = [];
      for (const memoryLimit of [bytes - 1, least]) {
        counts.push(memories(memoryLimit).length);
        // On two threads, too, where the runtime has them.
        const threads = grid === 't3' && memoryLimit !== least ? { threads: await startThreads(2) } : {};
        const model = await loadAlone(folder, { context: 96, memoryLimit, ...threads });
        sameBits(await model.forward(ids, { logits: 'all' }), logits);
        sameBits(await model.hidden(ids), hidden);
        await model.close();
      }
      assert.ok(counts[0] >= 2 && counts[1] >= 3, String(counts));
      await whole.close();
    });
  }
}

/** Models: random ones, and small ones of families whose blocks share caches, vectors of layers or stacks of experts. */
const subjects = [
  ...Object.entries(configs).map(([name, config]) => ({ name, folder: modelFolder(config, randomFile(config)) })),
  ...['gpt_oss', 'gemma4_text', 'gemma4_experts'].map((name) => {
    return { name, folder: modelFolder(families[name].config, families[name].model) };
  }),
];
for (const { name, folder } of subjects) {
  test(`the same sensitivities from a whole model and from pieces that take turns: ${name}`, async () => {
    for (const source of ['model', 'random'] as const) {
      const settings = { estimator: 'fisher', tokens: 20, draws: 2 } as const;
      const sampled = source === 'model' ? 3 : 0;
      const subject = await openSubject(folder);
      const plan = (memoryLimit: number) => planSession(subject, { ...settings, sampled, threads: 1, memoryLimit });
      const { bytes } = plan(2 ** 31);
      const turns = plan(bytes - 1);
      assert.ok(turns.takesTurns && turns.bytes < bytes);
      const wanted = await measureSensitivity(folder, { ...settings, source, sequences: 3 });
      const actual = await measureSensitivity(folder, { ...settings, source, sequences: 3, memoryLimit: turns.bytes });
      assert.equal(actual, wanted);
    }
  });
}

test('a copy is what quantizing writes, made as it is read', async () => {
  const config = configs['llama, biases, linear rope, interleaved'];
  const checkpoint = await (await load()).open(modelFolder(config, randomFile(config)));
  const options = { grid: 't4', groupSize: 32, embeddings: 't4' };
  const output = memoryOutput();
  await checkpoint.quantize(output, options);
  const wanted = await loadAlone(output.folder());
  const copy = await checkpoint.copy(options);
  const { tensors } = await openCheckpoint(copy);
  for (const written of (await openCheckpoint(output.folder())).tensors) {
    if (written.name.startsWith('higgs.') && !written.name.startsWith('higgs.grid.')) continue; // errors and checksums
    const actual = tensors.find(({ name }) => name === written.name)!;
    assert.equal([actual.dtype, actual.shape], [written.dtype, written.shape]);
    assert.equal(new Uint8Array(await actual.read()), new Uint8Array(await written.read()));
    assert.match(await messageOf(actual.read(0, actual.byteLength + 1)), /^RangeError: /);
  }
  for (let time = 0; time < 2; time++) {
    const actual = await loadAlone(copy);
    sameBits(await actual.forward(ids), await wanted.forward(ids));
    await actual.close();
  }
  await wanted.close();
  const abort = new AbortController();
  const stopped = await checkpoint.copy({
    ...options,
    signal: abort.signal,
    onProgress: () => abort.abort(new Error('enough')),
  });
  assert.is(await messageOf(loadAlone(stopped)), 'Error: enough');
  assert.match(await messageOf(checkpoint.copy({ ...options, resume: {} } as object)), /^TypeError: .*resume/);
});

test('a copy samples the sequences that are missing, some together, the same in any order', async () => {
  const config: Config = { ...configs.qwen3, bos_token_id: 1, eos_token_id: 2 };
  const checkpoint = await (await load()).open(modelFolder(config, randomFile(config)));
  const options = { grid: 't4', groupSize: 32, embeddings: 't4' };
  const vocabulary = await readArchitecture(checkpoint.folder);
  const sampled = async (sequences: (TokenSequence | undefined)[], begun = new Map<number, readonly number[]>()) => {
    const recorded: [number, number][] = [];
    const record = (first: number, own: number[][]) => recorded.push([first, own.length]);
    const how = {
      vocabulary,
      tokens: 12,
      seed: 3,
      file: 'copy',
      threads: undefined,
      onProgress: undefined,
      signal: undefined,
    };
    await sampleByCopy(await checkpoint.copy(options), {
      ...how,
      sequences,
      first: 0,
      end: sequences.length,
      begun,
      record,
    });
    return { recorded, ids: sequences.map((sequence) => sequence!.ids) };
  };
  const all = await sampled(new Array(11).fill(undefined));
  assert.equal(all.recorded, [
    [0, 8],
    [8, 3],
  ]);
  assert.ok(all.ids.every((sequence) => sequence.length === 12 && sequence[0] === 1));
  assert.is(new Set(all.ids.map(String)).size, 11);
  const rest = await sampled(
    all.ids.map((sequence, i) => (i % 3 === 0 ? { ids: sequence, targets: undefined } : undefined)),
  );
  assert.equal(rest.recorded, [
    [1, 2],
    [4, 2],
    [7, 2],
    [10, 1],
  ]);
  assert.equal(rest.ids, all.ids);
  for (const begunTokens of [1, 5, 11]) {
    const begun = new Map(all.ids.map((sequence, i) => [i, sequence.slice(0, begunTokens)]));
    assert.equal((await sampled(new Array(11).fill(undefined), begun)).ids, all.ids, `${begunTokens} ids are known`);
  }
});

test('the identity of a model is known without a session', async () => {
  for (const config of Object.values(configs)) {
    const subject = await openSubject(modelFolder(config, randomFile(config)));
    const planned = planSession(subject, { estimator: 'fisher', tokens: 8, draws: 1, threads: 1 });
    const session = await openSession(planned, undefined, {});
    assert.is(await readIdentity(planned, {}), (await survey(session, 'a model')).identity);
    await session.close();
  }
});

test('where the runtime has no memory so large, the model lies in smaller ones; where it has none, sizes are told', async () => {
  const folder = modelFolder(configs.llama, randomFile(configs.llama));
  const wanted = await loadAlone(folder, { context: 96 });
  // Two layers with 140 MB of cache each.
  const { cache } = wanted.memory;
  const options = { context: 96, cacheTokens: Math.floor((280e6 / cache) * 96) };
  const logits = await wanted.forward(ids);
  await wanted.close();
  const { Memory } = WebAssembly;
  const sizes: number[] = [];
  const within = (pages: number) =>
    class extends Memory {
      constructor(descriptor: WebAssembly.MemoryDescriptor) {
        sizes.push(descriptor.initial);
        // Engines throw what they like.
        if (descriptor.initial > pages)
          throw sizes.length % 2 ? new RangeError('could not allocate memory') : 'no memory';
        super(descriptor);
      }
    };
  try {
    WebAssembly.Memory = within(4000);
    const model = await loadAlone(folder, options);
    sameBits(await model.forward(ids), logits);
    await model.close();
    assert.ok(sizes[0] > 4000 && sizes.length >= 3, String(sizes));
    WebAssembly.Memory = within(100);
    assert.match(
      await messageOf(loadAlone(folder, options)),
      /^RangeError: model must fit memory: at a context of 96 it needs 2\d\d MB, weights 1 MB, cache 26\d MB, activations \d+ MB; this runtime gives 0 MB$/,
    );
  } finally {
    WebAssembly.Memory = Memory;
  }
});

const MB = 2 ** 20;
const need = {
  ...{ bytes: 2600 * MB, weights: 1800 * MB, cache: 600 * MB, activations: 200 * MB, memories: 1 },
  ...{ parameters: 900 * MB, context: 32768, cacheTokens: 32768, experts: { count: 0, bytes: 0, resident: 0 } },
  caches: { f32: 1200 * MB, f16: 600 * MB, q8: 310 * MB, q4: 160 * MB },
};
const ofFloats = { f32: 600 * MB, f16: 300 * MB, q8: 155 * MB, q4: 80 * MB };

test('what does not fit is refused with its sizes, what there is, and what would fit', () => {
  const message = (free: number, dtype: 'f16' | 'f32' = 'f16') =>
    doesNotFit({ ...need, ...(dtype === 'f32' && { caches: ofFloats }) }, dtype, free * MB, 'there is less').message;
  const sizes =
    'model must fit memory: at a context of 32768 it needs 2600 MB, weights 1800 MB, cache 600 MB, activations 200 MB; there is less';
  assert.is(message(2400), `${sizes}; what fits: cache q8 or context 16384`);
  assert.is(message(2200), `${sizes}; what fits: cache q4 or context 8192`);
  assert.is(message(2400, 'f32'), `${sizes}; what fits: cache f16 or context 16384`);
  assert.is(message(2010), `${sizes}; what fits: context 512`);
  const codes = (bits: number, size: number) =>
    `; what fits: the original quantized with bits ${bits}, embeddings too, ${size} MB of weights`;
  assert.is(message(1500), `${sizes}${codes(4, 457)}`);
  assert.is(message(1100), `${sizes}${codes(2, 232)}`);
  assert.is(message(1000), sizes);
  const experts = { count: 64, bytes: 1600 * MB, resident: 64 };
  const texts = { ...need, cacheTokens: 4 * need.context };
  assert.equal(whatFits(texts, 'f16', 2400 * MB)[1], { option: 'cacheTokens', value: 32768 });
  assert.equal(whatFits({ ...need, experts }, 'f16', 1300 * MB), [{ option: 'memory', value: 1300 * MB }]);
});

test('deviceBytes() is the most that a device has by what its browser tells, if that is no limit of telling', () => {
  const of = (deviceMemory?: unknown) => deviceBytes({ deviceMemory });
  assert.equal([0.25, 1, 4, 16].map(of), [384 * MB, 1536 * MB, 6144 * MB, 24576 * MB]);
  assert.equal([8, 32, undefined, 0, Number.NaN, '4'].map(of), new Array(6).fill(undefined));
  assert.is(deviceBytes(undefined) ?? 1e9, deviceBytes() ?? 1e9);
});

test('estimateMemory() is what loadModel() takes', async () => {
  const config = configs.qwen3;
  const folder = modelFolder(config, randomFile(config));
  for (const options of [
    {},
    { context: 50, cacheTokens: 120, cache: 'f32' },
    { activations: 'f32' },
    { cache: 'q8' },
    { cache: 'q4' },
  ] as const) {
    const { bytes, weights, cache, activations, memories } = await estimateMemory(folder, options);
    const model = await loadAlone(folder, options);
    assert.equal(model.memory, { bytes, weights, cache });
    assert.is(weights + cache + activations, bytes);
    assert.is(memories, 1);
    await model.close();
  }
  assert.match(await messageOf(estimateMemory(folder, { context: 1e6 })), /context must be an integer from 1 to/);
});

test('a measurement in turns holds what it said, which grows by the residual streams of a layer alone', async () => {
  const settings = { tokens: 20, draws: 2, sequences: 3 } as const;
  const heldOf = async (layers: number, source: 'model' | 'random') => {
    const config = { ...configs.llama, num_hidden_layers: layers };
    const plain = modelFolder(config, randomFile(config));
    let [largestRead, bytesRead] = [0, 0];
    const folder: Folder = {
      ...plain,
      open: async (name) => {
        const file = await plain.open(name);
        return {
          byteLength: file.byteLength,
          slice: (start, end) => {
            largestRead = Math.max(largestRead, end - start);
            if (name === 'model.safetensors') bytesRead += end - start;
            return file.slice(start, end);
          },
        };
      },
    };
    const subject = await openSubject(folder);
    const header = bytesRead;
    const plan = {
      estimator: 'fisher',
      tokens: 20,
      draws: 2,
      threads: 1,
      sampled: source === 'model' ? 3 : 0,
    } as const;
    const { bytes } = planSession(subject, plan);
    const { bytes: memoryLimit } = planSession(subject, { ...plan, memoryLimit: bytes - 1 });
    const cost = await estimateSensitivity(folder, { ...settings, source, memoryLimit });
    assert.ok(cost.bytesRead > 0 && cost.bytes <= memoryLimit);
    [largestRead, bytesRead] = [0, 0];
    const counted = countBytes();
    try {
      await measureSensitivity(folder, { ...settings, source, memoryLimit });
    } finally {
      counted.stop();
    }
    const [session, ...others] = counted.memories.filter((size) => size > 0).sort((a, b) => b - a);
    assert.is(session, Math.ceil(cost.bytes / 65536) * 65536);
    assert.equal(others, [], 'there is one memory');
    assert.is(bytesRead - header, cost.bytesRead);
    // Beside it are blocks of tensors as they are read, and logits of a step.
    const block = Math.max(largestRead, 3 * config.vocab_size * 4, 8 * config.vocab_size);
    assert.ok(
      largestRead <= 4 << 20 && counted.largest <= block,
      `${counted.largest} bytes at once, ${block} are read`,
    );
    return cost.bytes;
  };
  for (const source of ['random', 'model'] as const) {
    const [few, many] = [await heldOf(3, source), await heldOf(12, source)];
    const streams = 2 * 9 * settings.tokens * configs.llama.hidden_size * 4;
    const cache = source === 'model' ? 9 * 3 * settings.tokens * 2 * 2 * 24 * 4 : 9 * settings.tokens * 2 * 2 * 24 * 4;
    assert.ok(many - few <= streams + cache + 9 * 2048, `${many - few} more bytes for 9 layers, ${streams} of streams`);
  }
});

test('a model takes of memories what estimateMemory() says', async () => {
  const folder = modelFolder(configs.qwen3, randomFile(configs.qwen3));
  const { bytes: whole } = await estimateMemory(folder, { context: 96 });
  for (const options of [{ context: 96 }, { context: 96, memoryLimit: whole - 1 }]) {
    const { bytes, memories } = await estimateMemory(folder, options);
    const counted = countBytes();
    try {
      await (await loadAlone(folder, options)).close();
    } finally {
      counted.stop();
    }
    const taken = counted.memories.reduce((sum, size) => sum + size, 0);
    assert.is(counted.memories.length, memories);
    assert.ok(taken >= bytes && taken < bytes + memories * 65536, `${taken} bytes of memories, not ${bytes}`);
  }
});

test('a limit that nothing fits is refused, by the piece that exceeds it', async () => {
  const config = configs.llama;
  const folder = modelFolder(config, randomFile(config));
  const [{ bytes }] = (await memoriesOf(folder))();
  const model = await messageOf(loadAlone(folder, { context: 96, memoryLimit: bytes >> 1 }));
  assert.match(model, /^RangeError: token embedding must fit \d+ MB of linear memory: it needs \d+ MB$/);
  for (const memoryLimit of [0, 1.5, 2 ** 33]) {
    assert.match(await messageOf(loadAlone(folder, { memoryLimit })), /^RangeError: memoryLimit must be an integer/);
    assert.match(await messageOf(measureSensitivity(folder, { memoryLimit })), /^RangeError: memoryLimit must be an/);
  }
  const settings = { tokens: 20, sequences: 1, memoryLimit: 1 << 20 };
  assert.match(await messageOf(measureSensitivity(folder, settings)), /largest matrix and workspace must fit 1 MB/);
  assert.match(
    await messageOf(measureSensitivity(folder, { ...settings, estimator: 'noise' })),
    /whole model, which the noise estimator runs, must fit/,
  );
});

test.run();
