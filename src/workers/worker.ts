// A worker thread: loads the kernels, then answers one job after the other.

import { parentPort } from 'node:worker_threads';
import { wrapKernels } from '../kernels/kernels.ts';
import { loadKernels } from '../kernels/load.ts';
import { buffersOf, type Job, runJob } from './jobs.ts';
import type { Answer } from './threads.ts';

const port = parentPort!;
const kernels = loadKernels().then(wrapKernels);

port.on('message', async (job: Job) => {
  try {
    const result = runJob(await kernels, job);
    port.postMessage({ result } satisfies Answer, buffersOf(result));
  } catch (error) {
    const { name, message } = error as Error;
    port.postMessage({ name, message } satisfies Answer);
  }
});
