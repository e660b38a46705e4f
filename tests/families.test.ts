// Every family against its own code: tiny checkpoints with the logits that transformers computes in f64 (tests/families/make.py).

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { logSumExp } from '../src/numerics/exponential.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryOutput, readSafetensors, safetensors } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { deviation, farthest, logitsOf, referencesOf } from './references.ts';

const test = suite('families');
const MOST = 2e-4; // logits are of order 1
/** What activations in integers may cost, of the logits' deviation: 8 bits with t4, up to 16 with p2n256. */
const INTEGERS = { t4: 0.04, p2n256: 0.004 } as const;
/** As much as that for models with experts, where some tokens go to others. */
const ROUTED = 5;
/** And for those with a recurrent state, which errors stay in, or with scores that are not scaled down. */
const KEPT = 5;

for (const [name, { config, model, logits }] of Object.entries(families)) {
  const folder = modelFolder(config, model);
  const references = referencesOf(logits);

  test(`forward() agrees with the family's own code: ${name}`, async () => {
    for (const reference of references) {
      const wanted = reference.logits;
      assert.ok(deviation(wanted) > 0.1, `logits say little: ${deviation(wanted)}`);
      const most = farthest(await logitsOf(folder, reference), wanted);
      assert.ok(most <= MOST, `context ${reference.context}: ${most} is more than ${MOST}`);
    }
  });

  test(`forward() gives the same bits for one id at a time as for all: ${name}`, async () => {
    for (const { context, ids } of references) {
      const model = await loadAlone(folder, { context });
      const all = await model.forward(ids, { logits: 'all' });
      const rows = [];
      for (const [i, id] of ids.entries()) rows.push(...(await model.forward([id], { from: i })));
      sameBits(all, Float32Array.from(rows));
      await model.close();
    }
  });

  test(`a quantized checkpoint gives the logits of its decoded weights: ${name}`, async () => {
    const higgs = await load();
    for (const [grid, integers] of Object.entries(INTEGERS)) {
      const [output, decoded] = [memoryOutput(), memoryOutput()];
      const report = await higgs.quantizeCheckpoint(folder, output, { grid, groupSize: 16, seed: 5, embeddings: grid });
      assert.ok(report.tensors.length > 0);
      assert.ok(report.tensors.every(({ name }) => !/vision|multi_modal/.test(name)));
      await higgs.dequantizeCheckpoint(output.folder(), decoded, { dtype: 'F32' });
      for (const reference of references) {
        const wanted = await logitsOf(decoded.folder(), reference);
        const most = farthest(await logitsOf(output.folder(), reference), wanted);
        assert.ok(most <= MOST, `${grid}, f32: ${most} is more than ${MOST}`);
        const model = await loadAlone(output.folder(), { context: reference.context });
        const actual = await model.forward(reference.ids, { logits: 'all' });
        const apart = deviation(actual.map((value, i) => value - wanted[i])) / deviation(wanted);
        const has = (names: RegExp) => names.test(JSON.stringify(config));
        const kept = has(/"(linear_key_head_dim|global_head_dim|per_layer_config)"/) ? KEPT : 0;
        const limit = (kept + (has(/"num_experts_per_tok"/) ? ROUTED : 0) || 1) * integers;
        assert.ok(apart <= limit, `${grid}, int8: ${apart} of the deviation is more than ${limit}`);
        await model.close();
      }
    }
  });
}

for (const name of ['trained_gemma2', 'trained_phi3']) {
  test(`a trained model predicts, and hardly worse at 4 bits: ${name}`, async () => {
    const { config, model, logits } = families[name];
    const [reference] = referencesOf(logits);
    const exact = perplexityOf(reference.logits, reference.ids);
    assert.ok(exact < 16, `of 96 letters: ${exact}`);
    const folder = modelFolder(config, model);
    const actual = perplexityOf(await logitsOf(folder, reference), reference.ids);
    assert.ok(Math.abs(actual / exact - 1) < 1e-5, `${actual}, not ${exact}`);
    const output = memoryOutput();
    await (await load()).quantizeCheckpoint(folder, output, { grid: 't4', groupSize: 32, seed: 5 });
    const quantized = await loadAlone(output.folder(), { context: reference.context });
    const four = perplexityOf(await quantized.forward(reference.ids, { logits: 'all' }), reference.ids);
    assert.ok(four < 1.1 * exact, `${four} at 4 bits, ${exact} before`);
    await quantized.close();
  });
}

test('the text model of a larger one runs under the names of older and of newer releases', async () => {
  const { config, model, logits } = families.gemma3;
  const { tensors } = readSafetensors(model);
  const rename = (name: string) =>
    name.replace('language_model.lm_head', 'lm_head').replace(/^language_model\.model/, 'model.language_model');
  const newer = safetensors(Object.fromEntries([...tensors].map(([name, tensor]) => [rename(name), tensor])));
  for (const reference of referencesOf(logits)) {
    sameBits(
      await logitsOf(modelFolder(config, newer), reference),
      await logitsOf(modelFolder(config, model), reference),
    );
  }
});

test.run();

// e to the mean of −ln p of each id behind the first.
function perplexityOf(logits: ArrayLike<number>, ids: readonly number[]): number {
  const width = logits.length / ids.length;
  let sum = 0;
  for (let t = 1; t < ids.length; t++) {
    const row = Array.from({ length: width }, (_, i) => logits[(t - 1) * width + i]);
    sum += logSumExp(row) - row[ids[t]];
  }
  return Math.exp(sum / (ids.length - 1));
}
