// Every architecture, with random weights, against the oracle in f64; quantized weights against the weights they stand for.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { configs, modelFolder, randomFile, randomIds } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('models');
const ids = randomIds(70, 361); // more than a batch

/** Logits here have a deviation of about 1; each is a few hundred roundings of f32 from exact, of f16 where the cache rounds. */
const TOLERANCES = { f32: 5e-5, f16: 1e-2 } as const;

for (const [name, config] of Object.entries(configs)) {
  test(`forward() and hidden() agree with the oracle: ${name}`, async () => {
    const file = randomFile(config);
    const oracle = oracleOf(config, tensorsOf(file));
    const wanted = oracle.logits(ids);
    for (const cache of ['f32', 'f16'] as const) {
      const model = await loadAlone(modelFolder(config, file), { cache });
      near(await model.forward(ids, { logits: 'all' }), wanted, TOLERANCES[cache]);
      near(await model.hidden(ids), oracle.hidden(ids), TOLERANCES[cache]);
      await model.close();
    }
  });

  test(`forward() gives the same bits for one id at a time as for all: ${name}`, async () => {
    const model = await loadAlone(modelFolder(config, randomFile(config)));
    const all = await model.forward(ids, { logits: 'all' });
    await model.forward(ids.slice(0, 1));
    const rows = [];
    for (const [i, id] of ids.entries()) rows.push(...(await model.forward([id], { from: i })));
    sameBits(all, Float32Array.from(rows));
    await model.close();
  });
}

for (const grid of ['p2n256', 'p1n8', 'p2n16']) {
  test(`forward() of a quantized checkpoint agrees with the oracle on its decoded weights: ${grid}`, async () => {
    const higgs = await load();
    for (const name of ['llama, llama3 rope', 'qwen3', 'llama, biases, linear rope, interleaved']) {
      const config = configs[name];
      for (const embeddings of [undefined, 'p1n16']) {
        const output = memoryOutput();
        const options = { grid, groupSize: 32, seed: 5, ...(embeddings && { embeddings }) };
        await higgs.quantizeCheckpoint(modelFolder(config, randomFile(config)), output, options);
        const decoded = memoryOutput();
        await higgs.dequantizeCheckpoint(output.folder(), decoded, { dtype: 'F32' });
        const wanted = oracleOf(config, tensorsOf(decoded.files.get('model.safetensors')!)).logits(ids);
        const model = await loadAlone(output.folder(), { cache: 'f32', activations: 'f32' });
        near(await model.forward(ids, { logits: 'all' }), wanted, TOLERANCES.f32);
        await model.close();
      }
    }
  });
}

test('loadModel() uses the token embedding as head when there is no other', async () => {
  const config = { ...configs['llama, rope_parameters'] };
  const file = randomFile(config);
  const tied = await loadAlone(modelFolder(config, file));
  const untold = await loadAlone(modelFolder({ ...config, tie_word_embeddings: undefined }, file));
  sameBits(await untold.forward(ids), await tied.forward(ids));
});

test.run();

function near(actual: Float32Array, wanted: Float64Array[], tolerance: number): void {
  const width = wanted[0].length;
  assert.is(actual.length, wanted.length * width);
  let most = 0;
  for (const [t, row] of wanted.entries()) {
    for (const [i, value] of row.entries()) most = Math.max(most, Math.abs(actual[t * width + i] - value));
  }
  assert.ok(most <= tolerance, `${most} is more than ${tolerance}`);
}
