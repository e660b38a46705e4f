// Trained models that are not part of the project, where they are there, against the oracle.

import { existsSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadAlone } from './alone.ts';
import { memoryFolder } from './checkpoints.ts';
import { randomIds } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('trained models');
const FOLDER = '../shared/data/models';

for (const name of ['stories260K', 'babyllama361']) {
  const folder = `${FOLDER}/${name}`;
  if (!existsSync(folder)) {
    console.log(`${folder} is not there: its test is left out`);
    continue;
  }
  test(`forward() agrees with the oracle: ${name}`, async () => {
    const read = (file: string) => new Uint8Array(readFileSync(`${folder}/${file}`));
    const [config, weights] = [read('config.json'), read('model.safetensors')];
    const model = await loadAlone(memoryFolder({ 'config.json': config, 'model.safetensors': weights }), {
      cache: 'f32',
    });
    const ids = [1, ...randomIds(20, model.config.vocabSize)];
    const actual = await model.forward(ids, { logits: 'all' });
    const wanted = oracleOf(JSON.parse(new TextDecoder().decode(config)), tensorsOf(weights)).logits(ids);
    for (const [t, row] of wanted.entries()) {
      for (const [i, value] of row.entries()) {
        assert.ok(Math.abs(actual[t * row.length + i] - value) < 1e-4, `${actual[t * row.length + i]} is not ${value}`);
      }
    }
  });
}

test.run();
