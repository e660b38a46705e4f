// A measurement of sensitivities, as verbs run it: progress, Ctrl-C, unfinished work that is saved as it grows.

import type { Alphas } from '../linearity/alphas.ts';
import type { SensitivitySettings } from '../sensitivity/settings.ts';
import type { Folder } from '../source/source.ts';
import { progressDisplay } from '../terminal/figures.ts';
import { startThreads } from '../workers/node.ts';
import { Interrupted, loadAll } from './run.ts';

/** Unfinished work is saved at once, then this often, in milliseconds, and when the run is interrupted. */
const SAVE_AFTER = 5000;

export interface Measurement {
  folder: Folder;
  /** What the result calls the model. */
  name: string;
  settings: SensitivitySettings;
  threads: number;
  /** What an earlier run saved. */
  partial: string | undefined;
  /** Keeps unfinished work; its error ends the run. */
  save(partial: string): Promise<void>;
}

/** Measures; Ctrl-C raises Interrupted, after a last `save`. @throws what `measureSensitivity` throws */
export async function measureModel(measurement: Measurement): Promise<Alphas> {
  const { folder, name, settings, threads, partial } = measurement;
  const higgs = await loadAll();
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Interrupted());
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const [loading, progress] = [progressDisplay('load'), progressDisplay('sensitivity')];
  let last: string | undefined;
  let saved = Number.NEGATIVE_INFINITY;
  let saving = Promise.resolve();
  const save = () => {
    const content = last!;
    last = undefined;
    saved = performance.now();
    saving = saving.then(() => measurement.save(content));
    saving.catch(() => abort.abort()); // its error is raised at the end
  };
  try {
    const alphas = await higgs.measureSensitivity(folder, {
      ...settings,
      ...(partial !== undefined && { partial }),
      name,
      threads: await startThreads(threads),
      signal: abort.signal,
      onLoad: ({ bytesDone, bytes, tensor }) =>
        loading.update({ done: bytesDone, total: bytes, unit: 'bytes', bytes: bytesDone, tensor }),
      onProgress: ({ done, total }) => {
        loading.stop();
        progress.update({ done, total, unit: 'tokens', bytes: 0, tensor: '' });
      },
      onPartial: (content) => {
        last = content;
        if (performance.now() - saved > SAVE_AFTER) save();
      },
    });
    await saving;
    return alphas;
  } catch (error) {
    if (last !== undefined) save();
    await saving;
    throw error;
  } finally {
    loading.stop();
    progress.stop();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}
