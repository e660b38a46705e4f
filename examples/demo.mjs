// Quantizes the demo model at 4, 3 and 2 bits and says what was lost: `npm run demo`.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { load } from 'higgs-wasm';
import { createFolder, openFolder } from 'higgs-wasm/files';
import { startPool } from 'higgs-wasm/workers';

const higgs = await load();
const pool = await startPool();
const input = await openFolder(fileURLToPath(new URL('../models/books-llama', import.meta.url)));
const scratch = await mkdtemp(join(tmpdir(), 'higgs-demo-'));

const rows = [];
try {
  for (const [bits, grid] of [
    [4, 'p2n256'],
    [3, 'p2n64'],
    [2, 'p2n16'],
  ]) {
    const output = await createFolder(join(scratch, grid));
    const began = performance.now();
    const report = await higgs.quantizeCheckpoint(input, output, { grid, embeddings: grid, pool });
    const seconds = (performance.now() - began) / 1000;
    await output.close();
    rows.push([
      String(bits),
      grid,
      `${(report.bytesIn / 1e6).toFixed(2)} → ${(report.bytesOut / 1e6).toFixed(2)} MB`,
      report.bpw.toFixed(2),
      report.relativeError.toFixed(5),
      (report.relativeError / higgs.grids.get(grid).mse).toFixed(3),
      seconds.toFixed(2),
    ]);
  }
} finally {
  await input.close();
  await pool.close();
  await rm(scratch, { recursive: true });
}

const head = ['bits', 'grid', 'size', 'bpw', 't²', '× grid MSE', 'seconds'];
const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
console.log('books-llama, 5.2 M parameters in bf16, every matrix quantized\n');
for (const row of [head, ...rows]) console.log(row.map((cell, i) => cell.padStart(widths[i])).join('  '));
console.log('\nbpw: bits per weight with scales; t²: relative squared error, which should equal the grid’s MSE.');
