// Quantizes the demo model to a directory, on all cores: bun examples/bun.ts OUTPUT

import { load } from 'higgs-wasm';
import { createFolder, openFolder } from 'higgs-wasm/files';
import { startPool } from 'higgs-wasm/workers';

const higgs = await load();
const pool = await startPool();
const input = await openFolder(`${import.meta.dirname}/../models/books-llama`);
const output = await createFolder(Bun.argv[2] ?? 'books-bun', { resume: true });

const report = await higgs.quantizeCheckpoint(input, output, { pool });
console.log(`${report.bpw.toFixed(2)} bits per weight, relative error ${report.relativeError.toFixed(5)}`);

for (const opened of [input, output, pool]) await opened.close();
