// Relaxed SIMD where an engine has it behind a flag: which one, and the forms of products that are right there.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import relaxedBytes from '../build/decoder.relaxed.wasm';
import { allowRelaxedSimd, relaxedFlag } from '../src/cli/common/relaxed.ts';
import { FUSED, PAIRS } from '../src/kernels/decoder/table.ts';

test('V8 11.3 alone gets a flag, on x64 alone', () => {
  assert.match(relaxedFlag('11.3.244.8-node.38', 'x64') ?? '', /relaxed/);
  assert.is(relaxedFlag('11.3.244.8-node.38', 'arm64'), undefined);
  for (const v8 of ['10.2.154', '11.4.1', '11.30.1', '14.6.202']) assert.is(relaxedFlag(v8, 'x64'), undefined);
});

test('with the flag this engine takes the relaxed kernels, by the form that its first compiler has right', async () => {
  allowRelaxedSimd();
  const { decoderBinary, forms } = await import('../src/kernels/decoder/load.ts');
  assert.is(decoderBinary, relaxedBytes);
  assert.equal(forms, relaxedFlag(process.versions.v8, process.arch) ? [PAIRS] : [FUSED, PAIRS]);
});

test.run();
