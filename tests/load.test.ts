// load(): the embedded kernels, a module that the caller compiled, and a runtime without SIMD.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import bytes from '../build/higgs.wasm';
import { load, UnsupportedError } from '../src/index.ts';
import { normals, sameBits } from './bits.ts';

test('load() of a compiled module gives the codes that load() gives', async () => {
  const module = await WebAssembly.compile(bytes);
  assert.instance(module, WebAssembly.Module);
  const weights = normals(3 * 100);
  const [own, given] = [await load(), await load(module)].map((higgs) =>
    higgs.quantize(weights, { rows: 3, cols: 100 }),
  );
  sameBits(given.packed, own.packed);
  sameBits(given.scales, own.scales);
});

test('load() rejects with UnsupportedError "simd" when WebAssembly has no SIMD', async () => {
  const { validate } = WebAssembly;
  const seen: BufferSource[] = [];
  WebAssembly.validate = (module) => {
    seen.push(module);
    return false;
  };
  try {
    await load().then(
      () => assert.unreachable('load() went on'),
      (error) => {
        assert.instance(error, UnsupportedError);
        assert.is(error.feature, 'simd');
        assert.is(error.message, 'this runtime must support WebAssembly SIMD (128 bit): it does not');
      },
    );
  } finally {
    WebAssembly.validate = validate;
  }
  assert.is(seen.length, 1);
  assert.ok(validate(seen[0]), 'what it asks is valid where SIMD is');
});

test.run();
