// A measurement of sensitivities, as verbs run it: with progress, threads and Ctrl-C.

import type { LoadProgress } from '../model/load.ts';
import type { SensitivityOptions } from '../sensitivity/measure.ts';
import { bytesStep, progressDisplay } from '../terminal/figures.ts';
import { startThreads } from '../workers/node.ts';
import { interruptible } from './run.ts';

type Watching = Required<Pick<SensitivityOptions, 'threads' | 'signal' | 'onCheck' | 'onLoad' | 'onProgress'>>;

/** Runs `work` with options of a measurement that show how far it is; Ctrl-C raises Interrupted. */
export function watchMeasuring<T>(threads: number, work: (watching: Watching) => Promise<T>): Promise<T> {
  return interruptible(async (signal) => {
    const [checking, loading, progress] = ['check', 'load', 'sensitivity'].map(progressDisplay);
    try {
      return await work({
        threads: () => startThreads(threads),
        signal,
        onCheck: (step: LoadProgress) => checking.update(bytesStep(step)),
        onLoad: (step: LoadProgress) => {
          checking.stop();
          loading.update(bytesStep(step));
        },
        onProgress: ({ done, total }) => {
          loading.stop();
          progress.update({ done, total, unit: 'tokens', bytes: 0, tensor: '' });
        },
      });
    } finally {
      for (const display of [checking, loading, progress]) display.stop();
    }
  });
}
