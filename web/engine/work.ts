// All that the page asks for, done by the library in a worker: one model open at a time, one long piece of work under way.

import { openKeeper } from './kept.ts';
import {
  type Alphas,
  type Higgs,
  load,
  type OpenCheckpoint,
  predictPerplexity,
  startThreads,
  uniformAlphas,
} from './library.ts';
import { thinned } from './news.ts';
import { type Opened, openOrigin } from './origins.ts';
import type {
  KeptModel,
  Machine,
  ModelInfo,
  Origin,
  Outcome,
  Planned,
  Ready,
  Recipe,
  RunProgress,
  Said,
  Sampling,
  Scored,
  Side,
  Sizes,
  Speaker,
  Spoken,
  Turn,
} from './protocol.ts';
import { budgetOf, gridsOf, optionsOf } from './recipe.ts';
import { run } from './run.ts';
import { openTalk } from './talk.ts';
import { type StartWorker, workersBy } from './workers.ts';

/** Most threads that the page takes: beyond, memory is what limits. */
const THREADS = 8;
/** Sizes that the slider has, and those that are timed. */
const BITS = Array.from({ length: 25 }, (_, i) => 2 + i / 4);
const TIMED = [2, 3, 4, 6, 8];
const TIMING_SECONDS = 1.5;

/** The model that is open. */
interface Open extends Opened {
  readonly origin: Origin;
  readonly checkpoint: OpenCheckpoint;
  /** Ends requests for it: what was stopped is opened anew when it is wanted again. */
  readonly reading: AbortController;
  plain: Alphas | undefined;
  measured: Alphas | undefined;
}

export type Engine = ReturnType<typeof startEngine>;

export function startEngine() {
  const threads = Math.min(navigator.hardwareConcurrency ?? 1, THREADS);
  const keeping = openKeeper();
  const talk = openTalk(threads);
  let higgs: Promise<Higgs> | undefined;
  let open: Open | undefined;
  let running = new AbortController();
  let writing: Promise<unknown> = Promise.resolve();

  const library = () => {
    higgs ??= load();
    return higgs;
  };
  async function openFrom(origin: Origin, measured?: Alphas): Promise<Open> {
    const reading = new AbortController();
    const { signal } = running;
    const end = () => reading.abort(signal.reason);
    signal.addEventListener('abort', end);
    try {
      const opened = await openOrigin(origin, await keeping, reading.signal);
      const checkpoint = await (await library()).open(opened.folder);
      return { ...opened, origin, checkpoint, reading, plain: undefined, measured };
    } finally {
      signal.removeEventListener('abort', end); // from here on it outlives the work that asked for it
    }
  }
  const current = async (): Promise<Open> => {
    if (!open) throw new Error('a model must be open: none is');
    if (open.reading.signal.aborted) open = await openFrom(open.origin, open.measured);
    return open;
  };
  /** Ends what is under way: one long piece of work at a time. */
  const begin = (): AbortSignal => {
    running.abort(new Error('Stopped.'));
    running = new AbortController();
    return running.signal;
  };
  const alphasOf = async (opened: Open): Promise<Alphas> => {
    opened.plain ??= uniformAlphas(await opened.checkpoint.planTensors({ embeddings: 'any' }));
    return opened.measured ?? opened.plain;
  };
  const optionsFor = async (opened: Open, recipe: Recipe) =>
    optionsOf(recipe, await alphasOf(opened), opened.measured !== undefined);

  return {
    /** The page starts the workers. It says so before all else. */
    startWorkersBy(start: StartWorker): void {
      Object.assign(globalThis, { Worker: workersBy(start) });
    },

    machine: async (): Promise<Machine> => ({
      threads: globalThis.crossOriginIsolated ? threads : 1,
      isIsolated: globalThis.crossOriginIsolated,
      isKeeping: (await keeping).isKeeping,
    }),

    /** Ends what is under way, and requests that it waits for. */
    stop(): void {
      begin();
      open?.reading.abort(new Error('Stopped.'));
    },

    async open(origin: Origin): Promise<ModelInfo> {
      begin();
      open?.reading.abort();
      open = undefined;
      await talk.close();
      const opened = await openFrom(origin);
      open = opened;
      const { checkpoint, name } = opened;
      const { quantized, bytes, parameters } = await checkpoint.inspect();
      const refusal = await checkpoint.runMemory().then(
        () => undefined,
        (error: Error) => error.message,
      );
      return {
        ...{ name, isQuantized: quantized, bytes, parameters, refusal },
        bits: parameters > 0 ? (bytes * 8) / parameters : 0,
        family: await familyOf(opened),
      };
    },

    /** Sizes and losses of the slider's stops, or, where they are timed, tokens a second of some. */
    async sizes(recipe: Recipe, isTimed: boolean): Promise<Sizes> {
      const opened = await current();
      const { signal } = running;
      const alphas = await alphasOf(opened);
      const { groupSize, embeddings } = recipe;
      const stops = isTimed ? TIMED : BITS;
      const budgets = new Map(stops.map((bits) => [budgetOf({ bits, groupSize }), bits]));
      const sizes = await opened.checkpoint.advise({
        ...{ bits: budgets.keys(), grids: gridsOf(recipe), alphas, signal },
        seconds: isTimed ? TIMING_SECONDS : 0,
        ...(embeddings && { embeddings: embeddings === 'rest' ? 'any' : embeddings }),
        ...(isTimed && { threads: await startThreads(threads) }),
      });
      return {
        unit: alphas.loss,
        points: sizes.map(({ bits, bytes, memory, speed, prediction }) => ({
          ...{ bits: budgets.get(bits ?? 0), bytes, memory },
          ...{ tokensPerSecond: speed?.tokensPerSecond, loss: prediction?.delta },
        })),
      };
    },

    async plan(recipe: Recipe): Promise<Planned> {
      const opened = await current();
      const plan = await opened.checkpoint.plan(await optionsFor(opened, recipe));
      const tensors = plan.items.flatMap((item) => {
        if (item.kind !== 'quantize') return [];
        const { rows, cols, scheme } = item.quantized;
        const { name: grid, bits, p } = scheme.grid;
        return [{ name: item.tensor.name, grid, bits: bits / Math.max(1, p), weights: rows * cols }];
      });
      const bits = tensors.reduce((sum, { bits, weights }) => sum + bits * weights, 0);
      return { bytes: plan.bytesOut, bytesIn: plan.bytesIn, bpw: plan.weights > 0 ? bits / plan.weights : 0, tensors };
    },

    /** Sensitivities of the open model, kept for the next time. */
    async measure(onProgress: (share: number) => void): Promise<void> {
      const opened = await current();
      const signal = begin();
      const news = thinned(onProgress);
      const store = await (await keeping).store(keyOf(opened.name));
      opened.measured = await opened.checkpoint.sensitivity({
        threads: () => startThreads(threads),
        signal,
        onProgress: ({ done, total }) => news(done / total),
        ...(store && { store }),
      });
      news.last();
    },

    /** One run at a time: what was stopped may have its file open for a moment. */
    async quantize(recipe: Recipe, onProgress: (progress: RunProgress) => void): Promise<Outcome> {
      const opened = await current();
      const signal = begin();
      const work = writing.then(async () => {
        signal.throwIfAborted();
        await talk.close();
        const { checkpoint, measured } = opened;
        const options = await optionsFor(opened, recipe);
        const order = { opened: opened, checkpoint, measured, recipe, options, threads, signal, onProgress };
        return run(order, await keeping);
      });
      writing = work.catch(() => {});
      return work;
    },

    async kept(): Promise<KeptModel[]> {
      return (await (await keeping).list()).map(({ identity: _, ...model }) => model);
    },
    async remove(id: string): Promise<void> {
      const keeper = await keeping;
      await keeper.alone(id, () => keeper.remove(id));
    },
    /** The files of a kept model, to be saved. */
    files: async (id: string): Promise<File[]> => (await keeping).files(id),

    /** Loads who is talked to. */
    async load(side: Side, speaker: Speaker, id: string, onProgress: (share: number) => void): Promise<Ready> {
      const signal = begin();
      const news = thinned(onProgress);
      return talk.load(side, await checkpointOf(speaker, id), signal, news);
    },
    unload: (side: Side): Promise<void> => talk.close(side),
    say(
      ask: { turns: readonly Turn[]; isChat: boolean; sampling: Sampling },
      onSpoken: (news: Spoken) => void,
    ): Promise<Partial<Record<Side, Said>>> {
      return talk.say(ask, begin(), onSpoken);
    },

    /** Scores the beginning of a text: the result, beside the original where that is loaded, too. */
    async score(text: string, outcome: Outcome | undefined, onProgress: (share: number) => void): Promise<Scored> {
      const [model, original] = [talk.model('left'), talk.model('right')];
      if (!model) throw new Error('a model must be loaded: talk to it first');
      const signal = begin();
      const news = thinned(onProgress);
      const measured = await model.perplexity(text, {
        signal,
        onProgress: ({ done, total }) => news(done / total),
        ...(original && { against: original }),
      });
      const { predicted } = outcome ?? {};
      const base = measured.against?.perplexity;
      return { measured, predicted: predicted && base ? predictPerplexity(predicted, base) : null };
    },
  };

  async function checkpointOf(speaker: Speaker, id: string): Promise<OpenCheckpoint> {
    if (speaker.kind === 'result') {
      if (open?.checkpoint && id === '') return open.checkpoint;
      return (await library()).open(await (await keeping).folder(id));
    }
    const opened = await current();
    if (speaker.kind === 'original') return opened.checkpoint;
    return (await library()).open(await opened.checkpoint.copy(await optionsFor(opened, speaker.recipe)));
  }
}

// What config.json calls the model; a faulty one is refused where it is needed.
async function familyOf({ folder }: Opened): Promise<string | undefined> {
  try {
    const source = await folder.open('config.json');
    const { model_type: family } = JSON.parse(new TextDecoder().decode(await source.slice(0, source.byteLength)));
    return typeof family === 'string' ? family : undefined;
  } catch {
    return undefined;
  }
}

const keyOf = (name: string): string => name.replace(/[^\w.-]+/g, '_');
