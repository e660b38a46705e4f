// A trained model whose weights are made F8 in blocks (Node and what follows it only).

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Folder, load } from '../src/index.ts';
import { openFolder } from '../src/source/file.ts';
import { memoryFolder, memoryOutput, readSafetensors, safetensors, type Tensor, valuesOf } from './checkpoints.ts';
import { float8 } from './deepseek.ts';

const test = suite('float8, trained');
const higgs = await load();

test('a trained model in F8 has a perplexity near the original’s, also quantized', async () => {
  const from = await openFolder('models/books-llama');
  const read = async (name: string) => {
    const source = await from.open(name);
    return new Uint8Array(await source.slice(0, source.byteLength));
  };
  const tensors: Record<string, Tensor> = {};
  for (const [name, tensor] of readSafetensors(await read('model.safetensors')).tensors) {
    if (name.includes('proj'))
      Object.assign(tensors, float8(name, tensor.shape, Float32Array.from(valuesOf(tensor))).tensors);
    else tensors[name] = tensor;
  }
  const rest = ['tokenizer.json', 'tokenizer_config.json', 'generation_config.json'];
  const files = Object.fromEntries(await Promise.all(rest.map(async (name) => [name, await read(name)] as const)));
  const about = JSON.parse(new TextDecoder().decode(await read('config.json')));
  const fp8 = new TextEncoder().encode(JSON.stringify({ ...about, quantization_config: { quant_method: 'fp8' } }));
  const folder = memoryFolder({ ...files, 'config.json': fp8, 'model.safetensors': safetensors(tensors) });
  const text = new TextDecoder().decode((await read('valid.txt')).subarray(0, 3000));
  const perplexityOf = async (folder: Folder) => {
    const model = await higgs.loadModel(folder);
    const { perplexity } = await model.perplexity(text, { context: 256 });
    await model.close();
    return perplexity;
  };
  const original = await perplexityOf(from);
  const perplexity = await perplexityOf(folder);
  assert.ok(perplexity !== original && Math.abs(perplexity / original - 1) < 0.01, `${perplexity} beside ${original}`);
  const output = memoryOutput();
  await (await higgs.open(folder)).quantize(output, { grid: 't4', groupSize: 256 });
  const codes = await perplexityOf(output.folder());
  assert.ok(Math.abs(codes / original - 1) < 0.05, `${codes} beside ${original}`);
  await from.close();
});

test.run();
