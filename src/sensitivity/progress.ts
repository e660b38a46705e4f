// What happens between two short steps of a measurement: progress is told, an abort is heeded, other work of the thread may run.

import { pauses } from '../model/pause.ts';

/** How far a measurement is. */
export interface SensitivityProgress {
  /** Tokens that went through the model, of all that will; a backward pass counts as a part of its tokens. */
  done: number;
  /** Tokens that will go through the model. */
  total: number;
}

/** Counts tokens, and lets other work go on. */
export interface TokenCounter {
  /** @param tokens that the step dealt with */
  next(tokens: number): Promise<void>;
}

/** @throws the signal's reason, between two steps */
export function stepsOf(
  total: number,
  onProgress: ((progress: SensitivityProgress) => void) | undefined,
  signal: AbortSignal | undefined,
): TokenCounter {
  const progress = { done: 0, total };
  const pause = pauses();
  return {
    async next(tokens) {
      progress.done = Math.min(total, progress.done + tokens);
      onProgress?.({ done: Math.floor(progress.done + 1e-6), total });
      await pause();
      signal?.throwIfAborted();
    },
  };
}
