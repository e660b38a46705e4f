// Has a model write on all cores, as its tokens come: node examples/generate.mjs MODEL PROMPT

import { load } from 'higgs-wasm';
import { openFolder } from 'higgs-wasm/files';
import { startThreads } from 'higgs-wasm/workers';

const [path = 'models/books-llama', prompt = 'PATIENCE, n.'] = process.argv.slice(2);
const higgs = await load();
const folder = await openFolder(path); // quantized or not
const model = await higgs.loadModel(folder, { threads: await startThreads() });

process.stdout.write(prompt);
for await (const piece of model.generate(prompt, { maxTokens: 64, stop: '\n' })) process.stdout.write(piece);
process.stdout.write('\n');

for (const opened of [model, folder]) await opened.close();
