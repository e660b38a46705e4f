// The sequence under way: a run that is stopped at any step, or at any read, goes on from its block, to the same sensitivities.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { memorySink } from '../src/index.ts';
import { type Alphas, writeAlphas } from '../src/linearity/alphas.ts';
import { measureSensitivity, type SensitivityOptions } from '../src/sensitivity/measure.ts';
import { openSubject, planSession } from '../src/sensitivity/session.ts';
import type { ReplacedFile } from '../src/sensitivity/underway.ts';
import type { Folder } from '../src/source/source.ts';
import { families } from './families/index.ts';
import { configs, modelFolder, randomFile } from './models.ts';

const test = suite('underway');
const settings = { tokens: 20, draws: 2, sequences: 2, source: 'random' } as const;

interface Kept extends ReplacedFile {
  bytes: Uint8Array<ArrayBuffer> | undefined;
}

/** A file in memory. */
function keptFile(bytes?: Uint8Array<ArrayBuffer>): Kept {
  const kept: Kept = {
    name: 'sequence',
    bytes,
    open: async () => kept.bytes?.slice().buffer,
    create: async () => {
      const sink = memorySink();
      return {
        ...sink,
        close: async () => {
          kept.bytes = sink.bytes();
          await sink.close();
        },
      };
    },
  };
  return kept;
}

interface Left {
  partial?: string;
  readonly underway: Kept;
}

interface Ended {
  readonly alphas: Alphas | undefined;
  readonly steps: number;
  readonly reads: number;
}

/** Runs, goes on from what is left, and leaves more; ends after so many steps, or so many reads. */
async function run(
  folder: Folder,
  left: Left,
  options: Partial<SensitivityOptions>,
  { afterSteps = -1, afterReads = -1 } = {},
): Promise<Ended> {
  const abort = new AbortController();
  let [steps, reads] = [0, 0];
  const counting: Folder = {
    ...folder,
    open: async (name) => {
      const source = await folder.open(name);
      return {
        byteLength: source.byteLength,
        slice: (start, end) => {
          if (++reads === afterReads) abort.abort();
          return source.slice(start, end);
        },
      };
    },
  };
  const work = measureSensitivity(counting, {
    ...{ ...settings, ...options, underway: left.underway, signal: abort.signal },
    ...(left.partial !== undefined && { partial: left.partial }),
    onPartial: (partial) => {
      left.partial = partial;
    },
    onProgress: () => ++steps === afterSteps && abort.abort(),
  });
  const alphas = await work.catch((error) => {
    if (!abort.signal.aborted) throw error;
    return undefined;
  });
  return { alphas, steps, reads };
}

/** The least memory that holds the model in turns, and so does not hold it whole. */
async function turnsOf(folder: Folder, sampled = 0): Promise<number> {
  const subject = await openSubject(folder);
  const plan = { estimator: 'fisher', tokens: settings.tokens, draws: settings.draws, sampled, threads: 1 } as const;
  const { bytes } = planSession(subject, plan);
  const turns = planSession(subject, { ...plan, memoryLimit: bytes - 1 });
  assert.ok(turns.takesTurns);
  return turns.bytes;
}

const some: Record<string, Folder> = {
  'qwen3, tied': modelFolder(configs.qwen3, randomFile(configs.qwen3)),
  'llama, not tied': modelFolder(configs.llama, randomFile(configs.llama)),
};
for (const name of ['qwen3_moe', 'gemma2', 'deepseek_v3']) {
  some[name] = modelFolder(families[name].config, families[name].model);
}

for (const [name, folder] of Object.entries(some)) {
  test(`a run that is stopped at a step goes on from its block, to the same file: ${name}`, async () => {
    const turns = { memoryLimit: await turnsOf(folder) };
    const wanted = await measureSensitivity(folder, settings);
    const whole = await run(folder, { underway: keptFile() }, turns);
    assert.is(writeAlphas(whole.alphas!), writeAlphas(wanted));
    const apart = name.startsWith('qwen3, ') ? 1 : 3;
    for (let after = 1; after < whole.steps; after += apart) {
      const left = { underway: keptFile() };
      const options = after % 2 === 0 ? turns : {};
      const stopped = await run(folder, left, options, { afterSteps: after });
      assert.is(stopped.alphas, undefined);
      // The other way of lying in memory leaves the same.
      const rest = await run(folder, left, after % 3 === 0 ? turns : {});
      assert.is(writeAlphas(rest.alphas!), writeAlphas(wanted), `stopped after ${after} of ${whole.steps} steps`);
      // What is run again is at most what leads from the last block to the labels; the first steps tell what was done.
      const again = stopped.steps + rest.steps - whole.steps;
      assert.ok(again <= 3, `${again} steps of ${whole.steps} are run again, stopped after ${after}`);
    }
  });
}

test('a run that is stopped as it samples goes on from the ids that it had, to the same file', async () => {
  const folder = some['qwen3, tied'];
  const turns = { memoryLimit: await turnsOf(folder, settings.sequences) };
  for (const memory of [{}, turns]) {
    const options = { source: 'model', ...memory } as const;
    const { steps, alphas } = await run(folder, { underway: keptFile() }, options);
    const wanted = writeAlphas(alphas!);
    for (const after of [1, 2, 3, 7, 12, settings.tokens]) {
      const left: Left = { underway: keptFile() };
      const stopped = await run(folder, left, options, { afterSteps: after });
      assert.ok(after < 2 || left.partial?.includes('"sampled":0'), `stopped after ${after}`);
      const rest = await run(folder, left, options);
      assert.is(writeAlphas(rest.alphas!), wanted, `stopped after ${after}`);
      const again = stopped.steps + rest.steps - steps;
      assert.ok(again <= 4, `${again} steps are run again, stopped after ${after}`);
    }
  }
});

test('a run that is stopped at any read goes on, to the same file', async () => {
  const folder = some['qwen3, tied'];
  const turns = { memoryLimit: await turnsOf(folder) };
  const wanted = writeAlphas(await measureSensitivity(folder, settings));
  const { reads } = await run(folder, { underway: keptFile() }, turns);
  let kept = 0;
  for (let after = 2; after < reads; after += 3) {
    const left = { underway: keptFile() };
    const stopped = await run(folder, left, turns, { afterReads: after });
    if (left.underway.bytes) kept++;
    const { alphas } = stopped.alphas ? stopped : await run(folder, left, turns);
    assert.is(writeAlphas(alphas!), wanted, `stopped after ${after} of ${reads} reads`);
  }
  assert.ok(kept > reads / 6, `kept ${kept} times`);
});

test('where a block depends on more than the residual stream, nothing is kept, and the file is the same', async () => {
  const { config, model } = families.gemma4_text;
  const folder = modelFolder(config, model);
  const wanted = writeAlphas(await measureSensitivity(folder, settings));
  const { steps } = await run(folder, { underway: keptFile() }, {});
  for (const after of [2, Math.floor(steps / 3), steps - 3]) {
    const left = { underway: keptFile() };
    await run(folder, left, {}, { afterSteps: after });
    assert.is(left.underway.bytes, undefined);
    assert.is(writeAlphas((await run(folder, left, {})).alphas!), wanted, `stopped after ${after} steps`);
  }
});

test('stopped again and again, the run ends, with the same file', async () => {
  const folder = some['llama, not tied'];
  const turns = { memoryLimit: await turnsOf(folder) };
  const left = { underway: keptFile() };
  const wanted = writeAlphas(await measureSensitivity(folder, settings));
  for (let times = 1; times < 100; times++) {
    const { alphas } = await run(folder, left, turns, { afterSteps: 4 });
    if (!alphas) continue;
    assert.ok(times > 4, `ended at once: ${times}`);
    assert.is(writeAlphas(alphas), wanted);
    return;
  }
  assert.unreachable('it does not end');
});

test('what is kept is bounded, and of no use to another run, or damaged', async () => {
  const folder = some['qwen3, tied'];
  const wanted = writeAlphas(await measureSensitivity(folder, settings));
  const left: Left = { underway: keptFile() };
  const { steps } = await run(folder, { underway: keptFile() }, {});
  await run(folder, left, {}, { afterSteps: steps - 3 });
  const { bytes } = left.underway;
  const { hidden_size: dim, num_hidden_layers: layers } = configs.qwen3;
  const { tokens, draws } = settings;
  const floats = (2 * layers + 1 + draws + 1) * tokens * dim + 2 * draws * tokens + tokens * tokens;
  assert.ok(bytes && bytes.length < floats * 4 + 4096, `${bytes?.length} bytes, ${floats} floats`);
  const again = async (underway: Kept, options: Partial<SensitivityOptions> = {}) =>
    run(folder, { ...(left.partial !== undefined && { partial: left.partial }), underway }, options);
  const from = await again(keptFile(bytes));
  assert.is(writeAlphas(from.alphas!), wanted);
  // Each byte that is changed, or cut off, costs the sequence, and no more.
  for (let at = 0; at < bytes.length; at += 997) {
    const damaged = bytes.slice();
    damaged[at] ^= 1;
    const actual = await again(keptFile(damaged));
    assert.is(writeAlphas(actual.alphas!), wanted, `byte ${at}`);
    assert.ok(actual.steps > from.steps, `byte ${at} is not noticed`);
  }
  for (const length of [0, 7, 8, 100, bytes.length - 1]) {
    const actual = await again(keptFile(bytes.slice(0, length)));
    assert.is(writeAlphas(actual.alphas!), wanted, `cut to ${length}`);
  }
  const other = { ...settings, seed: 9 };
  const of = await run(folder, { underway: keptFile(bytes) }, other);
  assert.is(writeAlphas(of.alphas!), writeAlphas(await measureSensitivity(folder, other)));
});

test('a file that cannot be written ends nothing; one that cannot be read is told of', async () => {
  const folder = some['qwen3, tied'];
  const fault = new Error('no room');
  const full: Kept = { ...keptFile(), create: () => Promise.reject(fault) };
  const left: Left = { underway: full };
  const stopped = await run(folder, left, {}, { afterSteps: 3 });
  assert.equal([stopped.alphas, left.partial, full.bytes], [undefined, undefined, undefined]);
  const unreadable: Kept = { ...keptFile(), open: () => Promise.reject(fault) };
  const actual = await run(folder, { underway: unreadable }, {}).catch((error) => error);
  assert.is(actual, fault);
  const wrong = await measureSensitivity(folder, { ...settings, underway: {} as Kept }).catch((error) => error);
  assert.match(wrong.message, /underway must be a file that is replaced/);
});

test.run();
