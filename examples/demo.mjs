// Quantizes the demo model at 4, 3 and 2 bits, says what was lost, and has the 4-bit model write a dictionary’s entry: `npm run demo`.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { load } from 'higgs-wasm';
import { createFolder, openFolder } from 'higgs-wasm/files';
import { startPool, startThreads } from 'higgs-wasm/workers';

const PROMPT = 'PATIENCE, n.';
const TOKENS = 1020; // four windows of 255

const higgs = await load();
const pool = await startPool();
const path = fileURLToPath(new URL('../models/books-llama', import.meta.url));
const text = await readFile(join(path, 'test.txt'), 'utf8');
const input = await openFolder(path);
const scratch = await mkdtemp(join(tmpdir(), 'higgs-demo-'));
try {
  const original = await run(path, perplexityOf);
  console.log('books-llama, 5.2 M parameters in bf16, every matrix quantized\n');
  const rows = [['bits', 'grid', 'size', 'bpw', 't²', '× grid MSE', 'perplexity', 'seconds']];
  for (const [bits, grid] of [
    ['4', 't4'],
    ['3', 't3'],
    ['2', 't2'],
  ]) {
    const output = await createFolder(join(scratch, grid));
    const began = performance.now();
    const report = await higgs.quantizeCheckpoint(input, output, { grid, embeddings: grid, pool });
    const seconds = (performance.now() - began) / 1000;
    await output.close();
    rows.push([
      bits,
      grid,
      `${(report.bytesIn / 1e6).toFixed(2)} → ${(report.bytesOut / 1e6).toFixed(2)} MB`,
      report.bpw.toFixed(2),
      report.relativeError.toFixed(5),
      (report.relativeError / higgs.grids.get(grid).mse).toFixed(3),
      (await run(join(scratch, grid), perplexityOf)).toFixed(2),
      seconds.toFixed(2),
    ]);
  }
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  for (const row of rows) console.log(row.map((cell, i) => cell.padStart(widths[i])).join('  '));
  console.log('\nbpw: bits per weight with scales; t²: relative squared error, which should equal the grid’s MSE;');
  console.log(`perplexity: of ${TOKENS} tokens of test.txt, the original’s is ${original.toFixed(2)}.`);

  console.log('\nThe 4-bit model continues a text:\n');
  process.stdout.write(PROMPT);
  const { ids, generateMs } = await run(join(scratch, 't4'), async (model) => {
    const generation = model.generate(PROMPT, { maxTokens: 48, stop: '\n' });
    for await (const piece of generation) process.stdout.write(piece);
    return generation.result;
  });
  console.log(`\n\n${ids.length} tokens, ${(((ids.length - 1) / generateMs) * 1000).toFixed(0)} a second`);
} finally {
  await input.close();
  await pool.close();
  await rm(scratch, { recursive: true });
}

/** Loads the model of a checkpoint for as long as `use` takes. */
async function run(path, use) {
  const folder = await openFolder(path);
  const model = await higgs.loadModel(folder, { threads: await startThreads() });
  try {
    return await use(model);
  } finally {
    await model.close();
    await folder.close();
  }
}

async function perplexityOf(model) {
  const ids = model.tokenizer.encode(text.slice(0, 4 * TOKENS), { special: false }).slice(0, TOKENS);
  return (await model.perplexity(ids)).perplexity;
}
