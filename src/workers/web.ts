// Pools over Web Workers, for browsers, Deno and Bun; where there are none, as in edge workers and on pages that forbid
// them, the calling thread does the work. The worker's code is embedded and started from a blob, so no server and no bundler has a second file to find.

import threadCode from '../../build/decoder-worker.js' with { type: 'text' };
import code from '../../build/worker.js' with { type: 'text' };
import { checkInteger } from '../check.ts';
import { wrapKernels } from '../kernels/kernels.ts';
import { kernelBytes, loadKernels } from '../kernels/load.ts';
import { type Answer, localPool, type Pool, type Spawn, workerPool } from './pool.ts';
import { type SpawnThread, type ThreadAnswer, type Threads, threadsOf } from './threads.ts';

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
  const url = urlOf(code);
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

/**
 * Starts threads that share memory, to load one model with; closing the model ends them. Where there are none, as on pages that
 * are not cross-origin isolated, the calling thread works alone.
 * @param size threads, the caller's among them; the runtime's `navigator.hardwareConcurrency` if left out
 */
export async function startThreads(size: number = globalThis.navigator?.hardwareConcurrency ?? 1): Promise<Threads> {
  checkInteger('size', size, 1);
  const isolated = typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false;
  if (typeof Worker === 'undefined' || !isolated || size === 1) return alone();
  const url = urlOf(threadCode);
  const spawn: SpawnThread = (answer, fail) => {
    const worker = new Worker(url, { type: 'module' });
    worker.addEventListener('message', ({ data }: MessageEvent<ThreadAnswer>) => answer(data));
    worker.addEventListener('error', (event) => fail(new Error(event.message || 'a thread could not be started')));
    worker.addEventListener('messageerror', () => fail(new Error('an answer of a thread could not be read')));
    return {
      post: (message) => worker.postMessage(message),
      release: () => (worker as Worker & { unref?: () => void }).unref?.(),
      terminate: () => worker.terminate(),
    };
  };
  try {
    return await threadsOf(size, spawn);
  } catch {
    return alone(); // a page's content security policy may forbid workers from blobs
  } finally {
    URL.revokeObjectURL(url);
  }
}

function alone(): Threads {
  return { size: 1, start: async () => {}, close: async () => {} };
}

function urlOf(code: string): string {
  return URL.createObjectURL(new Blob([`const port = self;\n${code}`], { type: 'text/javascript' }));
}
