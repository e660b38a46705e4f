// open(): one listing, one opening of a file, one reading of its header, however much is asked for; and the same as the one-call
// functions give.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Folder, load, priorAlphas, type Source } from '../src/index.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { configs, randomFile } from './models.ts';
import { byteLevelContent } from './tokenizers.ts';

const higgs = await load();
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function model(): Folder {
  const config = { ...configs.llama, vocab_size: 267, bos_token_id: 264, eos_token_id: 265 };
  return memoryFolder({
    'config.json': json(config),
    'model.safetensors': randomFile(config, ['BF16']),
    'tokenizer.json': json(byteLevelContent()),
  });
}

// A folder, and what was asked of it.
function watched(folder: Folder) {
  const calls = { list: 0, open: {} as Record<string, number>, slices: {} as Record<string, [number, number][]> };
  const watching: Folder = {
    name: folder.name,
    list() {
      calls.list++;
      return folder.list();
    },
    async open(name) {
      calls.open[name] = (calls.open[name] ?? 0) + 1;
      calls.slices[name] ??= [];
      const source: Source = await folder.open(name);
      return {
        byteLength: source.byteLength,
        slice(start, end, ...rest) {
          calls.slices[name].push([start, end]);
          return source.slice(start, end, ...rest);
        },
      };
    },
  };
  return { folder: watching, calls };
}

test('whatever is asked of an open checkpoint, its listing, files and headers are read once', async () => {
  const { folder, calls } = watched(model());
  const checkpoint = await higgs.open(folder);
  assert.is(calls.slices['model.safetensors'].at(0)?.[0], 0);
  const headers = calls.slices['model.safetensors'].length;

  await checkpoint.inspect();
  await checkpoint.plan({ grid: 'p1n8' });
  const tensors = await checkpoint.planTensors();
  const bits = await checkpoint.planBits(priorAlphas(tensors), { bpw: 4 });
  assert.is(calls.slices['model.safetensors'].length, headers, 'plans read no more than headers');

  await checkpoint.quantize(memoryOutput(), { plan: bits });
  await checkpoint.sensitivity({ sequences: 1, tokens: 8 });
  const loaded = await checkpoint.run();
  await loaded.logits([1, 2, 3]);
  await loaded.close();

  assert.is(calls.list, 1);
  for (const [name, count] of Object.entries(calls.open)) assert.is(count, 1, `${name} is opened once`);
  assert.ok('config.json' in calls.open && 'tokenizer.json' in calls.open);
  assert.is(calls.slices['config.json'].length, 1);
  const again = calls.slices['model.safetensors'].filter(([start]) => start === 0);
  assert.is(again.length, 1, 'the header is read once');
});

test('a quantized checkpoint is read once too, and the original that it is verified against', async () => {
  const output = memoryOutput();
  const original = watched(model());
  const plain = await higgs.open(original.folder);
  await plain.quantize(output);
  const quantized = watched(output.folder());
  const checkpoint = await higgs.open(quantized.folder);
  await checkpoint.inspect();
  await checkpoint.verify();
  await checkpoint.verify({ against: plain });
  await checkpoint.dequantize(memoryOutput());
  const loaded = await checkpoint.run();
  await loaded.close();
  for (const { calls } of [original, quantized]) {
    assert.is(calls.list, 1);
    assert.is(Math.max(...Object.values(calls.open)), 1);
  }
});

test('an open checkpoint gives what the one-call functions give', async () => {
  const folder = model();
  const checkpoint = await higgs.open(folder);
  const planned = await checkpoint.plan({ grid: 'p1n8', seed: 3 });
  const outputs = [memoryOutput(), memoryOutput(), memoryOutput()];
  await higgs.quantizeCheckpoint(folder, outputs[0], { grid: 'p1n8', seed: 3 });
  await checkpoint.quantize(outputs[1], { grid: 'p1n8', seed: 3 });
  await checkpoint.quantize(outputs[2], { grid: 'p1n8', seed: 3, planned });
  const [first, ...others] = await Promise.all(outputs.map((output) => contentOf(output.folder())));
  for (const other of others) assert.equal(other, first);
});

async function contentOf(folder: Folder): Promise<Record<string, Uint8Array>> {
  const content: Record<string, Uint8Array> = {};
  for (const name of (await folder.list()).sort()) {
    const source = await folder.open(name);
    content[name] = new Uint8Array(await source.slice(0, source.byteLength));
  }
  return content;
}

test('what a server could not give once is asked for again', async () => {
  const folder = model();
  const fails = { list: true, 'tokenizer.json': true } as Record<string, boolean>;
  const once = (name: string) => {
    if (!fails[name]) return;
    fails[name] = false;
    throw new Error('away for a moment');
  };
  const flaky: Folder = {
    name: folder.name,
    async list() {
      once('list');
      return folder.list();
    },
    async open(name) {
      once(name);
      return folder.open(name);
    },
  };
  const refused = await higgs.open(flaky).catch((error) => error.message);
  assert.is(refused, 'away for a moment');
  const checkpoint = await higgs.open(flaky);
  assert.is(await checkpoint.run().catch((error) => error.message), 'away for a moment');
  await (await checkpoint.run()).close();
});

test('only a plan of this checkpoint is taken for one', async () => {
  const [checkpoint, other] = [await higgs.open(model()), await higgs.open(model())];
  const planned = await other.plan();
  for (const wrong of [planned, {}, null, 'plan']) {
    await checkpoint.quantize(memoryOutput(), { planned: wrong as typeof planned }).then(
      () => assert.unreachable('it went on'),
      (error) => assert.match(error.message, /^planned must be what plan\(\) of this checkpoint gave/),
    );
  }
});

test.run();
