// Statistics of inputs and gradients: against sums in f64; the file's bytes, whatever the threads, the memory, the groups and the
// interruptions; what a run holds in memory; files that are not what they should be.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readStatistics, type StatisticsKind, type StatisticsOutput } from '../src/decoder.ts';
import { memorySink } from '../src/index.ts';
import { writeAlphas } from '../src/linearity/alphas.ts';
import { weightsOf } from '../src/model/blocks/blocks.ts';
import { roomOf } from '../src/sensitivity/gather.ts';
import { measureSensitivity, type SensitivityOptions } from '../src/sensitivity/measure.ts';
import { measuredOf } from '../src/sensitivity/program/measured.ts';
import { openSession, openSubject, planSession } from '../src/sensitivity/session.ts';
import { randomSequences } from '../src/sensitivity/tokens.ts';
import { placeSequence } from '../src/sensitivity/work.ts';
import type { Folder } from '../src/source/source.ts';
import { groupWidths } from '../src/statistics/matrices.ts';
import { startThreads } from '../src/workers/node.ts';
import { crc32, readSafetensors, safetensors, type Tensor } from './checkpoints.ts';
import { countBytes } from './counting.ts';
import { type Plain, regionsOf } from './gradients.ts';
import { type Config, configs, modelFolder, randomFile } from './models.ts';

const test = suite('statistics');
const GROUP = 32;

interface Kept extends StatisticsOutput {
  bytes(): Uint8Array<ArrayBuffer>;
  /** Files that took their place. */
  readonly written: Uint8Array<ArrayBuffer>[];
}

/** An output in memory. @param from what an earlier run left */
function keptStatistics(from?: Uint8Array<ArrayBuffer>): Kept {
  const written: Uint8Array<ArrayBuffer>[] = [];
  const last = () => written.at(-1) ?? from;
  return {
    name: 'stats.safetensors',
    written,
    bytes: () => last()!,
    open: async () => last()?.slice().buffer,
    create: async () => {
      const sink = memorySink();
      return {
        ...sink,
        close: async () => {
          written.push(sink.bytes());
          await sink.close();
        },
      };
    },
  };
}

type Options = Omit<SensitivityOptions, 'statistics'> & Partial<StatisticsKind> & { streamBytes?: number };

/** Gathers. @returns the file, and sensitivities as text */
async function gather(folder: Folder, { mode = 'both', streamBytes, ...options }: Options, output = keptStatistics()) {
  const statistics = { output, mode, groupSize: GROUP, ...(streamBytes && { streamBytes }) };
  const alphas = await measureSensitivity(folder, { tokens: 24, ...options, statistics });
  return { file: output.bytes(), alphas, written: output.written };
}

const sameBytes = (a: Uint8Array, b: Uint8Array, label: string) =>
  assert.ok(Buffer.compare(a, b) === 0, `${label}: other bytes, ${a.length} and ${b.length}`);

/** Bytes that a sequence keeps in its group. */
async function sequenceBytes(folder: Folder): Promise<number> {
  const statistics = { mode: 'both', groupSize: GROUP } as const;
  const plan = { estimator: 'fisher', tokens: 24, draws: 2, threads: 1, statistics } as const;
  const { layout, workspace } = planSession(await openSubject(folder), plan);
  return roomOf({ state: layout.state, workspace }, 'both').floats * 4;
}

/** Least limit that a session of statistics lies within. */
async function leastMemory(folder: Folder, sequences: number, mode: StatisticsKind['mode'] = 'both'): Promise<number> {
  const options = { estimator: 'fisher', tokens: 24, draws: mode === 'both' ? 2 : 1, threads: 1 } as const;
  const plan = { ...options, sampled: sequences, statistics: { mode, groupSize: GROUP } };
  const subject = await openSubject(folder);
  const whole = planSession(subject, plan);
  let [low, high] = [0, whole.bytes];
  while (high - low > 64) {
    const middle = Math.floor((low + high) / 2);
    try {
      planSession(subject, { ...plan, memoryLimit: middle });
      high = middle;
    } catch {
      low = middle;
    }
  }
  assert.ok(high < whole.bytes);
  return high;
}

test('groupWidths() are descending powers of two', () => {
  assert.equal(groupWidths(2048, 1024), [1024, 1024]);
  assert.equal(groupWidths(896, 1024), [512, 256, 128]);
  assert.equal(groupWidths(172, 32), [32, 32, 32, 32, 32, 8, 4]);
  assert.equal(groupWidths(1, 16), [1]);
});

/** Models: random ones, and small ones of families with fused weights, norms behind blocks, multipliers, states. */
const models = [
  ...Object.entries(configs).map(([name, config]) => ({ name, config, bytes: randomFile(config) })),
  ...['phi3', 'olmo2', 'granite', 'lfm2', 'qwen3_5_text'].map((name) => ({
    name,
    config: JSON.parse(readFileSync(`tests/families/${name}/config.json`, 'utf8')) as Config,
    bytes: new Uint8Array(readFileSync(`tests/families/${name}/model.safetensors`)),
  })),
];
const some = ['llama', 'llama, llama3 rope', 'qwen3', 'phi3', 'olmo2', 'lfm2', 'qwen3_5_text'];

for (const { name, config, bytes } of models.filter((model) => some.includes(model.name))) {
  test(`sensitivities are the same with statistics, and the file is the same for any threads, groups and memory: ${name}`, async () => {
    const folder = modelFolder(config, bytes);
    const options = { sequences: 5, seed: 3 };
    const alone = writeAlphas(await measureSensitivity(folder, { tokens: 24, ...options }));
    const { file, alphas } = await gather(folder, options);
    assert.is(writeAlphas(alphas), alone);
    const least = await leastMemory(folder, 5);
    for (const [label, other, groups] of [
      ['3 threads', { threads: await startThreads(3) }, 1],
      ['groups of one', { streamBytes: 1 }, 5],
      ['groups of two', { streamBytes: 2.5 * (await sequenceBytes(folder)) }, 3],
      ['in turns', { memoryLimit: least }, 1],
      [
        'in turns, groups of one, 2 threads',
        { memoryLimit: 2 * least, streamBytes: 1, threads: await startThreads(2) },
        5,
      ],
    ] as const) {
      const actual = await gather(folder, { ...options, ...other });
      assert.is(actual.written.length, groups, label);
      sameBytes(actual.file, file, label);
      assert.is(writeAlphas(actual.alphas), alone, label);
    }
    const { file: seeded } = await gather(folder, { ...options, seed: 4 });
    assert.ok(Buffer.compare(seeded, file) !== 0);
  });
}

for (const mode of ['both', 'inputs'] as const) {
  test(`${mode}: a run goes on behind the last whole group, whatever is kept of it, and the file is the same`, async () => {
    const config = configs.qwen3;
    const folder = modelFolder(config, randomFile(config));
    const options = { mode, sequences: 6, seed: 1, streamBytes: mode === 'both' ? 140_000 : 24 * 64 * 4 * 2 };
    const partials: string[] = [];
    const whole = await gather(folder, { ...options, onPartial: (partial) => partials.push(partial) });
    assert.is(whole.written.length, 3);
    for (const from of [undefined, ...whole.written]) {
      for (const partial of [undefined, partials[0], partials[1], partials.at(-1)]) {
        const settings = { ...options, ...(partial !== undefined && { partial }) };
        const { file, alphas, written } = await gather(folder, settings, keptStatistics(from));
        const done = from ? whole.written.indexOf(from) + 1 : 0;
        assert.is(written.length, 3 - done);
        sameBytes(file, whole.file, `${done} groups are there`);
        if (mode === 'both') assert.is(writeAlphas(alphas), writeAlphas(whole.alphas));
        else assert.is(alphas.tensors.size, 0);
      }
    }
    // An abort between two steps leaves the groups before.
    for (const after of [3, 20, 60, 100]) {
      const output = keptStatistics();
      const abort = new AbortController();
      let steps = 0;
      const stopped = { ...options, signal: abort.signal, onProgress: () => ++steps === after && abort.abort() };
      const ended = await gather(folder, stopped as Options, output).then(
        () => true,
        () => false,
      );
      assert.ok(ended || abort.signal.aborted);
      const { file } = await gather(folder, options, keptStatistics(output.written.at(-1)));
      sameBytes(file, whole.file, `aborted after ${after} steps`);
    }
  });
}

test('what is continued must be of the same model and settings, and undamaged', async () => {
  const config = configs.llama;
  const folder = modelFolder(config, randomFile(config));
  const options = { sequences: 4, seed: 1, streamBytes: 1 };
  const [first] = (await gather(folder, options)).written;
  const refuses = async (other: Options, from: Uint8Array<ArrayBuffer>, message: RegExp) => {
    const output = keptStatistics(from);
    let error: Error | undefined;
    await gather(folder, other, output).catch((found) => {
      error = found;
    });
    assert.match(error?.message ?? 'no error', message);
    assert.is(output.written.length, 0);
  };
  const others = /stats\.safetensors: unfinished statistics must be of the same model and settings: they are of others/;
  for (const other of [{ seed: 2 }, { tokens: 23 }, { sequences: 5 }, { draws: 1 }, { source: 'random' }] as const) {
    await refuses({ ...options, ...other }, first, others);
  }
  await refuses({ ...options, mode: 'inputs' }, first, others);
  const damaged = first.slice();
  damaged[damaged.length >> 1] ^= 1;
  await refuses(options, damaged, /content must have the checksum that is noted/);
  await refuses(options, first.slice(0, -1), /data_offsets must lie within the data|file must end/);
  await refuses(options, randomFile(config) as Uint8Array<ArrayBuffer>, /must be one of statistics/);
  const noise = measureSensitivity(folder, { estimator: 'noise', statistics: { output: keptStatistics() } });
  await noise.then(
    () => assert.unreachable(),
    ({ message }) => assert.match(message, /statistics must be gathered by the estimator fisher/),
  );
});

for (const { name, config, bytes } of models) {
  test(`matrices are sums of outer products, to 1e-4: ${name}`, async () => {
    const folder = modelFolder(config, bytes);
    const options = { sequences: 3, source: 'random', seed: 5, streamBytes: 1 } as const;
    const wanted = await directly(folder, config, 3, 5);
    for (const mode of ['both', 'inputs'] as const) {
      const { file } = await gather(folder, { ...options, mode });
      const statistics = await readStatistics(file.buffer, 'stats');
      assert.equal([...statistics.weights.keys()], [...wanted.keys()]);
      for (const [weight, { cols, isDown, isHidden, H, A, G }] of wanted) {
        const { shape, parts } = statistics.weights.get(weight)!;
        const isNarrow = (isDown ? cols : shape[0]) <= 2 * GROUP;
        assert.equal(parts, isDown && !isNarrow ? groupWidths(cols, GROUP) : [cols]);
        const inputs = await statistics.inputs(weight);
        let offset = 0;
        for (const [i, width] of parts.entries()) {
          const matrix = mode === 'both' ? H : A;
          const block = Float64Array.from({ length: width * width }, (_, k) => {
            return matrix[(offset + Math.floor(k / width)) * cols + offset + (k % width)];
          });
          close(inputs[i], block, `${weight}, ${mode}, part ${i}`);
          offset += width;
        }
        const outputs = await statistics.outputs(weight);
        assert.is(outputs !== undefined, mode === 'both' && (!isHidden || isNarrow), weight);
        if (outputs) close(outputs, G, `${weight}, G`);
      }
    }
  });
}

function close(actual: Float32Array, wanted: Float64Array, label: string): void {
  assert.is(actual.length, wanted.length, label);
  const size = Math.sqrt(wanted.reduce((sum, value) => sum + value * value, 0));
  const error = Math.sqrt(wanted.reduce((sum, value, i) => sum + (value - actual[i]) ** 2, 0));
  assert.ok(size > 0 && error < 1e-4 * size, `${label}: off by ${error} of ${size}`);
}

interface Direct {
  cols: number;
  /** Whether it reads what is hidden in a feed-forward block, or makes it. */
  isDown: boolean;
  isHidden: boolean;
  H: Float64Array;
  A: Float64Array;
  G: Float64Array;
}

/** Sums in f64 of what lies in a session's memory, one sequence after the other. */
async function directly(folder: Folder, config: Config, sequences: number, seed: number): Promise<Map<string, Direct>> {
  const [tokens, draws] = [24, 2];
  const planned = planSession(await openSubject(folder), { estimator: 'fisher', tokens, draws, threads: 1 });
  const session = await openSession(planned, undefined, {});
  const { measuring, run } = session;
  const { state, workspace, floats } = measuring;
  const all = new Map<
    string,
    Pick<Direct, 'cols' | 'isDown' | 'isHidden'> & Record<'x' | 'd', Float64Array[]> & { rows: number }
  >();
  for (const { linear, block, place } of measuredOf(state)) {
    const { kind } = state.blocks[block];
    const isDown = kind === 'feedForward' && place === weightsOf(state.blocks[block]).length - 1;
    const isHidden = kind === 'feedForward' && !isDown;
    all.set(linear.name, { x: [], d: [], rows: linear.rows, cols: linear.cols, isDown, isHidden });
  }
  const { dX } = workspace.fisher!;
  const read = (address: number, width: number, token: number) =>
    Float64Array.from(floats.subarray(address / 4 + token * width, address / 4 + (token + 1) * width));
  for (const [sequence, ids] of randomSequences(session.vocabulary, sequences, tokens, seed).entries()) {
    placeSequence(session, ids);
    run({ kind: 'embed' });
    for (const block of state.blocks.keys()) run({ kind: 'block', block, save: true });
    for (let first = 0; first < tokens; first += state.logitRows) {
      run({ kind: 'labels', first, count: Math.min(state.logitRows, tokens - first), seed, sequence });
    }
    for (let index = state.blocks.length - 1; index >= 0; index--) {
      const block = state.blocks[index] as Plain;
      const before = floats.slice(dX / 4, dX / 4 + draws * tokens * config.hidden_size);
      run({ kind: 'back', block: index });
      const { regions } = workspace.fisher!;
      const isPlain = block.branch.postNorm === 0 && block.branch.multiplier === 1;
      const outputs = [...regionsOf(block).map((name) => regions[name]), isPlain ? 0 : regions.dBranch];
      for (const [place, { name, rows, cols, input }] of weightsOf(block).entries()) {
        const actual = all.get(name)!;
        for (let t = 0; t < tokens; t++) actual.x.push(read(input, cols, t));
        for (let i = 0; i < draws * tokens; i++) {
          const address = outputs[place];
          actual.d.push(
            address ? read(address, rows, i) : Float64Array.from(before.subarray(i * rows, (i + 1) * rows)),
          );
        }
      }
    }
  }
  await session.close();
  return new Map(
    [...all].map(([name, { x, d, rows, cols, isDown, isHidden }]) => {
      const norm = (v: Float64Array) => v.reduce((sum, value) => sum + value * value, 0);
      const w = x.map((_, i) => {
        const [sequence, token] = [Math.floor(i / tokens), i % tokens];
        let sum = 0;
        for (let draw = 0; draw < draws; draw++) sum += norm(d[(sequence * draws + draw) * tokens + token]);
        return sum / draws;
      });
      const mean = w.reduce((sum, value) => sum + value, 0) / w.length;
      const outer = (vectors: Float64Array[], weights: number[], n: number) => {
        const s = new Float64Array(n * n);
        for (const [t, v] of vectors.entries()) {
          for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) s[i * n + j] += weights[t] * v[i] * v[j];
        }
        return s;
      };
      const H = outer(
        x,
        w.map((weight) => weight / mean),
        cols,
      );
      const A = outer(
        x,
        x.map(() => 1),
        cols,
      );
      const G = outer(
        d,
        d.map(() => 1 / draws),
        rows,
      );
      return [name, { cols, isDown, isHidden, H, A, G }];
    }),
  );
}

test('a run holds one block of matrices and the streams of a group, however many layers and sequences there are', async () => {
  const streamBytes = 700_000;
  const bound = async (layers: number, mode: StatisticsKind['mode']) => {
    const config = { ...configs.llama, num_hidden_layers: layers };
    const folder = modelFolder(config, randomFile(config));
    const draws = mode === 'both' ? 2 : 1;
    const plan = {
      estimator: 'fisher',
      tokens: 24,
      draws,
      threads: 1,
      statistics: { mode, groupSize: GROUP },
    } as const;
    const memoryLimit = await leastMemory(folder, 0, mode);
    const { bytes, takesTurns } = planSession(await openSubject(folder), { ...plan, memoryLimit });
    assert.ok(takesTurns);
    const counted = countBytes();
    try {
      await gather(folder, { mode, sequences: 3 * layers, source: 'random', streamBytes, memoryLimit });
    } finally {
      counted.stop();
    }
    // Memories: the session's, and those of 4 MB that checksums are taken in.
    const [session, ...checks] = counted.memories.filter((size) => size > 0).sort((a, b) => b - a);
    assert.ok(checks.every((size) => size <= 66 * 65536));
    assert.ok(session <= Math.max(66 * 65536, bytes + 65536), `${session} bytes of memory, not ${bytes}`);
    const streams = counted.floats.reduce((sum, count) => sum + count, 0);
    assert.ok(streams > 0 && streams <= streamBytes, `${streams} bytes of streams`);
    return bytes;
  };
  for (const mode of ['both', 'inputs'] as const) assert.is(await bound(3, mode), await bound(24, mode), mode);
});

test('readStatistics() names what is wrong with a file', async () => {
  const config = configs.llama;
  const folder = modelFolder(config, randomFile(config));
  const { file } = await gather(folder, { sequences: 2, source: 'random' });
  const { metadata, tensors } = readSafetensors(file);
  const [q, down] = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.mlp.down_proj.weight'];
  const about = JSON.parse(metadata['higgs.about']);
  const weights = JSON.parse(metadata['higgs.weights']);
  // The file with something changed, and checksums that hold.
  const changed = (values: Record<string, string | undefined>, change?: (tensors: Map<string, Tensor>) => void) => {
    const all = new Map(
      [...tensors].map(([name, tensor]): [string, Tensor] => [name, { ...tensor, bytes: tensor.bytes.slice() }]),
    );
    change?.(all);
    const text = Object.entries({ ...metadata, ...values }).filter((entry): entry is [string, string] => !!entry[1]);
    const without = safetensors(Object.fromEntries(all), Object.fromEntries(text));
    const start = 8 + Number(new DataView(without.buffer).getBigUint64(0, true));
    const checked = [...all].filter(([name]) => !/^higgs\.(padding|checksums)/.test(name));
    const crcs = [crc32(without.subarray(0, start)), ...checked.map(([, { bytes }]) => crc32(bytes))];
    if (all.has('higgs.checksums'))
      without.set(new Uint8Array(Uint32Array.from(crcs).buffer), without.length - crcs.length * 4);
    return without;
  };
  const f32 = (count: number): Tensor => ({ dtype: 'F32', shape: [count], bytes: new Uint8Array(count * 4) });
  const json = JSON.stringify;
  const shape = (name: string, entry: object) => json({ ...weights, [name]: { ...weights[name], ...entry } });
  for (const [bytes, message] of [
    [randomFile(config), /must be one of statistics: its metadata has no higgs\.statistics/],
    [changed({ 'higgs.statistics': '2' }), /higgs\.statistics must be 1, the version this release reads: it is "2"/],
    [changed({ 'higgs.about': undefined }), /metadata must have higgs\.about: it is missing/],
    [changed({ 'higgs.about': '[' }), /higgs\.about/],
    [changed({ 'higgs.about': json({ ...about, mode: 'gradients' }) }), /mode must be "both" or "inputs"/],
    [changed({ 'higgs.about': json({ ...about, groupSize: 33 }) }), /groupSize must be a power of two/],
    [changed({ 'higgs.about': json({ ...about, draws: 0 }) }), /draws must be an integer of at least 1/],
    [changed({ 'higgs.about': json({ ...about, more: 1 }) }), /must have only known members: got "more"/],
    [changed({ 'higgs.about': json({ ...about, sequences: 3 }) }), /must be complete: they have 2 of 3 sequences/],
    [changed({ 'higgs.done': '0' }), /higgs\.done must be an integer from 1 to 2/],
    [changed({ 'higgs.done': '"2"' }), /higgs\.done must be a number/],
    [changed({ 'higgs.weights': '[]' }), /higgs\.weights must be a JSON object/],
    [
      changed({ 'higgs.weights': shape(q, { shape: [144, 65] }) }),
      /parts must have the 65 columns of the weight together: they have 64/,
    ],
    [
      changed({ 'higgs.weights': shape(q, { shape: [145, 64] }) }),
      /q_proj\.weight\.G": tensor must be F32 \[10585\]: it is F32 \[10440\]/,
    ],
    [changed({ 'higgs.weights': shape(down, { parts: [128, 32, 12] }) }), /down_proj\.weight\.H": tensor must be F32/],
    [changed({ 'higgs.weights': shape(down, { parts: [172.5] }) }), /must be an integer/],
    [changed({ 'higgs.weights': shape(down, { shape: [64, 2 ** 40] }) }), /must be an integer from 1 to/],
    [
      changed({ 'higgs.weights': json({ ...weights, other: weights[q] }) }),
      /higgs\.sums": tensor must be F64 \[15\]: it is F64 \[14\]/,
    ],
    [changed({}, (all) => all.delete(`${q}.H`)), /higgs\.checksums": tensor must be U32/],
    [
      changed({}, (all) => all.set(`${q}.H`, f32(2081))),
      /q_proj\.weight\.H": tensor must be F32 \[2080\]: it is F32 \[2081\]/,
    ],
    [changed({}, (all) => all.delete('higgs.sums')), /higgs\.(checksums|sums)/],
    [
      changed({}, (all) => all.delete('higgs.checksums')),
      /higgs\.checksums": tensor must be U32 \[26\]: it is not there/,
    ],
    [
      changed({}, (all) => all.get('higgs.sums')!.bytes.fill(255, 0, 8)),
      /sums must be finite and not negative: got NaN/,
    ],
    [file.slice(0, 100), /must/],
    [new Uint8Array(0), /it is empty/],
  ] as const) {
    let error: Error | undefined;
    await readStatistics(bytes.slice().buffer, 'stats').catch((found) => {
      error = found;
    });
    assert.ok(error && /^(FormatError|UnsupportedError)$/.test(error.name), `${message}: ${error}`);
    assert.match(error.message, message, error.message);
    assert.match(error.message, /stats/);
  }
  // What is wrong with a matrix is told when it is read.
  const offset = tensors.get(`${q}.H`)!.start;
  const damaged = file.slice();
  damaged[offset + 5] ^= 1;
  const rejects = async (bytes: Uint8Array<ArrayBuffer>, message: RegExp) => {
    const statistics = await readStatistics(bytes.slice().buffer, 'stats');
    assert.is((await statistics.inputs(down)).length, groupWidths(172, GROUP).length);
    await statistics.inputs(q).then(
      () => assert.unreachable(),
      (error) => assert.match(`${error.name}: ${error.message}`, message),
    );
    return statistics;
  };
  await rejects(damaged, /^FormatError: .*q_proj\.weight\.H.* content must have the checksum that is noted/);
  const broken = new Uint8Array(tensors.get(`${q}.H`)!.bytes);
  broken.fill(255, 0, 4);
  const infinite = changed({}, (all) => all.set(`${q}.H`, { ...all.get(`${q}.H`)!, bytes: broken }));
  const statistics = await rejects(infinite, /^FormatError: .* values must be finite/);
  await statistics.inputs('other').then(
    () => assert.unreachable(),
    ({ message }) => assert.match(message, /name must be that of a weight with statistics: got "other"/),
  );
});

test('weights that are not finite end a run, and name the weight', async () => {
  const config = configs.llama;
  const bytes = randomFile(config);
  const { tensors } = readSafetensors(bytes);
  const { start } = tensors.get('model.layers.1.mlp.up_proj.weight')!;
  const broken = bytes.slice();
  broken.set([0, 0, 192, 127], start); // a NaN of F32
  const folder = modelFolder(config, broken);
  for (const mode of ['both', 'inputs'] as const) {
    const output = keptStatistics();
    let message = '';
    await gather(folder, { mode, sequences: 1, source: 'random' }, output).catch((error) => {
      message = error.message;
    });
    assert.match(
      message,
      /tensor "model\.layers\.1\.mlp\.up_proj\.weight": weights must be finite: some are NaN or infinite$/,
    );
    assert.is(output.written.length, 0);
  }
});

test.run();
