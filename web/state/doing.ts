// The worker, and one thing at a time that is asked of it: a newer action ends the older one's work.

import { wrap } from 'comlink';
import type { Engine } from '../engine/work.ts';
import { startWorker } from '../engine/workers.ts';
import * as state from './store.ts';

export const engine = wrap<Engine>(new Worker(new URL('engine.js', import.meta.url), { type: 'module' }));
void engine.startWorkersBy(startWorker);

/** Counts actions: what an older one finds out is of no more use. */
let turn = 0;

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Tells what went wrong, unless it was stopped. */
export function tell(error: unknown): void {
  if (messageOf(error) !== 'Stopped.') state.failure.value = messageOf(error);
}

/** What is under way, and whether it still is. */
export function underway(): () => boolean {
  const begun = turn;
  return () => begun === turn;
}

/** Does one thing at a time; what goes wrong is told in the page, unless it was stopped. @returns whether it was done */
export async function act(
  sentence: string | undefined,
  work: (isCurrent: () => boolean) => Promise<void>,
): Promise<boolean> {
  turn++;
  const isCurrent = underway();
  state.failure.value = undefined;
  state.waiting.value = sentence;
  try {
    await work(isCurrent);
    return isCurrent();
  } catch (error) {
    if (isCurrent()) tell(error);
    return false;
  } finally {
    if (isCurrent()) state.waiting.value = undefined;
  }
}

/** Ends what is under way. What was written stays. */
export async function stop(): Promise<void> {
  turn++;
  state.waiting.value = undefined;
  await engine.stop();
}
