// A pool runs jobs on some number of workers, each with kernels of its own. Which worker does a job changes no byte.

import type { Kernels } from '../kernels/kernels.ts';
import { buffersOf, type Job, type Results, runJob } from './jobs.ts';

export interface Pool {
  /** Jobs that run at the same time. */
  readonly size: number;
  /** Runs a job; its buffers belong to the pool from then on. */
  run<J extends Job>(job: J): Promise<Results[J['kind']]>;
  /** Ends the workers; jobs under way are lost. */
  close(): Promise<void>;
}

/** What is posted to a worker: first the kernels' binary, then one job at a time. */
export type Message = { binary: Uint8Array<ArrayBuffer> } | { job: Job };

/** What a worker answers to a job: a result, or an error in plain data. */
export type Answer = { result: Results[Job['kind']] } | { name: string; message: string };

/** A worker of whatever kind the runtime has. */
export interface WorkerHandle {
  post(message: Message, transfer: ArrayBuffer[]): void;
  terminate(): unknown;
}

/** Starts a worker; `answer` gets its answers, `fail` what ended it. */
export type Spawn = (answer: (answer: Answer) => void, fail: (reason: Error) => void) => WorkerHandle;

/** A pool without workers: jobs run on the calling thread, one at a time. */
export function localPool(kernels: Kernels): Pool {
  return {
    size: 1,
    run: async (job) => runJob(kernels, job),
    close: async () => {},
  };
}

interface Task {
  job: Job;
  resolve(result: Results[Job['kind']]): void;
  reject(reason: Error): void;
}

/** Jobs that a worker has: one under way, the others at hand when it is done. */
const JOBS_AT_HAND = 2;

/** A pool of `size` workers. Jobs start in the order in which they come. */
export function workerPool(size: number, spawn: Spawn, binary: Uint8Array<ArrayBuffer>): Pool {
  const waiting: Task[] = [];
  const posted = new Map<WorkerHandle, Task[]>(); // answered in their order
  let failure: Error | undefined;

  function next(): void {
    while (waiting.length > 0) {
      const [worker, tasks] = leastBusy();
      if (tasks.length === JOBS_AT_HAND) return;
      const task = waiting.shift()!;
      try {
        worker.post({ job: task.job }, buffersOf(task.job));
        tasks.push(task);
      } catch (error) {
        task.reject(error as Error); // a buffer that was given away before cannot be posted
      }
    }
  }

  function fail(reason: Error): void {
    failure ??= reason;
    for (const task of [...posted.values(), waiting].flatMap((tasks) => tasks.splice(0))) task.reject(failure);
  }

  function leastBusy(): [WorkerHandle, Task[]] {
    return [...posted].reduce((best, entry) => (entry[1].length < best[1].length ? entry : best));
  }

  const workers = Array.from({ length: size }, () => {
    const worker = spawn((answer) => {
      const task = posted.get(worker)?.shift();
      if ('result' in answer) task?.resolve(answer.result);
      else task?.reject(revive(answer));
      next();
    }, fail);
    worker.post({ binary }, []);
    posted.set(worker, []);
    return worker;
  });

  return {
    size,
    run: (job) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        waiting.push({ job, resolve: resolve as Task['resolve'], reject });
        next();
      }),
    close: async () => {
      fail(new Error('the pool is closed'));
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

// A RangeError tells of the weights; anything else is a fault of our own.
function revive({ name, message }: { name: string; message: string }): Error {
  return name === 'RangeError' ? new RangeError(message) : new Error(`${name} in a worker: ${message}`);
}
