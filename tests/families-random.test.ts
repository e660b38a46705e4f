// Families against their own code at other sizes and seeds, made on the spot, where Python has transformers: PYTHON names it, SEEDS
// which seeds, `3` or `3-20`. Threads on the goldens.

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
import { modelFolder } from './models.ts';
import { deviation, farthest, logitsOf, referencesOf } from './references.ts';

const test = suite('families, random');
const python = process.env.PYTHON ?? 'python3';
const [first, last = first] = (process.env.SEEDS ?? '1').split('-').map(Number);

for (const [name, { config, model, logits }] of Object.entries(families)) {
  test(`1 and 2 threads give the same bits: ${name}`, async () => {
    const folder = modelFolder(config, model);
    for (const reference of referencesOf(logits)) {
      sameBits(await logitsOf(folder, reference, await startThreads(2)), await logitsOf(folder, reference));
    }
  });
}

if (hasTransformers()) {
  for (let seed = first; seed <= last; seed++) {
    test(`forward() agrees with the families' own code: seed ${seed}`, async () => {
      const out = mkdtempSync(join(tmpdir(), 'higgs-families-'));
      try {
        execFileSync(python, ['tests/families/make.py', '--seed', String(seed), '--out', out], { stdio: 'pipe' });
        const far: string[] = [];
        for (const name of readdirSync(out)) {
          const folder = await openFolder(join(out, name));
          for (const reference of referencesOf(readFileSync(join(out, name, 'logits.safetensors')))) {
            // Of larger logits, as much more: they are not of order 1.
            const scale = Math.max(1, deviation(reference.logits));
            const most = farthest(await logitsOf(folder, reference), reference.logits);
            if (!(most <= 2e-4 * scale)) far.push(`${name}, context ${reference.context}: ${most} of ${scale}`);
          }
          await folder.close();
        }
        assert.equal(far, []);
      } finally {
        rmSync(out, { recursive: true });
      }
    });
  }
} else console.log(`families at other sizes are not compared: ${python} has no transformers`);

test.run();

function hasTransformers(): boolean {
  try {
    execFileSync(python, ['-c', 'import torch, transformers'], { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}
