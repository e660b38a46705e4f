// Pools over Web Workers, for browsers, Deno and Bun; where there are none, as in edge workers and on pages that forbid
// them, the calling thread does the work. The worker's code is embedded and started from a blob, so no server and no bundler has a second file to find.

import threadCode from '../../build/decoder-worker.js' with { type: 'text' };
import code from '../../build/worker.js' with { type: 'text' };
import { givenModule } from '../kernels/instantiate.ts';
import { wrapKernels } from '../kernels/kernels.ts';
import { kernelBytes, loadKernels } from '../kernels/load.ts';
import { withJobs } from './given.ts';
import { type Answer, localPool, type Pool, type Spawn, workerPool } from './pool.ts';
import { StartError, WORKERS_LIMIT, workerCount } from './start.ts';
import { type SpawnThread, type ThreadAnswer, type Threads, threadsOf } from './threads.ts';

const cores = () => Math.min(globalThis.navigator?.hardwareConcurrency ?? 1, WORKERS_LIMIT);

/**
 * Starts workers that quantize in parallel, and waits until they are there; `close` the pool to end them.
 * @param size workers, up to 1024; the runtime's `navigator.hardwareConcurrency` if left out
 * @param module a compiled `higgs.wasm`, for hosts without workers that forbid compiling bytes
 * @throws {TypeError} when `size` is no number, or `module` no module
 * @throws {RangeError} when `size` is out of range, or the runtime starts some workers and not all: none is left then
 * @example
 * const pool = await startPool();
 * await checkpoint.quantize(output, { pool });
 * await pool.close();
 */
export async function startPool(size: number = cores(), module?: WebAssembly.Module): Promise<Pool> {
  workerCount('size', size);
  const given = module === undefined ? undefined : givenModule('module', module);
  const local = async () => withJobs(localPool(wrapKernels(await loadKernels(given))));
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
  try {
    return withJobs(await workerPool(size, spawn, kernelBytes));
  } catch (error) {
    if (areSomeThere(error)) throw error;
    return local();
  } finally {
    URL.revokeObjectURL(url);
  }
}

// A page's content security policy may forbid workers from blobs: then none starts.
const areSomeThere = (error: unknown) => !(error instanceof StartError) || error.started > 0;

/**
 * Starts threads that share memory, to load one model with; closing the model ends them. Where there are none, as on pages that
 * are not cross-origin isolated, the calling thread works alone.
 * @param size threads, up to 1024, the caller's among them; the runtime's `navigator.hardwareConcurrency` if left out
 * @throws {TypeError} when `size` is no number
 * @throws {RangeError} when it is out of range, or the runtime starts some threads and not all: none is left then
 * @example
 * const model = await checkpoint.run({ threads: await startThreads(4) });
 */
export async function startThreads(size: number = cores()): Promise<Threads> {
  workerCount('size', size);
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
      hold: () => (worker as Worker & { ref?: () => void }).ref?.(),
      release: () => (worker as Worker & { unref?: () => void }).unref?.(),
      terminate: () => worker.terminate(),
    };
  };
  try {
    return await threadsOf(size, spawn);
  } catch (error) {
    if (areSomeThere(error)) throw error;
    return alone();
  } finally {
    URL.revokeObjectURL(url);
  }
}

function alone(): Promise<Threads> {
  return threadsOf(1, () => {
    throw new Error('the calling thread has no others');
  });
}

function urlOf(code: string): string {
  return URL.createObjectURL(new Blob([`const port = self;\n${code}`], { type: 'text/javascript' }));
}
