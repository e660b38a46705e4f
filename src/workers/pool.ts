// A pool runs jobs on some number of workers, each with kernels of its own. Which worker does a job changes no byte.

import type { Kernels } from '../kernels/kernels.ts';
import { type Job, type Results, runJob } from './jobs.ts';

export interface Pool {
  /** Jobs that run at the same time. */
  readonly size: number;
  /** Runs a job; its buffers belong to the pool from then on. */
  run<J extends Job>(job: J): Promise<Results[J['kind']]>;
  /** Ends the workers; jobs under way are lost. */
  close(): Promise<void>;
}

/** A pool without workers: jobs run on the calling thread, one at a time. */
export function localPool(kernels: Kernels): Pool {
  return {
    size: 1,
    run: async (job) => runJob(kernels, job),
    close: async () => {},
  };
}
