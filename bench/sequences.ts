// Generations at once against the same ones after one another: tokens a second of processor time, and the ratio. Other work on the machine
// changes both little; every generation has a prompt of its own.
//   node build/bench/sequences.js <model> [tokens] [threads]

import { loadLanguage } from '../src/model/model.ts';
import { openFolder } from '../src/source/file.ts';
import { type Language, withSequence } from '../src/text/language.ts';
import { startThreads } from '../src/workers/node.ts';

const [path, tokens = '32', threads = '1'] = process.argv.slice(2);
const steps = Number(tokens);
/** Each way, in turns; the best counts. */
const ROUNDS = 6;
const folder = await openFolder(path);
const model = await loadLanguage(folder, {
  context: 512,
  cacheTokens: 4096,
  threads: await startThreads(Number(threads)),
});

/** Makes `steps` tokens behind a first one. */
async function generate(language: Language, first: number): Promise<void> {
  await withSequence(language, { capacity: steps }, async (sequence) => {
    let id = first;
    for (let i = 0; i < steps; i++) id = Math.abs(Math.floor((await sequence.extend([id]))[0] * 1000)) % 1000;
  });
}

/** Seconds of all threads. */
async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1e6;
}

console.log('| at once | after one another, tokens/s | together, tokens/s | × |\n|---|---|---|---|');
for (let i = 0; i < ROUNDS; i++) await Promise.all([generate(model, 1), generate(model, 2)]);
for (const count of [1, 2, 4, 8]) {
  const firsts = Array.from({ length: count }, (_, i) => i + 1);
  let [alone, together] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < ROUNDS; round++) {
    const one = async () => {
      for (const first of firsts) await generate(model, first);
    };
    alone = Math.min(alone, await seconds(one));
    together = Math.min(together, await seconds(() => Promise.all(firsts.map((first) => generate(model, first)))));
  }
  const rate = (time: number) => ((count * steps) / time).toPrecision(3);
  console.log(`| ${count} | ${rate(alone)} | ${rate(together)} | ${(alone / together).toFixed(2)} |`);
}
await model.close();
await folder.close();
