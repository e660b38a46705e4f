// The body of a worker: kernels of its own, then one job after the other. `port` is put before this code by who starts it:
// `self` in a Web Worker, `parentPort` in a worker thread. It is built to build/worker.js and embedded as text.

import { instantiateKernels } from '../kernels/instantiate.ts';
import { type Kernels, wrapKernels } from '../kernels/kernels.ts';
import { buffersOf, runJob } from './jobs.ts';
import type { Answer, PoolMessage } from './pool.ts';

interface Port {
  addEventListener(type: 'message', listener: (event: { data: PoolMessage }) => void): void;
  postMessage(answer: Answer, transfer: ArrayBuffer[]): void;
}
declare const port: Port;

let kernels: Promise<Kernels>;

port.addEventListener('message', async ({ data }) => {
  if ('binary' in data) {
    kernels = instantiateKernels(data.binary).then(wrapKernels);
    kernels.catch(() => {}); // reported by the first job
    return;
  }
  try {
    const result = runJob(await kernels, data.job);
    port.postMessage({ result }, buffersOf(result));
  } catch (error) {
    const { name, message } = error as Error;
    port.postMessage({ name, message }, []);
  }
});
