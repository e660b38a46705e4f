// Sensitivities of models that keep states, share caches or have experts: the same α in every runtime, for any number of threads, and
// where pieces of the model take turns in memory; the memory that a run takes is that which is told before.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { writeAlphas } from '../src/linearity/alphas.ts';
import { estimateSensitivity } from '../src/sensitivity/cost.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { openSubject, planSession } from '../src/sensitivity/session.ts';
import { startThreads } from '../src/workers/web.ts';
import { crc32 } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';

const test = suite('sensitivity of families');
const TOKENS = 24;
const SEQUENCES = 3;

// CRC-32 of the files.
const FILES = {
  gemma4_experts: '45505fe4',
  gemma4_text: '1e39d08b',
  gpt_oss: '11f51080',
  lfm2: 'ebc06efb',
  qwen3_5_text: '24868902',
  qwen3_next: '17acddc6',
};

for (const [name, wanted] of Object.entries(FILES)) {
  const { config, model } = families[name];
  const folder = modelFolder(config, model);
  const options = { tokens: TOKENS, sequences: SEQUENCES, seed: 5 };

  test(`the file is the same in every runtime, for any threads and in turns: ${name}`, async () => {
    const alone = writeAlphas(await measureSensitivity(folder, options));
    const threads = await startThreads(2);
    assert.is(writeAlphas(await measureSensitivity(folder, { ...options, threads })), alone, '2 threads');
    const plan = { estimator: 'fisher', tokens: TOKENS, draws: 2, threads: 1, sampled: SEQUENCES } as const;
    const subject = await openSubject(folder);
    const memoryLimit = planSession(subject, plan).bytes - 1;
    assert.ok(planSession(subject, { ...plan, memoryLimit }).takesTurns);
    assert.is(writeAlphas(await measureSensitivity(folder, { ...options, memoryLimit })), alone, 'in turns');
    assert.is(crc32(new TextEncoder().encode(alone)).toString(16).padStart(8, '0'), wanted);
  });

  test(`a run takes the memory that estimateSensitivity() tells, states and all: ${name}`, async () => {
    for (const tokens of [TOKENS, 40]) {
      const { bytes } = await estimateSensitivity(folder, { ...options, tokens });
      const counted = countMemories();
      try {
        await measureSensitivity(folder, { ...options, tokens });
      } finally {
        counted.stop();
      }
      assert.is(Math.max(...counted.pages), Math.ceil(bytes / 65536));
    }
  });
}

test.run();

// Pages of memories as they are made.
function countMemories() {
  const { Memory } = WebAssembly;
  const pages: number[] = [];
  WebAssembly.Memory = new Proxy(Memory, {
    construct(target, [descriptor]: [WebAssembly.MemoryDescriptor]) {
      pages.push(descriptor.initial);
      return new target(descriptor);
    },
  });
  const stop = () => {
    WebAssembly.Memory = Memory;
  };
  return { pages, stop };
}
