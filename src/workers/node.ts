// Pools over worker_threads, for Node. The worker's code is embedded: a bundler has no second file to look for.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import code from '../../build/worker.js' with { type: 'text' };
import { kernelBytes } from '../kernels/load.ts';
import { threadsThatHelp } from './cores.ts';
import { withJobs } from './given.ts';
import { type Answer, type Pool, type Spawn, workerPool } from './pool.ts';
import { spawnThread, startWorker } from './spawn.ts';
import { WORKERS_LIMIT, workerCount } from './start.ts';
import { type Threads, threadsOf } from './threads.ts';

const spawn: Spawn = (answer, fail) => {
  const worker = startWorker(code);
  worker.on('message', (data: Answer) => answer(data));
  worker.on('error', fail);
  worker.on('exit', (code) => fail(new Error(`a worker ended early with code ${code}`)));
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    terminate: () => worker.terminate(),
  };
};

const cores = () => Math.min(availableParallelism(), WORKERS_LIMIT);

/**
 * Starts workers that quantize in parallel, and waits until they are there; `close` the pool to end them.
 * @param size workers, up to 1024; the cores that this process may use if left out
 * @throws {TypeError} when `size` is no number
 * @throws {RangeError} when it is out of range, or the system cannot start so many: none is left then
 * @example
 * const pool = await startPool();
 * await checkpoint.quantize(output, { pool });
 * await pool.close();
 */
export async function startPool(size: number = cores()): Promise<Pool> {
  return withJobs(await workerPool(workerCount('size', size), spawn, kernelBytes));
}

/** Threads that a model runs on unless another number is asked for. */
export function defaultThreads(): number {
  const logical = cores();
  const siblings = Array.from({ length: logical }, (_, i) =>
    textOf(`/sys/devices/system/cpu/cpu${i}/topology/thread_siblings_list`),
  );
  const siblingLists = siblings.filter((list) => list !== undefined);
  return threadsThatHelp({ logical, siblings: siblingLists, quota: textOf('/sys/fs/cgroup/cpu.max') });
}

// What Linux tells in a file; other systems have none.
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Starts threads that share memory, to load one model with; closing the model ends them.
 * @param size threads, up to 1024, the caller's among them; the physical cores that this process may use if left out
 * @throws {TypeError} when `size` is no number
 * @throws {RangeError} when it is out of range, or the system cannot start so many: none is left then
 * @example
 * const model = await checkpoint.run({ threads: await startThreads(4) });
 */
export async function startThreads(size: number = defaultThreads()): Promise<Threads> {
  return threadsOf(workerCount('size', size), spawnThread);
}
