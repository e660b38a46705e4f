// GGUF beside llama.cpp, by the binding that is on npm, where it is installed: `tests/gguf/install.sh`, or its directory in NODE_LLAMA_CPP.
// Both cut a text into the same tokens, and find it equally likely.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOnce } from '../src/checkpoint/checkpoint.ts';
import { openTokenizer } from '../src/decoder.ts';
import type { WrittenDtype } from '../src/interop/gguf/codes.ts';
import { layOutGguf, writeGguf } from '../src/interop/gguf/export.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { logSumExp } from '../src/numerics/exponential.ts';
import { openFolder } from '../src/source/file.ts';
import { localPool } from '../src/workers/pool.ts';
import { memoryOutput } from './checkpoints.ts';
import { folderWith, llamaTwin } from './gguf/read.ts';
import { logitsOf } from './references.ts';

const test = suite('llama.cpp');
const BINDING = join(process.env.NODE_LLAMA_CPP ?? resolve('build/llama/node_modules/node-llama-cpp'), 'dist/index.js');
const DIRECTORY = 'models/books-llama';
const CONTEXT = 256;
const WINDOWS = 3;
/** Of perplexity: that llama.cpp rounds activations and its cache to 16 bits. */
const MOST = 1e-3;

const FILES = {
  'a twin in BF16': async () => llamaTwin(DIRECTORY, 'BF16'),
  'a twin in F16': async () => llamaTwin(DIRECTORY, 'F16'),
  'an export': () => exported(),
  'an export in Q8_0': () => exported('Q8_0'),
};

// The model as `higgs export --format gguf` writes it.
async function exported(dtype?: WrittenDtype): Promise<Uint8Array<ArrayBuffer>> {
  const pool = localPool(wrapKernels(await loadKernels()));
  const output = memoryOutput();
  const folder = await openFolder(DIRECTORY);
  const layout = await layOutGguf(await openOnce(folder), { pool, dtype });
  await writeGguf(layout, await output.create('m.gguf'), { pool });
  await folder.close();
  return output.files.get('m.gguf')!;
}

for (const [label, make] of Object.entries(FILES)) {
  const name = `${label} has the tokens and the perplexity that llama.cpp finds`;
  if (!existsSync(BINDING)) {
    console.log(`skipped, as node-llama-cpp is not installed (tests/gguf/install.sh): ${name}`);
    test.skip(name);
    continue;
  }
  test(name, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'higgs-llamacpp-'));
    try {
      const file = await make();
      const path = join(directory, 'twin.gguf');
      writeFileSync(path, file);
      const folder = folderWith('twin.gguf', file);
      const text = readFileSync(`${DIRECTORY}/test.txt`, 'utf8').slice(0, 4000);
      const other = await llamaCpp(path);
      try {
        const ids = (await openTokenizer(folder)).encode(text, { special: false });
        assert.equal(ids, other.tokenize(text));
        let [own, theirs] = [0, 0];
        for (let window = 0; window < WINDOWS; window++) {
          const some = [1, ...ids.slice(window * (CONTEXT - 1), (window + 1) * (CONTEXT - 1))];
          const logits = await logitsOf(folder, { context: CONTEXT, ids: some, logits: new Float64Array() });
          own += lossOf(logits, some);
          theirs += await other.lossOf(some);
        }
        const count = WINDOWS * (CONTEXT - 1);
        const ratio = Math.exp((own - theirs) / count) - 1;
        console.log(`perplexity ${Math.exp(own / count).toFixed(4)}, llama.cpp ${Math.exp(theirs / count).toFixed(4)}`);
        assert.ok(Math.abs(ratio) <= MOST, `${100 * ratio} %`);
      } finally {
        await other.close();
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

function lossOf(logits: Float32Array, ids: readonly number[]): number {
  const width = logits.length / ids.length;
  let loss = 0;
  for (let i = 1; i < ids.length; i++) {
    const row = logits.subarray((i - 1) * width, i * width);
    loss += logSumExp(row) - row[ids[i]];
  }
  return loss;
}

async function llamaCpp(modelPath: string) {
  const { getLlama } = await import(pathToFileURL(BINDING).href);
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: 1 });
  const model = await llama.loadModel({ modelPath });
  const context = await model.createContext({ contextSize: CONTEXT, batchSize: CONTEXT, threads: 1 });
  const sequence = context.getSequence();
  return {
    tokenize: (text: string): number[] => [...model.tokenize(text)],
    async lossOf(ids: readonly number[]): Promise<number> {
      await sequence.clearHistory();
      const asked = ids.map((id, i) => (i < ids.length - 1 ? [id, { generateNext: { probabilities: true } }] : id));
      const actual = await sequence.controlledEvaluate(asked);
      return ids.slice(1).reduce((loss, id, i) => loss - Math.log(actual[i].next.probabilities.get(id)), 0);
    },
    close: () => llama.dispose(),
  };
}

test.run();
