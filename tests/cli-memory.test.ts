// What does not fit is said before anything is read.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkCopy } from '../src/cli/common/measurement.ts';
import { checkFits, freeMemory } from '../src/cli/common/memory.ts';
import { estimateMemory, loadLanguage } from '../src/model/model.ts';
import { openFolder } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { fails, folder, higgs, succeeds, temporaryRoot } from './command.ts';
import { countBytes } from './counting.ts';
import { families } from './families/index.ts';
import { type Config, configs, modelFolder, randomFile } from './models.ts';

temporaryRoot();

const GB = 1e9;
// Eight billion weights at 16 bits, and a cache of 32768 tokens.
const need = {
  ...{ bytes: 21.3 * GB, weights: 16 * GB, cache: 4.3 * GB, activations: 1 * GB, memories: 6 },
  ...{ parameters: 8 * GB, context: 32768, cacheTokens: 32768, experts: { count: 0, bytes: 0, resident: 0 } },
  caches: { f32: 8.6 * GB, f16: 4.3 * GB, q8: 2.2 * GB, q4: 1.1 * GB },
};
const ofFloats = { f32: 4.3 * GB, f16: 2.15 * GB, q8: 1.1 * GB, q4: 0.6 * GB };

function refusal(dtype: 'f16' | 'f32', free: number): string {
  try {
    checkFits({ ...need, ...(dtype === 'f32' && { caches: ofFloats }) }, dtype, free);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

test('what fits is not refused; what does not is, with its sizes, what is free, and what would fit', () => {
  assert.is(refusal('f16', 21.3 * GB), '');
  const sizes =
    'model needs 21.3 GB of memory at a context of 32768: weights 16.0 GB, cache 4.30 GB, activations 1.00 GB; ';
  assert.is(refusal('f16', 20 * GB), `${sizes}20.0 GB are free; what fits: --cache q8 or --context 16384`);
  assert.is(refusal('f32', 20 * GB), `${sizes}20.0 GB are free; what fits: --cache f16 or --context 16384`);
  const quantized = (bits: number, size: string) =>
    `what fits: the original quantized with --bits ${bits} --embeddings t${bits}, ${size} of weights`;
  assert.is(refusal('f16', 12 * GB), `${sizes}12.0 GB are free; ${quantized(4, '4.06 GB')}`);
  assert.is(refusal('f16', 8 * GB), `${sizes}8.00 GB are free; ${quantized(2, '2.06 GB')}`);
  assert.is(refusal('f16', 2 * GB), `${sizes}2.00 GB are free`);
});

test('a copy that samples tokens must fit memory', () => {
  checkCopy(4.04 * GB, 4.04 * GB);
  assert.throws(
    () => checkCopy(4.04 * GB, 3 * GB),
    /^copy that samples the tokens must fit memory: it takes 4\.04 GB, of 3\.00 GB; .* --source random needs none$/,
  );
});

test('of a model with experts fewer of them in memory are offered', () => {
  const free = 12 * GB;
  const of = (count: number, resident: number) => {
    try {
      checkFits({ ...need, experts: { count, bytes: 14 * GB, resident } }, 'f16', free);
    } catch (error) {
      return (error as Error).message.split('; ').at(-1);
    }
  };
  assert.is(of(64, 64), 'what fits: --memory 12000MB');
  assert.match(of(64, 20)!, /quantized with --bits 4/);
});

test('--memory bounds a model, tells what was read, and changes no token', async () => {
  const { config, model } = families.qwen3_moe;
  const path = await folder({ 'config.json': JSON.stringify(config), 'model.safetensors': model });
  const opened = await openFolder(path);
  const { bytes, experts } = await estimateMemory(opened, { context: 64 });
  await opened.close();
  const memory = bytes - Math.floor(experts.bytes / 2);
  const args = ['bench', path, '--context', '64', '--threads', '1', '--prompt-tokens', '20', '-n', '4', '--runs', '1'];
  const { memory: used, paging } = JSON.parse((await higgs(...args, '--json', '--memory', String(memory))).stdout);
  assert.ok(used.bytes <= memory);
  assert.is(paging.experts, experts.count);
  assert.ok(paging.slots < experts.count && paging.misses > 0 && paging.bytesRead > 0);
  assert.match((await higgs(...args, '--memory', String(memory))).stdout, /\nexperts {3}\d+ of 21 in memory, /);
  assert.is(JSON.parse((await higgs(...args, '--json')).stdout).paging, undefined);
});

test('inspect and plan show what advise does, if they are asked to', async () => {
  const books = 'models/books-llama';
  const inspected = JSON.parse((await succeeds(higgs('inspect', books, '--advise', '--json'))).stdout);
  assert.ok(inspected.tensors.length > 50);
  assert.equal(
    inspected.sizes.map(({ bits }: { bits?: number }) => bits),
    [undefined, 2, 2.5, 3, 3.5, 4, 4.5],
  );
  const budget = ['--bpw', '3.5', '--prior', '--threads', '1', '--advise'];
  const { plan, sizes } = JSON.parse((await succeeds(higgs('plan', books, ...budget, '--json'))).stdout);
  const size = sizes.find(({ bits }: { bits?: number }) => bits === Number(plan.bpw.toFixed(2)));
  assert.ok(size.memory.bytes > 0 && Math.abs(size.bpw - plan.bpw) < 0.1);
  const { stdout, stderr } = await succeeds(higgs('plan', books, ...budget));
  assert.match(stdout, /^--bits 3 +3\.06 /m);
  assert.match(stderr, /loss is a prior/);
});

test('advise shows the model as it is and at several sizes, as a table or as JSON', async () => {
  const config = { ...configs.llama, vocab_size: 300 };
  const path = await folder({
    'config.json': JSON.stringify(config),
    'model.safetensors': randomFile(config, ['BF16']),
  });
  const args = ['advise', path, '--bits', '2.5,4', '--seconds', '0.05', '--threads', '1'];
  const { stdout, stderr } = await higgs(...args);
  assert.match(stdout, /^size +bits +files +memory +tokens\/s +loss$/m);
  assert.match(stdout, /^as it is +16\.00 .* MB +\d+/m);
  assert.match(stdout, /^--bpw 2\.5 +2\.\d\d .* ×$/m);
  assert.match(stdout, /^--bits 4 +4\.\d\d .* 1\.00 ×$/m);
  assert.match(stdout, /of each size are embeddings and head: --embeddings t4/);
  assert.match(stderr, /^loss is a prior, from another model/m);
  const { sizes, free } = JSON.parse((await higgs(...args, '--json', '--embeddings', 't4')).stdout);
  assert.equal(
    sizes.map(({ bits }: { bits?: number }) => bits),
    [undefined, 4], // with embeddings of four bits no plan has 2.5
  );
  assert.ok(free > 0 && sizes[1].bytes < sizes[0].bytes && sizes[1].speed.tokensPerSecond > 0);
  const refused = await higgs('advise', path, '--bits', '0');
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /must be numbers of bits above 0/);
});

test('a page whose device has not the memory is told so, before anything is read or made', async () => {
  const plain = modelFolder(configs.llama, randomFile(configs.llama));
  let bytesRead = 0;
  const input: Folder = {
    ...plain,
    open: async (name) => {
      const source = await plain.open(name);
      const slice = (start: number, end: number) => {
        bytesRead += end - start;
        return source.slice(start, end);
      };
      return { byteLength: source.byteLength, slice };
    },
  };
  const { cache } = await estimateMemory(plain, { context: 96 });
  const options = { context: 96, cacheTokens: Math.floor((500e6 / cache) * 96) };
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  const counted = countBytes();
  try {
    Object.defineProperty(globalThis, 'navigator', { value: { deviceMemory: 0.25 }, configurable: true });
    const error = await loadLanguage(input, options).catch((error) => error);
    assert.match(
      `${error.name}: ${error.message}`,
      /^RangeError: model must fit memory: at a context of 96 it needs 4\d\d MB, weights 1 MB, cache 47\d MB, activations \d+ MB; this device has less than 384 MB; what fits: cache q8 or cacheTokens 96$/,
    );
  } finally {
    counted.stop();
    if (before) Object.defineProperty(globalThis, 'navigator', before);
    else Reflect.deleteProperty(globalThis, 'navigator');
  }
  assert.equal(counted.memories, []);
  assert.ok(bytesRead < 20_000, `${bytesRead} bytes are read`);
});

test('freeMemory() is of this machine', () => {
  assert.ok(freeMemory() > 1e8 && freeMemory() < 1e14);
});

test('generate refuses a context that the machine has no memory for, and reads no weight', async () => {
  // 200 layers of one head of 16: 107 GB of cache, and 4 MB of weights.
  const positions = 2 ** 22;
  const config: Config = {
    ...configs.llama,
    ...{ hidden_size: 16, intermediate_size: 16, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 16 },
    ...{ num_hidden_layers: 200, max_position_embeddings: positions },
  };
  const path = await folder({ 'config.json': JSON.stringify(config), 'model.safetensors': randomFile(config) });
  const args = ['generate', path, '-p', 'The', '--context', String(positions), '--cache', 'f32', '--threads', '1'];
  const stderr = await fails(higgs(...args));
  assert.match(stderr, /^higgs: model needs 108 GB of memory at a context of 4194304: weights \S+ MB, cache 107 GB, /);
  assert.match(stderr, /GB are free; what fits: (--cache q[84] or )?--context 65536\n$/);
});

test.run();
