// Workers and threads of Node, each of embedded code: a bundler has no second file to look for.

import { Worker } from 'node:worker_threads';
import threadCode from '../../build/decoder-worker.js' with { type: 'text' };
import type { SpawnThread, ThreadAnswer } from './threads.ts';

const port = `import { parentPort } from 'node:worker_threads';
const port = {
  addEventListener: (type, listener) => parentPort.on(type, (data) => listener({ data })),
  postMessage: (answer, transfer) => parentPort.postMessage(answer, transfer),
};
`;

/** A worker that runs `code`, which has a `port`. */
export function startWorker(code: string): Worker {
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(port + code)}`));
}

/** Starts a thread over `worker_threads`. */
export const spawnThread: SpawnThread = (answer, fail) => {
  const worker = startWorker(threadCode);
  worker.on('message', (data: ThreadAnswer) => answer(data));
  worker.on('error', fail);
  worker.on('exit', (code) => fail(new Error(`a thread ended early with code ${code}`)));
  return {
    post: (message) => worker.postMessage(message),
    hold: () => worker.ref(),
    release: () => worker.unref(),
    terminate: () => worker.terminate(),
  };
};
