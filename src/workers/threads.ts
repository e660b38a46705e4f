// The pool over worker_threads, for Node and what is compatible with it. The worker's code is build/worker.js.

import { Worker } from 'node:worker_threads';
import { FormatError } from '../errors.ts';
import { buffersOf, type Job, type Results } from './jobs.ts';
import type { Pool } from './pool.ts';

/** What a worker answers: a result, or an error in plain data. */
export type Answer = { result: Results[Job['kind']] } | { name: string; message: string };

interface Task {
  job: Job;
  resolve(result: Results[Job['kind']]): void;
  reject(reason: Error): void;
}

/**
 * Starts `size` worker threads.
 * @param script The worker's code; by default worker.js beside the bundle that this module is part of.
 */
export function threadPool(size: number, script: URL = new URL('./worker.js', import.meta.url)): Pool {
  const waiting: Task[] = [];
  const idle: Worker[] = [];
  const running = new Map<Worker, Task>();
  let failure: Error | undefined;

  function next(): void {
    while (idle.length > 0 && waiting.length > 0) {
      const worker = idle.pop()!;
      const task = waiting.shift()!;
      running.set(worker, task);
      worker.postMessage(task.job, buffersOf(task.job));
    }
  }

  function fail(reason: Error): void {
    failure ??= reason;
    for (const task of [...running.values(), ...waiting.splice(0)]) task.reject(failure);
    running.clear();
  }

  const workers = Array.from({ length: size }, () => {
    const worker = new Worker(script);
    worker.on('message', (answer: Answer) => {
      const task = running.get(worker)!;
      running.delete(worker);
      idle.push(worker);
      if ('result' in answer) task.resolve(answer.result);
      else task.reject(revive(answer));
      next();
    });
    worker.on('error', fail);
    worker.on('exit', (code) => fail(new Error(`a worker ended early with code ${code}`)));
    return worker;
  });
  idle.push(...workers);

  return {
    size,
    run: (job) =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        waiting.push({ job, resolve: resolve as Task['resolve'], reject });
        next();
      }),
    close: async () => {
      failure ??= new Error('the pool is closed');
      for (const worker of workers) worker.removeAllListeners('exit');
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}

// Errors that cross threads keep their kind and message; the rest is our own fault and stays a plain Error.
function revive({ name, message }: { name: string; message: string }): Error {
  if (name === 'RangeError') return new RangeError(message);
  if (name === 'FormatError') return new FormatError(message);
  return new Error(`${name} in a worker: ${message}`);
}
