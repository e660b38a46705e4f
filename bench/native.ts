// A whole model beside native llama.cpp, in turns within one process, one thread each: prompts and tokens by the processor's time, so that
// other work on the machine counts less. llama.cpp is its binding on npm, as tests/gguf/install.sh installs it, with the kernels that it
// takes for this processor. Both files should hold the same shapes; which weights counts for nothing.
//   node build/bench/native.js <quantized model> <file.gguf> [rounds, 5]

import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setEngineFlag } from '../src/cli/common/engine.ts';
import type { loadModel } from '../src/decoder.ts';
import { openFolder } from '../src/source/file.ts';

const [path, gguf, rounds = '5'] = process.argv.slice(2);
const PROMPT = 128;
const TOKENS = 16;
const BINDING = 'build/llama/node_modules/node-llama-cpp/dist/index.js';

interface Side {
  readonly name: string;
  /** Forgets what it was told. */
  clear(): Promise<void>;
  /** Reads tokens, and computes the logits behind the last. */
  extend(ids: readonly number[]): Promise<unknown>;
  close(): Promise<void>;
  /** Processor milliseconds of each prompt, and of each token. */
  readonly prompts: number[];
  readonly tokens: number[];
}

async function ours(): Promise<Side> {
  setEngineFlag(); // before the kernels' file is looked at
  const { loadModel: load } = (await import(pathToFileURL(resolve('build/decoder.js')).href)) as {
    loadModel: typeof loadModel;
  };
  const folder = await openFolder(path);
  const model = await load(folder, { context: PROMPT + TOKENS });
  const sequence = await model.language.open({ capacity: PROMPT + TOKENS });
  const close = async () => {
    await model.close();
    await folder.close();
  };
  const clear = async () => sequence.truncate(0);
  return { name: 'higgs-wasm', clear, extend: (ids) => sequence.extend(ids), close, prompts: [], tokens: [] };
}

async function native(): Promise<Side> {
  const { getLlama } = await import(pathToFileURL(resolve(BINDING)).href);
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: 1 });
  console.log(`llama.cpp: ${llama.systemInfo.trim()}\n`);
  const model = await llama.loadModel({ modelPath: resolve(gguf) });
  const context = await model.createContext({ contextSize: 256, batchSize: PROMPT, threads: 1 });
  const sequence = context.getSequence();
  const extend = async (ids: readonly number[]) =>
    sequence.controlledEvaluate([...ids.slice(0, -1), [ids.at(-1), { generateNext: { token: true } }]]);
  const clear = async () => sequence.clearHistory();
  return { name: 'llama.cpp', clear, extend, close: () => llama.dispose(), prompts: [], tokens: [] };
}

const now = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const idOf = (i: number): number => 10 + ((i * 40503 + 7) % 900);
const quantile = (times: readonly number[], share: number): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length * share)];

const sides = [await native(), await ours()];
for (let round = 0; round < Number(rounds); round++) {
  for (const side of sides) {
    await side.clear();
    const began = now();
    await side.extend(Array.from({ length: PROMPT }, (_, i) => idOf(i + round)));
    side.prompts.push(now() - began);
  }
  for (let i = 0; i < TOKENS; i++) {
    for (const side of sides) {
      const began = now();
      await side.extend([idOf(3 * i + round)]);
      side.tokens.push(now() - began);
    }
  }
}
console.log(`${cpus()[0].model}, Node ${process.versions.node}, one thread\n`);
console.log(`| | prompt of ${PROMPT}, tokens/s | × | generate, tokens/s, median | × |\n|---|---|---|---|---|`);
for (const { name, prompts, tokens } of sides) {
  const [prompt, token] = [quantile(prompts, 0), quantile(tokens, 0.5)];
  const ratios = [quantile(sides[0].prompts, 0) / prompt, quantile(sides[0].tokens, 0.5) / token];
  const rates = [(PROMPT * 1000) / prompt, 1000 / token].map((rate) => rate.toPrecision(3));
  console.log(`| ${name} | ${rates[0]} | ${ratios[0].toFixed(2)} | ${rates[1]} | ${ratios[1].toFixed(2)} |`);
}
for (const side of sides) await side.close();
