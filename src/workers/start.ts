// Starting workers and threads: all of them or none. One that the system refuses ends those that did start, so that nothing keeps
// the process alive, and the error says how many there were.

import { integer, type Reader } from '../check.ts';

/** Most workers of a pool and threads of a model: each takes some megabytes, and no machine has as many cores. */
export const WORKERS_LIMIT = 1024;

/** A number of workers. */
export const workerCount: Reader<number> = integer(1, WORKERS_LIMIT);

/** A worker that is on its way. */
export interface Starting {
  /** Resolves when it has answered for the first time. */
  readonly ready: Promise<unknown>;
  /** Ends it. */
  terminate(): unknown;
}

/** Some did not start. */
export class StartError extends RangeError {
  override readonly name = 'RangeError';
  /** How many did. */
  readonly started: number;

  constructor(count: number, started: number, subject: string, reason: unknown) {
    const why = reason instanceof Error ? reason.message : String(reason);
    super(`size must be a number of ${subject} that the system can start: ${started} of ${count} started (${why})`);
    this.started = started;
  }
}

/**
 * Starts `count` workers and waits for the first answer of each.
 * @param subject they are, for messages
 * @param workers gets those that are on their way, before this returns a promise
 * @throws {StartError} when one does not start; none is left then
 */
export async function startAll<T extends Starting>(
  count: number,
  subject: string,
  start: () => T,
  workers: T[] = [],
): Promise<T[]> {
  let failure: { reason: unknown } | undefined;
  try {
    while (workers.length < count) workers.push(start());
  } catch (reason) {
    failure = { reason };
  }
  const answers = await Promise.allSettled(workers.map(({ ready }) => ready));
  failure ??= answers.find((answer) => answer.status === 'rejected');
  if (!failure) return workers;
  await Promise.allSettled(workers.map(async (worker) => worker.terminate()));
  const started = answers.filter(({ status }) => status === 'fulfilled').length;
  throw new StartError(count, started, subject, failure.reason);
}
