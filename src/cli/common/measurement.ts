// A measurement of sensitivities, as verbs run it: with progress, threads and Ctrl-C.

import type { LoadProgress } from '../../model/loading/load.ts';
import { MEMORY_LIMIT } from '../../model/region.ts';
import type { OpenCheckpoint } from '../../open.ts';
import type { MakingProgress } from '../../quantize/made.ts';
import type { CostOptions, SensitivityCost } from '../../sensitivity/cost.ts';
import type { SensitivityOptions } from '../../sensitivity/measure.ts';
import { bytesStep, bytesText, progressDisplay } from '../../terminal/figures.ts';
import { startPool, startThreads } from '../../workers/node.ts';
import type { Pool } from '../../workers/pool.ts';
import { freeMemory } from './memory.ts';
import { interruptible, loadHiggs, threadCount } from './session.ts';

/** What a measurement is given. */
export type Watching = Required<
  Pick<SensitivityOptions, 'threads' | 'signal' | 'onCheck' | 'onLoad' | 'onProgress' | 'memoryLimit' | 'copy'>
>;

/**
 * Runs `work` with options of a measurement that show how far it is; Ctrl-C raises Interrupted.
 * @param memory bytes of linear memory; what is free if left out
 */
export function watchMeasuring<T>(
  checkpoint: OpenCheckpoint,
  threads: number,
  work: (watching: Watching) => Promise<T>,
  memory?: number,
): Promise<T> {
  return interruptible(async (signal) => {
    const [checking, copying, loading, progress] = ['check', 'copy', 'load', 'sensitivity'].map(progressDisplay);
    let pool: Pool | undefined;
    try {
      return await work({
        threads: () => startThreads(threadCount(threads)),
        signal,
        memoryLimit: memoryLimitOf(memory),
        copy: async (grid) => {
          checking.stop();
          loading.stop();
          pool = await startPool(threads);
          const onProgress = ({ weightsDone, weights, tensor }: MakingProgress) =>
            copying.update({ done: weightsDone, total: weights, unit: 'weights', bytes: 0, tensor });
          const copy = await checkpoint.copy({ grid, embeddings: grid, pool, signal, onProgress });
          const { bytes } = await (await (await loadHiggs()).open(copy)).runMemory({ context: 1 });
          checkCopy(bytes, memory ?? freeMemory());
          return copy;
        },
        onCheck: (step: LoadProgress) => checking.update(bytesStep(step)),
        onLoad: (step: LoadProgress) => {
          checking.stop();
          loading.update(bytesStep(step));
        },
        onProgress: ({ done, total }) => {
          copying.stop();
          loading.stop();
          progress.update({ done, total, unit: 'tokens', bytes: 0, tensor: '' });
        },
      });
    } finally {
      for (const display of [checking, copying, loading, progress]) display.stop();
      await pool?.close();
    }
  });
}

/** What a measurement would take: on `threads`, which make the copy, too. */
export async function costOf(
  checkpoint: OpenCheckpoint,
  options: CostOptions,
  threads: number,
  memory?: number,
): Promise<SensitivityCost> {
  let pool: Pool | undefined;
  const copy = async (grid: string) => {
    pool = await startPool(threads);
    return checkpoint.copy({ grid, embeddings: grid, pool });
  };
  try {
    const asked = { ...options, memoryLimit: memoryLimitOf(memory), copy };
    return await checkpoint.sensitivityCost({ ...asked, threads: await startThreads(threadCount(threads)) });
  } finally {
    await pool?.close();
  }
}

/** Bytes of linear memory that a measurement may have: as asked for, or what is free. */
function memoryLimitOf(memory: number | undefined): number {
  return Math.max(1, Math.min(MEMORY_LIMIT, Math.floor(memory ?? freeMemory())));
}

/** Refuses a copy that samples tokens if it exceeds the memory: it does not go in pieces. @throws {RangeError} */
export function checkCopy(bytes: number, memory: number): void {
  if (bytes <= memory) return;
  const sizes = `it takes ${bytesText(bytes)}, of ${bytesText(memory)}`;
  throw new RangeError(
    `copy that samples the tokens must fit memory: ${sizes}; higgs sensitivity with --text FILE or --source random needs none`,
  );
}
