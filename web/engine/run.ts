// A run: a model quantized into the place that the page keeps for it, or resumed there.

import type { Keeper, Note } from './kept.ts';
import {
  type Alphas,
  type OpenCheckpoint,
  predict,
  type QuantizeReport,
  sensitivitiesOf,
  startPool,
  startThreads,
} from './library.ts';
import { thinned } from './news.ts';
import type { Opened } from './origins.ts';
import type { Outcome, Recipe, RunProgress } from './protocol.ts';
import { type optionsOf, outputName } from './recipe.ts';

/** What is quantized, and how. */
export interface Order {
  readonly opened: Opened;
  readonly checkpoint: OpenCheckpoint;
  /** Sensitivities, where they are measured. */
  readonly measured: Alphas | undefined;
  readonly recipe: Recipe;
  readonly options: ReturnType<typeof optionsOf>;
  readonly threads: number;
  readonly signal: AbortSignal;
  onProgress(progress: RunProgress): void;
}

/** @throws where another tab is at the same run */
export async function run(order: Order, keeper: Keeper): Promise<Outcome> {
  const { opened, measured, recipe } = order;
  const isMeasured = measured !== undefined;
  const identity = JSON.stringify([opened.identity, recipe, isMeasured]);
  const { id, noted } = await placeFor(outputName(opened.name, recipe.bits), identity, keeper);
  const { name, source } = opened;
  const note = { id, name, recipe, isMeasured, source, outcome: undefined, identity };
  return keeper.alone(id, async () => {
    const now = await keeper.note(id).catch(() => undefined);
    if (!noted?.outcome && now?.outcome && now.identity === identity) return now.outcome; // another tab was as far first
    if (!noted || noted.outcome) await keeper.remove(id);
    await keeper.write(note);
    const outcome = await write(order, id, identity, keeper);
    await keeper.write({ ...note, outcome });
    return outcome;
  });
}

async function write(order: Order, id: string, identity: string, keeper: Keeper): Promise<Outcome> {
  const { checkpoint, recipe, options, threads, signal } = order;
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const news = thinned(order.onProgress);
  const pool = await startPool(threads);
  try {
    const gather = {
      mode: recipe.refine || ('both' as const),
      threads: () => startThreads(threads),
      onProgress: ({ done, total }: { done: number; total: number }) =>
        news({ phase: 'gather', finished: 0, done, total, resumed: 0, seconds: seconds() }),
    };
    let resumed: number | undefined;
    const all = { ...options, pool, signal, ...(recipe.refine && { refine: gather }) };
    const planned = await checkpoint.plan(all);
    const before = finishedBefore(planned);
    const report = await checkpoint.quantize(await keeper.folder(id), {
      ...{ ...all, planned },
      ...(keeper.isKeeping && { resume: { identity } }),
      onProgress({ tensor, bytesRead, bytesIn }) {
        resumed ??= bytesRead;
        const finished = before.get(tensor) ?? 0;
        news({ phase: 'encode', finished, done: bytesRead, total: bytesIn, resumed, seconds: seconds() });
      },
    });
    news.last();
    return outcomeOf(report, order, { id, recipe, seconds: seconds() });
  } finally {
    await pool.close();
  }
}

// Where a run writes: another model of the same name, or another recipe, keeps its place.
async function placeFor(name: string, identity: string, keeper: Keeper): Promise<{ id: string; noted?: Note }> {
  for (let n = 1; ; n++) {
    const id = n === 1 ? name : `${name}-${n}`;
    const noted = await keeper.note(id).catch(() => null); // null: unreadable, and so taken
    if (noted === undefined) return { id };
    if (noted?.identity === identity) return { id, noted };
  }
}

// What the page keeps of a report. Predictions go by sensitivities that are measured of this model, whatever chose its grids.
function outcomeOf(
  report: QuantizeReport,
  { opened: { name }, measured }: Order,
  about: Pick<Outcome, 'id' | 'recipe' | 'seconds'>,
): Outcome {
  const { bpw, bytesIn, bytesOut, relativeError, tensors, passed, warnings } = report;
  const cost = report.predicted?.loss === 'relative' ? undefined : report.predicted;
  const predicted = cost ?? (measured && predict(tensors, sensitivitiesOf(measured)));
  return {
    ...{ ...about, bpw, bytesIn, bytesOut, relativeError, tensors, warnings },
    ...{ model: name, isMeasured: measured !== undefined },
    passed: passed.map(({ name, reason }) => ({ name, reason })),
    predicted: predicted && { loss: predicted.loss, delta: predicted.delta },
  };
}

// How many matrices are done when the run is at a tensor, by its name.
function finishedBefore({ items }: Awaited<ReturnType<OpenCheckpoint['plan']>>): Map<string, number> {
  const before = new Map<string, number>();
  let finished = 0;
  for (const item of items) {
    if (item.kind === 'grid') continue;
    before.set(item.tensor.name, finished);
    if (item.kind === 'quantize') finished++;
  }
  return before;
}
