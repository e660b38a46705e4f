// Products in integers, the fast path, held to products in f32: predictions of the embedded model, quantized.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { openFolder } from '../src/source/file.ts';
import { memoryOutput } from './checkpoints.ts';

const test = suite('activations');
const WINDOWS = 4;
const ids = 255 * WINDOWS;

// p1n16 alone has 7-bit grid values and 8-bit activations. Quantizing itself costs a KL of 0.01 at 4 bits, 0.2 at 2.
for (const [grid, most] of [
  ['p1n16', 5e-4],
  ['p2n256', 2e-6],
  ['p2n16', 2e-6],
] as const) {
  test(`int8 predicts as f32 does: ${grid}, mean KL below ${most}, perplexity within 0.2 %`, async () => {
    const higgs = await load();
    const folder = await openFolder('models/books-llama');
    const output = memoryOutput();
    await higgs.quantizeCheckpoint(folder, output, { grid, embeddings: grid });
    await folder.close();
    const [fast, exact] = [
      await higgs.loadModel(output.folder(), { context: 256 }),
      await higgs.loadModel(output.folder(), { context: 256, activations: 'f32' }),
    ];
    const text = readFileSync('models/books-llama/test.txt', 'utf8').slice(0, 4 * ids);
    const tokens = fast.tokenizer.encode(text, { special: false }).slice(0, ids);
    const { against, tokensScored } = await fast.perplexity(tokens, { against: exact });
    assert.is(tokensScored, ids);
    assert.ok(against!.meanKl > 0 && against!.meanKl < most, `mean KL ${against!.meanKl}`);
    assert.ok(Math.abs(against!.ratio - 1) < 0.002, `ratio ${against!.ratio}`);
    await fast.close();
    await exact.close();
  });
}

test.run();
