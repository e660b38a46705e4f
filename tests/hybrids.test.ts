// Families that keep more of a sequence than rows of keys and values, or share them: several sequences at once, forks, truncated and
// moved, in one memory and in several, have the bits that each has alone.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { estimateMemory, type LanguageModel, loadLanguage } from '../src/model/model.ts';
import { loadAlone } from './alone.ts';
import { sameBits, uniform } from './bits.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('hybrids');
const CONTEXT = 40;
const NAMES = ['lfm2', 'qwen3_5_text', 'qwen3_next', 'gpt_oss', 'gemma4_text'];

for (const name of NAMES) {
  const { config, model, logits } = families[name];
  const folder = modelFolder(config, model);
  const [{ ids }] = referencesOf(logits);

  test(`several memories give the bits of one: ${name}`, async () => {
    const options = { context: CONTEXT, cache: 'f32' } as const;
    const { bytes } = await estimateMemory(folder, options);
    const memoryLimit = bytes - 1;
    assert.ok((await estimateMemory(folder, { ...options, memoryLimit })).memories >= 2);
    const [whole, parts] = [await loadAlone(folder, options), await loadAlone(folder, { ...options, memoryLimit })];
    sameBits(await parts.forward(ids, { logits: 'all' }), await whole.forward(ids, { logits: 'all' }));
    await whole.close();
    await parts.close();
  });

  test(`sequences together, forked, truncated and moved have the bits that they have alone: ${name}`, async () => {
    const options = { context: CONTEXT, cacheTokens: 3 * CONTEXT };
    const { bytes } = await estimateMemory(folder, options);
    const lone = await loadAlone(folder, { context: CONTEXT });
    for (const more of [{}, { memoryLimit: bytes - 1 }]) {
      const together = await loadLanguage(folder, { ...options, ...more });
      const random = uniform(7);
      const below = (n: number) => Math.floor(random() * n);
      const run = async (first: number): Promise<void> => {
        const text = [...ids.slice(0, first), ...ids.slice(3, 3 + below(CONTEXT - first))];
        const wanted = await alone(lone, text);
        const width = wanted.length / text.length;
        const sequence = await together.open({ capacity: text.length, ids: text });
        while (sequence.ids.length < text.length) {
          const from = sequence.ids.length;
          const part = text.slice(from, from + 1 + below(below(2) * 20));
          const rows = await sequence.extend(part, { rows: 'all' });
          sameBits(rows, wanted.slice(from * width, (from + part.length) * width));
          if (below(4) === 0) sequence.truncate(below(sequence.ids.length));
        }
        sequence.close();
      };
      await Promise.all([30, 12, 30, 5, 12, 25, 30, 1].map(run));
      await together.close();
    }
    await lone.close();
  });
}

test.run();

// One after the other: the lone model has one sequence.
let before: Promise<unknown> = Promise.resolve();
function alone(model: LanguageModel & { forward: Awaited<ReturnType<typeof loadAlone>>['forward'] }, text: number[]) {
  const result = before.then(() => model.forward(text, { logits: 'all' }));
  before = result;
  return result;
}
