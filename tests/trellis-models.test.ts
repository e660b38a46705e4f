// Whole models whose weights are a trellis': against the oracle, by either kind of activation, on several threads.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { startThreads } from '../src/workers/node.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { configs, modelFolder, randomFile, randomIds } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('models with trellises');
const ids = randomIds(70, 361); // more than a batch
const higgs = await load();

for (const [grid, groupSize, name] of [
  ['t4', 32, 'llama'],
  ['t4q', 16, 'qwen3'],
  ['t3', 1024, 'llama, biases, linear rope, interleaved'],
  ['t2', 64, 'llama, llama3 rope'],
  ['t4z', 64, 'llama'],
  ['t5', 1024, 'qwen3'],
  ['t6', 64, 'llama, llama3 rope'],
] as const) {
  test(`forward() of a checkpoint in ${grid} agrees with the oracle, by f32 and by int8`, async () => {
    const config = configs[name];
    const output = memoryOutput();
    const options = { grid, groupSize, seed: 5, embeddings: 't4' };
    await higgs.quantizeCheckpoint(modelFolder(config, randomFile(config)), output, options);
    const decoded = memoryOutput();
    await higgs.dequantizeCheckpoint(output.folder(), decoded, { dtype: 'F32' });
    const wanted = oracleOf(config, tensorsOf(decoded.files.get('model.safetensors')!)).logits(ids);
    for (const [activations, tolerance] of [
      ['f32', 5e-5],
      ['int8', 0.15],
    ] as const) {
      const model = await loadAlone(output.folder(), { cache: 'f32', activations });
      const all = await model.forward(ids, { logits: 'all' });
      near(all, wanted, tolerance);
      const rows: number[] = [];
      for (const [i, id] of ids.slice(0, 20).entries()) rows.push(...(await model.forward([id], { from: i })));
      sameBits(Float32Array.from(rows), all.slice(0, rows.length), 'one id at a time');
      const team = await loadAlone(output.folder(), { cache: 'f32', activations, threads: await startThreads(3) });
      sameBits(await team.forward(ids, { logits: 'all' }), all, 'three threads');
      await team.close();
      await model.close();
    }
  });
}

test.run();

function near(actual: Float32Array, wanted: Float64Array[], tolerance: number): void {
  const width = wanted[0].length;
  let most = 0;
  for (const [t, row] of wanted.entries()) {
    for (const [i, value] of row.entries()) most = Math.max(most, Math.abs(actual[t * width + i] - value));
  }
  assert.ok(most <= tolerance, `${most} is more than ${tolerance}`);
}
