// What is advised of a model is what comes true: sizes and memory of copies that are then made, losses that plans predict, tokens in a
// second of every family. Nothing but headers is read.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { measureSpeed } from '../src/decoder.ts';
import { type Folder, load, priorAlphas, type Source, uniformAlphas } from '../src/index.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { families } from './families/index.ts';
import { configs, randomFile } from './models.ts';

const higgs = await load();
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function model(dtype: 'BF16' | 'F32' = 'BF16'): Folder {
  const config = { ...configs.llama, vocab_size: 267 };
  return memoryFolder({ 'config.json': json(config), 'model.safetensors': randomFile(config, [dtype]) });
}

// Edge workers' clocks stand still while programs run: there a speed may be unknown.
const isEdge = globalThis.navigator?.userAgent === 'Cloudflare-Workers';

test('sizes, memory and losses are those of the copies', async () => {
  const folder = model();
  const source = await higgs.open(folder);
  const sizes = await source.advise({ bits: [3, 3.5, 4], seconds: 0 });
  assert.equal(
    sizes.map(({ bits }) => bits),
    [undefined, 3, 3.5, 4],
  );
  const alphas = priorAlphas(await source.planTensors());
  for (const { bits, bytes, bpw, memory, speed, prediction } of sizes.slice(1)) {
    const output = memoryOutput();
    const choice = bits === 3.5 ? { bpw: 3.5, alphas } : { grid: `t${bits}` };
    const report = await source.quantize(output, choice);
    const quantized = await higgs.open(output.folder());
    const { bytes: written } = await quantized.inspect();
    assert.is(bytes, written);
    assert.ok(Math.abs(bpw - report.bpw) < 1e-9, `${bpw} ${report.bpw}`);
    assert.equal(memory, await quantized.runMemory());
    assert.is(speed, undefined, 'nothing is timed in no time');
    if (bits === 3.5) {
      const plan = await source.planBits(alphas, { bpw: 3.5 });
      assert.ok(Math.abs(prediction!.delta / plan.predicted - 1) < 1e-9);
    } else assert.ok(prediction!.delta > 0);
  }
  const [asItIs, three, mixed, four] = sizes;
  assert.is(asItIs.prediction, undefined);
  assert.is(asItIs.bpw, 16);
  assert.equal(asItIs.memory, await source.runMemory());
  assert.ok(three.bytes < mixed.bytes && mixed.bytes < four.bytes);
  assert.ok(three.prediction!.delta > mixed.prediction!.delta);
});

test('mixtures are made of the grids that are given', async () => {
  const source = await higgs.open(model());
  const options = { bpw: 3.5, grids: ['p2n16', 'p2n256'], alphas: uniformAlphas };
  const [, mixed] = await source.advise({ bits: [3.5], seconds: 0, grids: options.grids, alphas: uniformAlphas });
  assert.is(mixed.bytes, (await source.plan(options)).bytesOut);
  assert.is.not(mixed.bytes, (await source.plan({ bpw: 3.5, alphas: uniformAlphas })).bytesOut);
});

test('no weight is read, speed measured or not', async () => {
  const folder = model();
  let header = 0;
  let read = 0;
  const counting: Folder = {
    name: folder.name,
    list: () => folder.list(),
    async open(name) {
      const source: Source = await folder.open(name);
      return {
        byteLength: source.byteLength,
        slice(start, end) {
          if (name.endsWith('.safetensors')) read = Math.max(read, end);
          return source.slice(start, end);
        },
      };
    },
  };
  const source = await higgs.open(counting);
  header = read;
  const [asItIs, four] = await source.advise({ bits: [4], seconds: 0.01 });
  assert.is(read, header);
  for (const { speed } of [asItIs, four]) {
    if (speed === undefined && isEdge) continue;
    assert.ok(speed!.tokensPerSecond > 0 && Number.isFinite(speed!.tokensPerSecond));
    assert.is(speed!.layers, configs.llama.num_hidden_layers);
  }
});

test('a quantized model is advised of as it is, and one that does not run by its sizes', async () => {
  const output = memoryOutput();
  await higgs.quantizeCheckpoint(model(), output, { grid: 't4' });
  const sizes = await (await higgs.open(output.folder())).advise({ seconds: 0 });
  assert.is(sizes.length, 1);
  assert.ok(sizes[0].memory!.weights > 0);

  const config = { ...configs.llama, vocab_size: 267, model_type: 'parrot', architectures: ['ParrotForCausalLM'] };
  const strange = memoryFolder({ 'config.json': json(config), 'model.safetensors': randomFile(config, ['F32']) });
  for (const { bytes, memory, speed } of await (await higgs.open(strange)).advise({ bits: [4], seconds: 0.01 })) {
    assert.ok(bytes > 0);
    assert.is(memory, undefined);
    assert.is(speed, undefined);
  }
});

test('sensitivities choose and predict, embeddings are planned with a grid', async () => {
  const source = await higgs.open(model());
  const [, plain] = await source.advise({ bits: [4], seconds: 0, alphas: uniformAlphas });
  const [, small] = await source.advise({ bits: [4], seconds: 0, alphas: uniformAlphas, embeddings: 't4' });
  assert.is(plain.prediction!.estimator, 'uniform');
  assert.ok(small.bytes < plain.bytes);
  assert.equal(plain.prediction!.unknown, []);
});

test('every family has a speed', async () => {
  for (const [name, { config, model }] of Object.entries(families)) {
    const folder = memoryFolder({ 'config.json': json(config), 'model.safetensors': model });
    const speed = await measureSpeed(folder, { seconds: 0.001 });
    if (speed === undefined && isEdge) continue;
    assert.ok(speed!.tokensPerSecond > 0, name);
    assert.ok(speed!.timed >= 1 && speed!.timed <= speed!.layers, name);
  }
});

test.run();
