// Pools over Web Workers, for browsers, Deno and Bun; where there are none, as in edge workers and on pages that forbid
// them, the calling thread does the work. The worker's code is embedded and started from a blob, so no server and no bundler has a second file to find.

import code from '../../build/worker.js' with { type: 'text' };
import { checkInteger } from '../check.ts';
import { wrapKernels } from '../kernels/kernels.ts';
import { kernelBytes, loadKernels } from '../kernels/load.ts';
import { type Answer, localPool, type Pool, type Spawn, workerPool } from './pool.ts';

/**
 * Starts workers that quantize in parallel; `close` the pool to end them.
 * @param size workers; the runtime's `navigator.hardwareConcurrency` if left out
 * @param module a compiled `higgs.wasm`, for hosts without workers that forbid compiling bytes
 */
export async function startPool(
  size: number = globalThis.navigator?.hardwareConcurrency ?? 1,
  module?: WebAssembly.Module,
): Promise<Pool> {
  checkInteger('size', size, 1);
  const local = async () => localPool(wrapKernels(await loadKernels(module)));
  if (typeof Worker === 'undefined') return local();
  const url = URL.createObjectURL(new Blob([`const port = self;\n${code}`], { type: 'text/javascript' }));
  const spawn: Spawn = (answer, fail) => {
    const worker = new Worker(url, { type: 'module' });
    worker.addEventListener('message', ({ data }: MessageEvent<Answer>) => answer(data));
    worker.addEventListener('error', (event) => fail(new Error(event.message || 'a worker could not be started')));
    worker.addEventListener('messageerror', () => fail(new Error('an answer of a worker could not be read')));
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      terminate: () => worker.terminate(),
    };
  };
  let pool: Pool | undefined;
  try {
    pool = workerPool(size, spawn, kernelBytes);
    await pool.run({ kind: 'ready' });
  } catch {
    // A page's content security policy may forbid workers from blobs.
    await pool?.close();
    URL.revokeObjectURL(url);
    return local();
  }
  const started = pool;
  return {
    ...started,
    close: async () => {
      await started.close();
      URL.revokeObjectURL(url);
    },
  };
}
