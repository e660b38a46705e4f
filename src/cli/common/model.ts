// A model as verbs open it: its options, loading with progress, Ctrl-C.

import { type Command, Option } from 'commander';
import { type Input, openModel } from '../../disk/input.ts';
import { CACHE_DTYPES, type CacheDtype } from '../../model/cache.ts';
import { bytesText, figureText, progressDisplay } from '../../terminal/figures.ts';
import { GROUPS } from '../../terminal/help.ts';
import { byteSize, parseInteger } from '../../terminal/usage.ts';
import type { Language } from '../../text/language.ts';
import type { Model } from '../../text/textmodel.ts';
import { spawnThread } from '../../workers/spawn.ts';
import { beginThreads } from '../../workers/threads.ts';
import { checkFits, freeMemory } from './memory.ts';
import { Interrupted, threadCount, threadsOption } from './session.ts';

/** Options of every verb that runs a model. */
export interface ModelChoice {
  /** Tokens that the cache has room for. */
  context?: number;
  /** Threads that run the model, the calling one among them. */
  threads: number;
  /** How activations meet quantized weights: as integers of 8 bits, or as floats, which is the reference. */
  activations: 'int8' | 'f32';
  /** How keys and values are kept. */
  cache: CacheDtype;
  /** Most bytes of memory: experts beyond it are read when tokens go to them. */
  memory?: number;
}

/** The option `--cache`. */
export const cacheOption = (): Option =>
  new Option('--cache <dtype>', 'how keys and values are kept: q8 and q4 are codes of 8 and 4 bits').choices([
    ...CACHE_DTYPES,
  ]);

/** Adds the options of `ModelChoice`. @param context what `--context` is, in words */
export function addModelOptions(command: Command, context: string): Command {
  return command
    .optionsGroup(GROUPS.machine)
    .addOption(new Option('--context <n>', context).argParser(parseInteger(2, 2 ** 24)))
    .addOption(threadsOption())
    .addOption(
      new Option(
        '--activations <dtype>',
        'how activations are multiplied with quantized weights: fast, or the exact reference',
      )
        .choices(['int8', 'f32'])
        .default('int8'),
    )
    .addOption(cacheOption().default('f16'))
    .addOption(
      new Option(
        '--memory <size>',
        'most memory; experts that do not fit are read when tokens go to them (all in memory)',
      ).argParser(byteSize),
    );
}

/** A model that is open, and how long that took. */
export interface OpenModel {
  /** The model, ready to run. */
  model: Model;
  /** Milliseconds from opening the files until it was ready. */
  loadMs: number;
}

/**
 * Loads models, by path or as inputs that are open, has `work` use them, closes them; Ctrl-C aborts the signal. Models behind the first are
 * what it is compared with: where it keeps keys and values as codes they keep f16.
 */
export async function withModels<T>(
  from: readonly (string | Input)[],
  { context, threads, activations, cache, memory }: ModelChoice,
  work: (models: OpenModel[], signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const interrupt = () => abort.abort(new Interrupted());
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const models: OpenModel[] = [];
  const opened: Input[] = [];
  try {
    for (const each of from) {
      const kept = models.length > 0 && cache !== 'f32' ? 'f16' : cache;
      // Threads start while the decoder is imported, and the model is opened and planned.
      const begun = beginThreads(threadCount(threads), spawnThread);
      const progress = progressDisplay('load');
      let input: Input | undefined;
      try {
        const { loadModel } = await import('../../decoder.ts');
        const began = performance.now();
        input = typeof each === 'string' ? await openModel(each) : each;
        const model = await loadModel(input.folder, {
          ...(context !== undefined && { context }),
          ...(memory !== undefined && { memory }),
          activations,
          cache: kept,
          onMemory: (need) => checkFits(need, kept, freeMemory()),
          threads: begun,
          signal: abort.signal,
          onProgress: ({ bytesDone, bytes, tensor }) =>
            progress.update({ done: bytesDone, total: bytes, unit: 'bytes', bytes: bytesDone, tensor }),
        });
        models.push({ model, loadMs: performance.now() - began });
      } catch (error) {
        await begun.close();
        throw error;
      } finally {
        progress.stop();
        // Experts that are not in memory are read from it until the end.
        if (typeof each === 'string' && input) opened.push(input);
      }
    }
    return await work(models, abort.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    for (const { model } of models) await model.close();
    for (const { folder } of opened) await folder.close();
  }
}

/** `12.3 tokens/s`. */
export function rateText(tokens: number, ms: number): string {
  return ms > 0 ? `${figureText((tokens / ms) * 1000)} tokens/s` : '…';
}

/** `12 of 64 experts in memory, 90 % of 1234 found there, 1.20 GB read`, and where files are read ahead `, 75 % of it asked for ahead`. */
export function pagingText(paging: NonNullable<Language['paging']>): string {
  const { experts, slots, hits, misses, bytesRead, prefetch } = paging;
  const share = (part: number, all: number) => (all > 0 ? `${((100 * part) / all).toFixed(1)} %` : '…');
  const hitText = `${share(hits, hits + misses)} of ${hits + misses} found there, ${bytesText(bytesRead)} read`;
  const ahead = prefetch && prefetch.hits > 0 ? `, ${share(prefetch.hits, misses)} of it asked for ahead` : '';
  return `${slots} of ${experts} in memory, ${hitText}${ahead}`;
}
