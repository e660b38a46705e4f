// A binary is compiled once, however often the library is loaded and models run.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { compiled } from '../src/kernels/compile.ts';
import { loadAlone } from './alone.ts';
import { configs, modelFolder, randomFile } from './models.ts';

const test = suite('compile');
const EMPTY = [0, 97, 115, 109, 1, 0, 0, 0]; // a module of nothing

test('compiled() gives the same module for the same bytes, and a module as it is', async () => {
  const bytes = Uint8Array.from(EMPTY);
  const module = await compiled(bytes);
  assert.is(await compiled(bytes), module);
  assert.is(await compiled(module), module);
  assert.is.not(await compiled(Uint8Array.from(EMPTY)), module);
});

test('compiled() tries again when it failed', async () => {
  const bytes = Uint8Array.from(EMPTY);
  const { compile } = WebAssembly;
  WebAssembly.compile = () => Promise.reject(new RangeError('no memory'));
  try {
    const message = await compiled(bytes).then(
      () => '',
      (error) => error.message,
    );
    assert.is(message, 'no memory');
  } finally {
    WebAssembly.compile = compile;
  }
  assert.instance(await compiled(bytes), WebAssembly.Module);
});

test('load() and models compile their binaries at most once', async () => {
  const { compile } = WebAssembly;
  const modules: unknown[] = [];
  WebAssembly.compile = (bytes) => {
    modules.push(bytes);
    return compile(bytes);
  };
  try {
    for (let time = 0; time < 3; time++) {
      await load();
      const model = await loadAlone(modelFolder(configs.llama, randomFile(configs.llama)), { context: 8 });
      await model.close();
    }
  } finally {
    WebAssembly.compile = compile;
  }
  assert.ok(modules.length >= 2); // a runtime may have binaries of its own
  assert.is(new Set(modules).size, modules.length);
});

test.run();
