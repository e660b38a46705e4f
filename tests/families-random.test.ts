// Families against their own code at other sizes, made on the spot: SEEDS tells which seeds, `3` or `3-20`. Threads on the goldens.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openFolder } from '../src/source/file.ts';
import { startThreads } from '../src/workers/node.ts';
import { sameBits } from './bits.ts';
import { families } from './families/index.ts';
import { testWith } from './installed.ts';
import { modelFolder } from './models.ts';
import { deviation, farthest, logitsOf, referencesOf } from './references.ts';

const test = suite('families, random');
const [first, last = first] = (process.env.SEEDS ?? '1').split('-').map(Number);

for (const [name, { config, model, logits }] of Object.entries(families)) {
  test(`1 and 2 threads give the same bits: ${name}`, async () => {
    const folder = modelFolder(config, model);
    for (const reference of referencesOf(logits)) {
      sameBits(await logitsOf(folder, reference, await startThreads(2)), await logitsOf(folder, reference));
    }
  });
}

testWith(test, 'python', `forward() agrees with the families' own code: seeds ${first} to ${last}`, async (python) => {
  const out = mkdtempSync(join(tmpdir(), 'higgs-families-'));
  const seeds = Array.from({ length: last - first + 1 }, (_, i) => String(first + i));
  try {
    execFileSync(python, ['tests/families/make.py', '--out', out, '--seed', ...seeds], { stdio: 'pipe' });
    const far: string[] = [];
    for (const name of readdirSync(out)) far.push(...(await farOff(join(out, name))));
    assert.equal(far, []);
  } finally {
    rmSync(out, { recursive: true });
  }
});

test.run();

// The runs of a checkpoint whose logits are farther off than 2e-4 of what they are. Where the family's own code errs as much in f32,
// as a long state does that forgets little, ours may err eight times as much: it adds in another order.
async function farOff(path: string): Promise<string[]> {
  const folder = await openFolder(path);
  const far: string[] = [];
  for (const reference of referencesOf(readFileSync(join(path, 'logits.safetensors')))) {
    const scale = Math.max(1, deviation(reference.logits));
    const most = farthest(await logitsOf(folder, reference), reference.logits);
    if (!(most <= Math.max(2e-4 * scale, 8 * (reference.rounded ?? 0))))
      far.push(`${path}, context ${reference.context}: ${most} of ${scale}, ${reference.rounded} in f32`);
  }
  await folder.close();
  return far;
}
