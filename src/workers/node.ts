// Pools over worker_threads, for Node. The worker's code is embedded: a bundler has no second file to look for.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import code from '../../build/worker.js' with { type: 'text' };
import { checkInteger } from '../check.ts';
import { kernelBytes } from '../kernels/load.ts';
import { type Answer, type Pool, type Spawn, workerPool } from './pool.ts';

const source = `import { parentPort } from 'node:worker_threads';
const port = {
  addEventListener: (type, listener) => parentPort.on(type, (data) => listener({ data })),
  postMessage: (answer, transfer) => parentPort.postMessage(answer, transfer),
};
${code}`;

const spawn: Spawn = (answer, fail) => {
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  worker.on('message', (data: Answer) => answer(data));
  worker.on('error', fail);
  worker.on('exit', (code) => fail(new Error(`a worker ended early with code ${code}`)));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    terminate: () => worker.terminate(),
  };
};

/**
 * Starts workers that quantize in parallel; `close` the pool to end them.
 * @param size workers; the cores that this process may use if left out
 */
export async function startPool(size: number = availableParallelism()): Promise<Pool> {
  checkInteger('size', size, 1);
  return workerPool(size, spawn, kernelBytes);
}
