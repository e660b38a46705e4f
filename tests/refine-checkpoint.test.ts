// Checkpoints with error feedback: the same bytes for any workers and threads, errors as predicted, every family, notes in the files.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { load } from '../src/higgs.ts';
import { gatherRefinement } from '../src/refinement/gather.ts';
import type { Folder } from '../src/source/source.ts';
import { startPool, startThreads } from '../src/workers/node.ts';
import { memoryOutput, safetensors } from './checkpoints.ts';
import { type Config, configs, modelFolder, randomFile } from './models.ts';

const test = suite('refined checkpoints');
const higgs = await load();
const [, config] = Object.entries(configs)[0];
const folder = modelFolder(config, randomFile(config));
const few = { sequences: 3, tokens: 24 };
const SCHEME = { groupSize: 32, grid: 't3' } as const;

function familyFolder(name: string): Folder {
  const path = `tests/families/${name}`;
  return modelFolder(
    JSON.parse(readFileSync(`${path}/config.json`, 'utf8')) as Config,
    new Uint8Array(readFileSync(`${path}/model.safetensors`)),
  );
}

function sameFiles(a: Map<string, Uint8Array>, b: Map<string, Uint8Array>, what: string): void {
  assert.equal([...a.keys()], [...b.keys()]);
  for (const [name, bytes] of a) assert.ok(Buffer.compare(bytes, b.get(name)!) === 0, `${what}: ${name}`);
}

test('quantize() refines to the same bytes for any workers, threads and kept statistics', async () => {
  for (const mode of ['both', 'inputs'] as const) {
    const first = memoryOutput();
    const source = await higgs.open(folder);
    const report = await source.quantize(first, { ...SCHEME, refine: { mode, ...few } });
    assert.ok(report.tensors.every(({ gain, weightedError }) => gain! > 0 && gain! <= 1 && weightedError! > 0));
    assert.is(report.predicted !== undefined, mode === 'both');
    const pool = await startPool(2);
    const other = memoryOutput();
    const threads = () => startThreads(2);
    await source.quantize(other, { ...SCHEME, refine: { mode, ...few, threads }, pool });
    sameFiles(first.files, other.files, 'two workers');
    const { statistics, alphas } = await gatherRefinement(folder, { mode, ...few }, SCHEME.groupSize);
    const given = memoryOutput();
    await source.quantize(given, { ...SCHEME, refine: { statistics, ...(alphas && { alphas }) }, pool });
    sameFiles(first.files, given.files, 'statistics that are given');
    await pool.close();
  }
});

test('every trellis refines: the defaults of 5 and 6 bits, and budgets above 4', async () => {
  const source = await higgs.open(folder);
  for (const grid of ['t5', 't6', 't4z']) {
    const report = await source.quantize(memoryOutput(), { groupSize: 32, grid, refine: few });
    for (const { name, weightedError, gain, gridMse } of report.tensors) {
      assert.ok(weightedError! < 1.6 * gain! * gridMse, `${grid}, ${name}`);
    }
  }
  const { bpw } = await source.quantize(memoryOutput(), { groupSize: 32, bpw: 5.5, refine: few });
  assert.ok(bpw > 5 && bpw <= 5.5);
});

test('what refined weights cost is less, and verify(), inspect() and predictions know it', async () => {
  const source = await higgs.open(folder);
  const output = memoryOutput();
  const options = { ...SCHEME, refine: { ...few, sequences: 8 } };
  const report = await source.quantize(output, options);
  const copy = await higgs.open(output.folder());
  const { warnings, tensors } = await copy.verify({ against: source });
  assert.equal(warnings, []);
  const inspected = await copy.inspect();
  const { refinement } = inspected;
  assert.equal(
    [refinement!.mode, refinement!.weighted, refinement!.source, refinement!.tokens, refinement!.sequences],
    ['both', true, 'model', 24, 8],
  );
  for (const [i, { name, weightedError, gain, gridMse, relativeError }] of report.tensors.entries()) {
    assert.ok(weightedError! < 1.6 * gain! * gridMse, name);
    assert.ok(relativeError > weightedError!, name);
    assert.equal([tensors[i].weightedError, tensors[i].gain], [weightedError, gain]);
    const stored = inspected.tensors.find((tensor) => tensor.name === name)!;
    assert.equal([stored.weightedError, stored.gain], [weightedError, gain]);
  }
  const note = JSON.parse(new TextDecoder().decode(output.files.get('config.json'))).quantization_config.refinement;
  assert.is(note.loss, report.predicted!.delta);
  const sum = report.predicted!.tensors.reduce((all, { alpha, relativeError }) => all + alpha * relativeError, 0);
  assert.ok(Math.abs(sum - report.predicted!.delta) < 1e-12 * sum);
});

test('a budget is planned by what feedback leaves, and copies run', async () => {
  const source = await higgs.open(folder);
  const weighed: number[] = [];
  const refine = { ...few, onWeigh: (done: number, total: number) => weighed.push(done / total) };
  const output = memoryOutput();
  const { bpw } = await source.quantize(output, { groupSize: 32, bpw: 3.8, refine });
  assert.ok(bpw <= 3.8);
  assert.is(weighed.at(-1), 1);
  const inputs = memoryOutput();
  const byInputs = await source.quantize(inputs, {
    groupSize: 32,
    bpw: 3.8,
    refine: { ...few, mode: 'inputs' },
    sensitivity: few,
  });
  assert.ok(byInputs.predicted!.delta > 0);
  const written = memoryOutput();
  await source.quantize(written, { ...SCHEME, refine: { ...few } });
  const [copy, stored] = [await source.copy({ ...SCHEME, refine: { ...few } }), written.folder()];
  const [made, expected] = await Promise.all([copy, stored].map(openCheckpoint));
  const packed = expected.tensors.filter(({ name }) => name.endsWith('.packed'));
  assert.ok(packed.length > 0);
  for (const { name, read } of packed) {
    assert.ok(Buffer.compare(Buffer.from(await read()), Buffer.from(await made.get(name)!.read())) === 0, name);
  }
});

for (const name of ['phi3', 'olmo2', 'granite', 'lfm2', 'qwen3_moe', 'deepseek_v3', 'qwen3_5_text', 'gpt_oss']) {
  test(`what statistics know of ${name} is refined, the rest is quantized plainly`, async () => {
    const source = await higgs.open(familyFolder(name));
    const output = memoryOutput();
    const { tensors } = await source.quantize(output, {
      groupSize: 16,
      grid: 'p2n256',
      refine: { sequences: 2, tokens: 12 },
    });
    const refined = tensors.filter(({ gain }) => gain !== undefined);
    assert.ok(refined.length > 0, `${refined.length} of ${tensors.length}`);
    const { warnings } = await (await higgs.open(output.folder())).verify({ against: source });
    assert.equal(
      warnings.filter((warning) => warning.includes('refined')),
      [],
    );
  });
}

test('refining refuses what it cannot do, by name', async () => {
  const source = await higgs.open(folder);
  const refuses = async (options: object, message: RegExp) => {
    try {
      await source.quantize(memoryOutput(), { ...SCHEME, ...options });
    } catch (error) {
      assert.match((error as Error).message, message);
      return;
    }
    assert.unreachable(`${message}`);
  };
  await refuses({ refine: 'outputs' }, /refine must be .*both.*inputs.*got/);
  await refuses({ refine: { mode: 'outputs' } }, /mode of refine must be/);
  await refuses({ refine: { estimator: 'noise' } }, /statistics must be gathered by the estimator fisher/);
  await refuses({ refine: { sequence: 3 } }, /sequence/);
  await refuses({ refine: { statistics: {} } }, /statistics/);
  await refuses({ refine: true, scaleSearch: true }, /scaleSearch must be left out/);
  const wide: Config = { ...config, intermediate_size: 96 };
  const other = modelFolder(wide, randomFile(wide));
  const { statistics } = await gatherRefinement(other, few, 64);
  const parts = [...statistics.weights.values()].some((weight) => weight.parts.length > 1);
  if (parts) {
    const wrong = (await higgs.open(other)).quantize(memoryOutput(), { ...SCHEME, refine: { statistics } });
    await wrong.then(
      () => assert.unreachable(),
      ({ message }) => assert.match(message, /statistics of .* must be cut in groups of 32 columns/),
    );
  }
  const alone = await higgs.open({
    name: 'alone',
    list: async () => ['model.safetensors'],
    open: async () => safetensors({}).buffer as ArrayBuffer,
  });
  await alone.quantize(memoryOutput(), { refine: true }).then(
    () => assert.unreachable(),
    ({ message }) => assert.match(message, /config\.json/),
  );
});

test.run();
