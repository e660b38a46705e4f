// What a measurement will take, from the speed of one layer of the model's shape on this machine: weights are not read, zeros take as
// long.

import { options as optionsOf } from '../check.ts';
import { readConfig } from '../model/config.ts';
import { givenFolder } from '../source/given.ts';
import type { Folder } from '../source/source.ts';
import { givenThreads, type Threads, takeThreads } from '../workers/threads.ts';
import { MATRICES_PER_LAYER, matrixOf } from './matrices.ts';
import { sample } from './sampled.ts';
import { planSession, type Session, startSession, threadsFor } from './session.ts';
import { type SensitivitySettings, type Settings, settingsMembers, settingsOf } from './settings.ts';
import type { Task } from './task.ts';

/** An estimate. */
export interface SensitivityCost {
  readonly estimator: 'fisher' | 'noise';
  readonly source: 'text' | 'model' | 'random';
  readonly tokens: number;
  readonly sequences: number;
  readonly draws: number;
  /** Matrices of the layers, and their weights. */
  readonly matrices: number;
  readonly weights: number;
  /** Bytes of linear memory; above 4 GB the measurement is refused. */
  readonly bytes: number;
  readonly threads: number;
  /** Without the time to read the weights. */
  readonly seconds: number;
}

/** Runs of a task that are timed; the shortest counts. */
const RUNS = 2;
/** Of a step of single tokens, which is short. */
const STEP_RUNS = 16;

const costOptions = optionsOf<SensitivitySettings & { threads?: Threads }>({
  ...settingsMembers,
  threads: givenThreads,
});

/**
 * Estimates what `measureSensitivity` would take with the same settings, by running single steps of it.
 * @throws what `measureSensitivity` throws for the folder and the settings, but for those of the text
 */
export async function estimateSensitivity(
  from: Folder,
  given: SensitivitySettings & { threads?: Threads } = {},
): Promise<SensitivityCost> {
  const threads = takeThreads(given);
  let session: Session | undefined;
  try {
    const folder = givenFolder('input', from);
    const options = costOptions('options', given);
    const config = await readConfig(folder);
    const settings = settingsOf(options, config.contextLength);
    const { estimator, source, tokens, sequences } = settings;
    const count = threadsFor(threads);
    const draws = estimator === 'fisher' ? settings.draws : 1;
    const sampled = source === 'model' ? sequences : 0;
    const layout = { estimator, tokens, draws, sampled, threads: count };
    const whole = await planSession(folder, layout);
    session = await startSession(await planSession(folder, layout, 1), threads);
    const { layers } = whole.plan.state;
    const timed = timesOf(session);
    const own = layers[0];
    const matrices = Array.from({ length: MATRICES_PER_LAYER }, (_, i) => matrixOf(own, i));
    const sampling = sampled * samplingSeconds(session, timed, layers.length);
    const measuring =
      estimator === 'fisher'
        ? sequences * fisherSeconds(timed, layers.length)
        : noiseSeconds(timed, layers.length, settings);
    return {
      ...{ estimator, source, tokens, sequences, draws: settings.draws, threads: count, seconds: sampling + measuring },
      matrices: layers.length * MATRICES_PER_LAYER,
      weights: layers.length * matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0),
      bytes: whole.bytes,
    };
  } finally {
    await (session ? session.close() : threads?.close());
  }
}

/** Seconds that a task takes; of the head's tasks, all tokens together. */
type Times = (task: Task, runs?: number) => number;

function timesOf({ measuring, run }: Session): Times {
  const { state, workspace } = measuring;
  const { tokens } = workspace;
  return (task, runs = RUNS) => {
    const isHead = task.kind === 'labels' || task.kind === 'keep' || task.kind === 'compare';
    const count = Math.min(state.logitRows, tokens);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < runs; i++) {
      const began = performance.now();
      run(isHead ? { ...task, count } : task);
      least = Math.min(least, performance.now() - began);
    }
    return (least / 1000) * (isHead ? tokens / count : 1);
  };
}

// Of one sequence, as one of those that are sampled together; steps are timed in its middle.
function samplingSeconds({ measuring }: Session, seconds: Times, layers: number): number {
  const { state, workspace, floats } = measuring;
  if (!workspace.sampling) return 0;
  const { together: count } = workspace.sampling;
  const step = { kind: 'step', first: workspace.tokens >> 1, count } as const;
  const layer = seconds(step, STEP_RUNS);
  const whole = seconds({ ...step, save: true }, STEP_RUNS);
  const row = floats.subarray(state.logits / 4, state.logits / 4 + state.config.vocabSize);
  let drawn = Number.POSITIVE_INFINITY;
  for (let i = 0; i < STEP_RUNS; i++) {
    const began = performance.now();
    sample(row, 1);
    drawn = Math.min(drawn, (performance.now() - began) / 1000);
  }
  return (workspace.tokens - 1) * (((layers - 1) * layer + Math.max(layer, whole)) / count + drawn);
}

function fisherSeconds(seconds: Times, layers: number): number {
  const forward = seconds({ kind: 'embed' }) + layers * seconds({ kind: 'layer', save: true });
  const backward = seconds({ kind: 'feedForwardBack' }) + seconds({ kind: 'attentionBack' });
  return forward + seconds({ kind: 'labels' }) + layers * backward + seconds({ kind: 'embeddingBack' });
}

function noiseSeconds(seconds: Times, layers: number, { sequences, draws, levels }: Settings): number {
  const layer = seconds({ kind: 'layer', save: true });
  const head = seconds({ kind: 'keep' });
  const compared = seconds({ kind: 'compare' });
  let noise = 0;
  let perturbed = 0;
  for (let matrix = 0; matrix < MATRICES_PER_LAYER; matrix++) {
    noise += seconds({ kind: 'draw', matrix });
    perturbed += seconds({ kind: 'perturb', matrix });
  }
  // From each layer on: half of them on average.
  const suffixes = (layer * (layers + 1)) / 2 + compared;
  const runs = 2 * levels.length * (perturbed + MATRICES_PER_LAYER * suffixes);
  return sequences * (layers * layer + head + draws * layers * (noise + runs));
}
