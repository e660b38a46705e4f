// A pool runs jobs on some number of workers, each with kernels of its own. Which worker does a job changes no byte.

import { argumentError, having, isTypedArray, member, type Reader, refuseKind } from '../check.ts';
import { closed } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { buffersOf, type Job, type Results, runJob } from './jobs.ts';
import { type Starting, startAll, workerCount } from './start.ts';

/** Workers, or the calling thread, that do a checkpoint's jobs. */
export interface Pool {
  /** Jobs that run at the same time. */
  readonly size: number;
  /** Runs a job; its buffers belong to the pool from then on. @throws {StateError} when the pool is closed */
  run<J extends Job>(job: J): Promise<Results[J['kind']]>;
  /** Ends the workers; jobs under way are lost. */
  close(): Promise<void>;
}

/** What is posted to a worker: first the kernels' binary, then one job at a time. */
export type PoolMessage = { binary: Uint8Array<ArrayBuffer> } | { job: Job };

/** What a worker answers to a job: a result, or an error in plain data. */
export type Answer = { result: Results[Job['kind']] } | { name: string; message: string };

/** A worker of whatever kind the runtime has. */
interface WorkerHandle {
  post(message: PoolMessage, transfer: ArrayBuffer[]): void;
  terminate(): unknown;
}

/** Starts a worker; `answer` gets its answers, `fail` what ended it. */
export type Spawn = (answer: (answer: Answer) => void, fail: (reason: Error) => void) => WorkerHandle;

const poolLike = having<Pool>('a pool', ['run', 'close'], ', as startPool() of higgs-wasm/workers gives');

/** A pool as a caller gives it; what it makes of a job is checked to be a result of that kind. */
export const givenPool: Reader<Pool> = (subject, value) => {
  const pool = poolLike(subject, value);
  const size = workerCount(`size of ${subject}`, member(subject, pool, 'size'));
  return {
    size,
    run: async (job) => {
      const result = await pool.run(job);
      return isResult(job.kind, result) ? result : refuseKind(`run() of ${subject}`, `a result of ${job.kind}`, result);
    },
    close: async () => pool.close(),
  };
};

function isResult(kind: Job['kind'], result: unknown): boolean {
  if (kind === 'ready') return result === true;
  if (kind === 'dequantize') return isTypedArray(result);
  const parts = { compare: ['0', '1'], gain: ['0'], encode: ['packed', 'scales', 'sums'] };
  const keys = kind === 'refine' ? [...parts.encode, 'weighted'] : parts[kind];
  const isPart = (part: unknown) =>
    kind === 'compare' || kind === 'gain' ? typeof part === 'number' : isTypedArray(part);
  return typeof result === 'object' && result !== null && keys.every((key) => isPart(member('result', result, key)));
}

/** A pool without workers: jobs run on the calling thread, one at a time. */
export function localPool(kernels: Kernels): Pool {
  let isOpen = true;
  return {
    size: 1,
    run: async (job) => {
      if (!isOpen) throw closed('pool');
      return runJob(kernels, job);
    },
    close: async () => {
      isOpen = false;
    },
  };
}

interface QueuedJob {
  job: Job;
  resolve(result: Results[Job['kind']]): void;
  reject(reason: Error): void;
}

/** Jobs that a worker has: one under way, the others at hand when it is done. */
const JOBS_AT_HAND = 2;

/**
 * Starts a pool of `size` workers and waits until they are there. Jobs start in the order in which they come.
 * @throws {RangeError} when one does not start; none is left then
 */
export async function workerPool(size: number, spawn: Spawn, binary: Uint8Array<ArrayBuffer>): Promise<Pool> {
  const waiting: QueuedJob[] = [];
  const posted = new Map<WorkerHandle, QueuedJob[]>(); // answered in their order
  let failure: Error | undefined;

  function next(): void {
    while (waiting.length > 0) {
      const [worker, tasks] = leastBusy();
      if (tasks.length === JOBS_AT_HAND) return;
      post(worker, waiting.shift()!);
    }
  }

  function post(worker: WorkerHandle, task: QueuedJob): void {
    try {
      worker.post({ job: task.job }, buffersOf(task.job));
      posted.get(worker)!.push(task);
    } catch (error) {
      // A buffer that was given away before, or is shared, cannot be.
      task.reject(
        argumentError('buffers of a job must be transferable: one is shared, or was transferred before', {
          cause: error,
        }),
      );
    }
  }

  function fail(reason: Error): void {
    failure ??= reason;
    for (const task of [...posted.values(), waiting].flatMap((tasks) => tasks.splice(0))) task.reject(failure);
  }

  function leastBusy(): [WorkerHandle, QueuedJob[]] {
    return [...posted].reduce((best, entry) => (entry[1].length < best[1].length ? entry : best));
  }

  function start(): Starting {
    const tasks: QueuedJob[] = [];
    const ended = (reason: Error) => {
      for (const task of tasks.splice(0)) task.reject(reason); // while others start, it fails alone
      if (isStarted) fail(reason);
    };
    const worker = spawn((answer) => {
      const task = tasks.shift();
      if ('result' in answer) task?.resolve(answer.result);
      else task?.reject(revive(answer));
      next();
    }, ended);
    posted.set(worker, tasks);
    worker.post({ binary }, []);
    const ready = new Promise((resolve, reject) => {
      post(worker, { job: { kind: 'ready' }, resolve, reject });
    });
    return { ready, terminate: () => worker.terminate() };
  }

  let isStarted = false;
  const workers = await startAll(size, 'workers', start);
  isStarted = true;
  return {
    size,
    run: (job) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        waiting.push({ job, resolve: resolve as QueuedJob['resolve'], reject });
        next();
      }),
    close: async () => {
      fail(closed('pool'));
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

// A RangeError tells of the weights; anything else is a fault of our own.
function revive({ name, message }: { name: string; message: string }): Error {
  return name === 'RangeError' ? new RangeError(message) : new Error(`${name} in a worker: ${message}`);
}
