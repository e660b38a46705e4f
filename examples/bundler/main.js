// One file for browsers and every other runtime: the kernels and the workers' code are inside.
// cd examples/bundler && npm install && npm run build && npm start

import { load } from 'higgs-wasm';
import { startPool } from 'higgs-wasm/workers';

const higgs = await load();
const pool = await startPool();
const [rows, cols] = [256, 1024];
const weights = Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(i * i) * 0.02);
const matrix = higgs.quantize(weights, { rows, cols, grid: 'p2n64' });
console.log(`${matrix.bitsPerWeight.toFixed(2)} bits per weight, relative error ${matrix.relativeError.toFixed(4)}`);
await pool.close();
