// Sensitivities that no option names: those that are kept beside the model, or measured now and kept there. Lines on standard error tell.

import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { checkModel, type Input } from '../../disk/input.ts';
import { directoryStore } from '../../disk/store.ts';
import { FormatError, UnsupportedError } from '../../errors.ts';
import type { PlanTensor } from '../../linearity/allocate.ts';
import type { Alphas } from '../../linearity/alphas.ts';
import type { OpenCheckpoint } from '../../open.ts';
import { SENSITIVITIES_NAME } from '../../quantize/carry.ts';
import type { KeptNews } from '../../sensitivity/kept.ts';
import { note, say } from '../../terminal/print.ts';
import { type Watching, watchMeasuring } from './measurement.ts';
import { Interrupted } from './session.ts';

/** The options that name sensitivities. */
export const WAYS = '--alphas FILE, --prior or --uniform';

/** Directories of Hugging Face's cache: others own them, and remove them. */
const CACHED = /[\\/](models--[^\\/]+)[\\/]snapshots[\\/]([^\\/]+)$/;

// Where sensitivities of a model are kept: beside it, or, if it is in a cache of others, in our own.
function storeOf({ directory }: Input) {
  const [, model, revision] = CACHED.exec(directory) ?? [];
  if (model === undefined) return directoryStore(directory);
  const caches = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return directoryStore(join(caches, 'higgs', 'sensitivities', `${model}--${revision}`));
}

/** Sensitivities of a model by the default settings: those that are kept, or measured now and kept. */
export function modelSensitivities(
  checkpoint: OpenCheckpoint,
  input: Input,
  tensors: readonly PlanTensor[],
  threads: number,
  memory?: number,
): Promise<Alphas> {
  const store = storeOf(input);
  const name = basename(input.path);
  return namingWays(async () => {
    checkModel(input);
    try {
      const keeping = { name, tensors, store, onKept: tell };
      const measure = (watching: Watching) => checkpoint.sensitivity({ ...keeping, ...watching });
      return await watchMeasuring(checkpoint, threads, measure, memory);
    } catch (error) {
      const unfinished = `${SENSITIVITIES_NAME}.partial`;
      const isSaved = (await store.read(unfinished).catch(() => undefined)) !== undefined;
      if (error instanceof Interrupted && isSaved) {
        error.message = `interrupted; what is measured is kept in ${join(store.name, unfinished)}, the same command continues it`;
      }
      throw error;
    } finally {
      await store.close();
    }
  });
}

/** The sensitivities that are kept of a model, if they are current. */
export function keptSensitivities(checkpoint: OpenCheckpoint, input: Input): Promise<Alphas | undefined> {
  return namingWays(async () => {
    if (input.isFile) return undefined;
    const keeping = { store: storeOf(input), onKept: tell };
    return watchMeasuring(checkpoint, 1, ({ signal, onCheck }) =>
      checkpoint.keptSensitivity({ ...keeping, signal, onCheck }),
    );
  });
}

async function namingWays<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UnsupportedError || error instanceof FormatError || error instanceof RangeError) {
      error.message += `; sensitivities can be given instead: ${WAYS}`;
    }
    throw error;
  }
}

function tell(news: KeptNews): void {
  const { kind, file } = news;
  if (kind === 'used') note(`higgs: sensitivities of ${file} (${described(news.alphas)})`);
  else if (kind === 'left') note(`higgs: ${file} is left: ${news.message}`);
  else if (kind === 'measured') {
    const { isKept, fault, seconds, alphas } = news;
    const outcome = isKept ? `kept in ${file}` : `not kept${fault === undefined ? '' : `: ${fault}`}`;
    note(`higgs: sensitivities measured in ${seconds.toFixed(1)} s (${described(alphas)}), ${outcome}`);
  } else if (news.reason === 'own') {
    say(`not used: ${file}: higgs did not write it, so it stays as it is; give it with --alphas`);
  } else say(`not used: ${news.message}`);
}

function described({ estimator, settings }: Alphas): string {
  const { sequences, tokens, draws, seed } = settings;
  return `${estimator}, ${sequences} sequences of ${tokens} tokens from the model, ${draws} draws, seed ${seed}`;
}
