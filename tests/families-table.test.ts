// The table of docs/families.md against the code: every family that runs has a row, and each has the error that is measured.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readArchitecture } from '../src/families/family.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { farthest, logitsOf, referencesOf } from './references.ts';

const test = suite('table of families');

/** Rows of the table: names of `model_type`, and by how much logits differ. */
const rows = [
  ...readFileSync('docs/families.md', 'utf8').matchAll(/^\| ((?:`\w+`(?:, )?)+) \| [^|]+ \| (\de-\d) \|$/gm),
].map(([, names, error]) => ({ names: [...names.matchAll(/\w+/g)].map(([name]) => name), error: Number(error) }));

// As a refusal lists them.
async function namesOfFamilies(): Promise<string[]> {
  const refused = await readArchitecture(modelFolder({ model_type: 'none' }, new Uint8Array(8))).catch(
    (error) => error,
  );
  return /of a family that runs, ([^:]+):/.exec(refused.message)![1].split(', ');
}

test('every family that runs has a row, and a golden', async () => {
  const listed = rows.flatMap(({ names }) => names);
  for (const name of await namesOfFamilies()) {
    assert.ok(listed.includes(name), `docs/families.md has no row of ${name}`);
    assert.ok(rows.some(({ names }) => names.includes(name) && names.some((family) => family in families)));
  }
  assert.is(new Set(listed).size, listed.length);
});

test('every golden has a row, and its logits differ by at most what that says', async () => {
  const most = rows.map(() => 0);
  for (const [name, { config, model, logits }] of Object.entries(families)) {
    if (name.startsWith('trained_')) continue;
    const row = rows.findIndex(
      ({ names }) => names.includes(name) || names.includes(String((config as { model_type?: unknown }).model_type)),
    );
    assert.ok(row >= 0, `docs/families.md has no row of ${name}`);
    for (const reference of referencesOf(logits)) {
      const actual = farthest(await logitsOf(modelFolder(config, model), reference), reference.logits);
      most[row] = Math.max(most[row], actual);
    }
  }
  const wrong = rows.flatMap(({ names, error }, i) =>
    Number(most[i].toExponential(0)) === error ? [] : [`${names}: ${most[i]}`],
  );
  assert.equal(wrong, []);
});

test.run();
