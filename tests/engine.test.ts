// Flags of engines: which one, and the forms of products that are right there.

import { execFileSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import relaxedBytes from '../build/decoder.relaxed.wasm';
import { engineFlag, setEngineFlag, takesFlag } from '../src/cli/common/engine.ts';
import { EIGHTS, EIGHTS_PAIRS, FUSED, PAIRS } from '../src/kernels/decoder/table.ts';

test('V8 11.3 and 14.6 alone get a flag, on x64 alone', () => {
  assert.match(engineFlag('11.3.244.8-node.38', 'x64') ?? '', /relaxed/);
  assert.match(engineFlag('14.6.202.34-node.34', 'x64') ?? '', /revectorize/);
  for (const v8 of ['11.3.244', '14.6.202']) assert.is(engineFlag(v8, 'arm64'), undefined);
  for (const v8 of ['10.2.154', '11.4.1', '11.30.1', '14.60.1', '15.0.1']) assert.is(engineFlag(v8, 'x64'), undefined);
});

test('takesFlag() is false for flags that are frozen or that the engine was built without', () => {
  const [relaxed, wide] = ['11.3.1', '14.6.1'].map((v8) => engineFlag(v8, 'x64')!);
  const built = { v8_enable_wasm_simd256_revec: 1 };
  assert.ok(takesFlag(relaxed, {}, []));
  assert.ok(takesFlag(wide, built, ['--max-old-space-size=4000']));
  assert.not(takesFlag(wide, {}, []));
  assert.not(takesFlag(wide, { v8_enable_wasm_simd256_revec: 0 }, []));
  for (const frozen of ['--freeze-flags-after-init', '--freeze_flags_after_init']) {
    for (const flag of [relaxed, wide]) assert.not(takesFlag(flag, built, ['--no-freeze-flags-after-init', frozen]));
    for (const no of ['--no-', '--no']) assert.ok(takesFlag(wide, built, [frozen, `${no}freeze-flags-after-init`]));
  }
});

test('higgs runs where flags are frozen', () => {
  const args = ['--freeze-flags-after-init', 'build/higgs.js', '--version'];
  assert.match(execFileSync(process.execPath, args, { encoding: 'utf8' }), /^\d+\.\d+\.\d+\n$/);
});

test('with the flag this engine takes the relaxed kernels, by the forms that its first compiler has right', async () => {
  setEngineFlag();
  const { decoderBinary, forms } = await import('../src/kernels/decoder/load.ts');
  assert.is(decoderBinary, relaxedBytes);
  const isFirst = process.versions.v8.startsWith('11.3.');
  assert.equal(forms, isFirst ? [PAIRS] : [FUSED, PAIRS, EIGHTS, EIGHTS_PAIRS]);
});

test.run();
