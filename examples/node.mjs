// Quantizes the demo model to a directory, on all cores: node examples/node.mjs OUTPUT

import { fileURLToPath } from 'node:url';
import { load } from 'higgs-wasm';
import { createFolder, openFolder } from 'higgs-wasm/files';
import { startPool } from 'higgs-wasm/workers';

const higgs = await load();
const pool = await startPool();
const input = await openFolder(fileURLToPath(new URL('../models/books-llama', import.meta.url)));
const output = await createFolder(process.argv[2] ?? 'books-node', { resume: true });

const report = await higgs.quantizeCheckpoint(input, output, { pool });
console.log(`${report.bpw.toFixed(2)} bits per weight, relative error ${report.relativeError.toFixed(5)}`);

for (const opened of [input, output, pool]) await opened.close();
