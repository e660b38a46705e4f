// The linearity theorem on trained models: loss predicted from sensitivities, Σ α t², and measured, for Gaussian noise and for every
// loaded grid, of the whole model and of each matrix alone. In place of t², weights that error feedback refines have ρ · MSE: ρ is known
// before they are quantized. Statistics come from other tokens of the kind that the loss is measured on.

import type { Higgs } from '../src/higgs.ts';
import { gatherRefinement } from '../src/refinement/gather.ts';
import { startThreads } from '../src/workers/node.ts';
import type { Pool } from '../src/workers/pool.ts';
import { normals } from '../tests/bits.ts';
import { memoryOutput } from '../tests/checkpoints.ts';
import { type Disturbance, type Losses, type Matrix, openPatient, type Patient } from './disturb.ts';
import { BPW } from './errors.ts';
import { quantileOf, ratioOf, sum } from './ratio.ts';
import { restore } from './restored.ts';
import type { Dot } from './scatter.ts';
import type { Subject } from './subjects.ts';
import { type Cells, column, type Table } from './table.ts';

export interface TheoremOptions {
  grids: readonly string[];
  /** Grids whose weights are also refined. */
  refined: readonly string[];
  /** Sequences of 256 tokens to refine by. */
  refineSequences: number;
  pool: Pool;
  /** Sequences of texts at most; half as many of random tokens, whose KL varies less. */
  sequences: number;
  /** Sequences in which each matrix is disturbed alone. */
  alone: number;
  threads: number;
}

/** Tokens of a sequence, as sensitivities are measured by default. */
const TOKENS = 128;
/** Relative errors t² of the noise: about those of grids of 4, 3 and 2 bits, and a smaller one. */
const LEVELS = [1 / 512, 1 / 128, 1 / 32, 1 / 8];
const ROW_LEVELS = [1 / 128, 1 / 32];
/** Of the tokens to refine by: those that the loss is measured on have 0. */
const REFINE_SEED = 1;
/** Columns of a group, as of the preset scheme. */
const GROUP_SIZE = 1024;

// Noise or a grid.
interface Kind {
  name: string;
  /** Kinds that the plot gives one colour. */
  family: string;
  bitsPerWeight?: number;
  /** Of each matrix; what stands for it, where weights are refined. */
  t2: number[];
  variants: ((matrix: number) => Float32Array)[];
}

const wholeColumns = [column('÷ predicted', 'ratio', 3), column('±', 'ratioError', 2)];
const klColumns = [
  BPW,
  column('mean t²', 'meanT2', 3),
  column('Σ α t²', 'predicted', 4),
  column('all at once: KL', 'together', 4),
  ...wholeColumns,
  column('each alone: Σ KL ÷ predicted', 'aloneRatio', 3),
  column('of matrices: median', 'median', 3),
  column('10 %', 'low', 3),
  column('90 %', 'high', 3),
];
const textColumns = [
  BPW,
  column('mean t²', 'meanT2', 3),
  column('Σ α t²', 'predicted', 4),
  column('all at once: increase', 'together', 4),
  ...wholeColumns,
  column('each alone: Σ ÷ predicted', 'aloneRatio', 3),
];

/**
 * Two tables of a model, measured when the first row of each is: KL divergence on random tokens, perplexity on its texts.
 * @param plot gets every pair of predicted and measured KL
 */
export function theoremTables(
  higgs: Higgs,
  subject: Subject,
  options: TheoremOptions,
  plot: (dots: readonly Dot[]) => void,
): Table[] {
  const { name, folder, texts, otherText } = subject;
  const { grids, refined, refineSequences, threads, pool } = options;
  const random = Math.ceil(options.sequences / 2);
  const long = texts.filter(({ length }) => length > TOKENS).slice(0, options.sequences);
  const names = [...LEVELS.map(noiseName), ...ROW_LEVELS.map(rowNoiseName), ...grids, ...refined.map(refinedName)];

  async function measured(texts: number | number[][]): Promise<Map<string, Cells>> {
    const copy = await restore(higgs, folder, (weights) => ({ dequantized: weights.slice(), bitsPerWeight: 32 }));
    const patient = await openPatient(copy.folder, { tokens: TOKENS, texts }, options.threads);
    const isText = typeof texts !== 'number';
    const { matrices } = patient;
    // Errors of the text's −ln p have a part linear in the disturbance, far above the rest in one matrix; noise of both signs has none.
    const kinds = [
      ...noiseKinds(matrices, isText ? [1, -1] : [1]),
      ...grids.map((grid) => gridKind(higgs, matrices, grid)),
      ...(refined.length > 0 ? await refinedKinds(matrices, isText) : []),
    ];
    const losses = patient.lossesOf(
      kinds.map(({ variants, family }): Disturbance => {
        return { variants, alone: isText && family !== 'noise' ? 0 : options.alone };
      }),
    );
    await patient.close();
    const rows = kinds.map((kind, i): [string, Cells] => [kind.name, cellsOf(kind, losses[i], patient)]);
    if (!isText) plot(kinds.flatMap((kind, i) => dotsOf(name, kind, losses[i], patient)));
    return new Map(rows);
  }

  async function refinedKinds(matrices: readonly Matrix[], isText: boolean): Promise<Kind[]> {
    const tokens = isText ? { text: otherText } : { source: 'random' as const };
    const asked = { ...tokens, seed: REFINE_SEED, sequences: refineSequences, threads: () => startThreads(threads) };
    const { statistics } = await gatherRefinement(folder, asked, GROUP_SIZE);
    const kinds: Kind[] = [];
    for (const grid of refined) {
      const [copied, plain] = [memoryOutput(), memoryOutput()];
      const report = await higgs.quantizeCheckpoint(folder, copied, { grid, refine: { statistics }, pool });
      await higgs.dequantizeCheckpoint(copied.folder(), plain, { dtype: 'F32' });
      const restored = new Map<string, Float32Array>();
      for (const item of (await higgs.planCheckpoint(plain.folder())).items) {
        if (item.kind === 'quantize') restored.set(item.tensor.name, new Float32Array(await item.tensor.read()));
      }
      const rows = new Map(report.tensors.map((row) => [row.name, row]));
      kinds.push({
        ...{ name: refinedName(grid), family: 'refined', bitsPerWeight: report.bpw },
        t2: matrices.map(({ name }) => rows.get(name)!.gain! * rows.get(name)!.gridMse),
        variants: [(i) => restored.get(matrices[i].name)!],
      });
    }
    return kinds;
  }

  const tableOf = (title: string, columns: Table['columns'], texts: number | number[][]): Table => {
    let byName: Promise<Map<string, Cells>> | undefined;
    return {
      title,
      columns,
      rows: names.map((name) => ({
        name,
        measure: async () => {
          byName ??= measured(texts);
          return (await byName).get(name)!;
        },
      })),
    };
  };
  const sequences = (count: number) => `${count} sequences of ${TOKENS}`;
  return [
    tableOf(
      `${name}: KL divergence, predicted and measured, ${sequences(random)} random tokens, alone on ${options.alone}`,
      klColumns,
      random,
    ),
    tableOf(`${name}: perplexity, predicted and measured, ${sequences(long.length)} tokens of text`, textColumns, long),
  ];
}

function noiseName(t2: number): string {
  return `noise 1/${1 / t2}`;
}

function refinedName(grid: string): string {
  return `${grid} refined`;
}

function rowNoiseName(t2: number): string {
  return `${noiseName(t2)} of each row`;
}

// One draw for all levels; as large in all of a matrix, or in proportion to the rows' norms, as errors of grids are.
function noiseKinds(matrices: readonly Matrix[], signs: readonly number[]): Kind[] {
  const noises = matrices.map(({ weights }, i) => normals(weights.length, i + 1));
  const kind = (name: string, family: string, scales: readonly Float64Array[]): Kind => {
    const noised = (i: number, sign: number) => {
      const [{ weights, cols }, noise, scale] = [matrices[i], noises[i], scales[i]];
      const to = new Float32Array(weights.length);
      for (const [row, scaled] of scale.entries()) {
        for (let k = row * cols; k < (row + 1) * cols; k++) to[k] = weights[k] + sign * scaled * noise[k];
      }
      return to;
    };
    const t2 = matrices.map(({ weights }, i) => {
      const error = noised(i, 1).map((w, k) => w - weights[k]);
      return squareOf(error) / squareOf(weights);
    });
    return { name, family, t2, variants: signs.map((sign) => (i: number) => noised(i, sign)) };
  };
  const scalesOf = (t2: number, byRow: boolean) =>
    matrices.map(({ weights, rows, cols }) => {
      return Float64Array.from({ length: rows }, (_, row) => {
        const part = byRow ? weights.subarray(row * cols, (row + 1) * cols) : weights;
        return Math.sqrt((t2 * squareOf(part)) / part.length);
      });
    });
  return [
    ...LEVELS.map((t2) => kind(noiseName(t2), 'noise', scalesOf(t2, false))),
    ...ROW_LEVELS.map((t2) => kind(rowNoiseName(t2), 'row noise', scalesOf(t2, true))),
  ];
}

function gridKind(higgs: Higgs, matrices: readonly Matrix[], grid: string): Kind {
  const quantized = matrices.map(({ weights, rows, cols }) => higgs.quantize(weights, { rows, cols, grid }));
  const restored = quantized.map((matrix) => higgs.dequantize(matrix));
  const weights = sum(matrices.map(({ weights }) => weights.length));
  return {
    ...{ name: grid, family: familyOf(grid) },
    bitsPerWeight: sum(quantized.map(({ bitsPerWeight, rows, cols }) => bitsPerWeight * rows * cols)) / weights,
    t2: quantized.map(({ relativeError }) => relativeError),
    variants: [(i) => restored[i]],
  };
}

// `p2n256`: points in two dimensions. Any other name: the letter that it begins with.
function familyOf(grid: string): string {
  return /^p\d/.exec(grid)?.[0] ?? grid.slice(0, 1);
}

function squareOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

function cellsOf({ bitsPerWeight, t2 }: Kind, { together, alone }: Losses, { alphas, base }: Patient): Cells {
  const predictions = alphas.map((sequence) => sequence.map((alpha, i) => alpha * t2[i])); // (sequences, matrices)
  const cells = { bitsPerWeight, meanT2: sum(t2) / t2.length };
  const ones = together.map(() => 1);
  const predicted = sum(predictions.map(sum)) / predictions.length;
  const singles = t2.map((_, i) => {
    return sum(alone.map((sequence) => sequence[i])) / sum(alone.map((_, s) => predictions[s][i]));
  });
  const aloneRatio =
    alone.length === 0 ? undefined : sum(alone.map(sum)) / sum(alone.map((_, s) => sum(predictions[s])));
  if (base !== null) {
    const { value, error } = ratioOf(together, ones);
    const increase = base * (Math.exp(value) - 1);
    const ratioError = (Math.exp(value) * error) / predicted;
    const whole = { predicted: base * predicted, together: increase, ratio: increase / (base * predicted), ratioError };
    return { ...cells, ...whole, aloneRatio };
  }
  const { value, error } = ratioOf(together, predictions.map(sum));
  return {
    ...{ ...cells, predicted, together: value * predicted, ratio: value, ratioError: error, aloneRatio },
    ...{ median: quantileOf(singles, 0.5), low: quantileOf(singles, 0.1), high: quantileOf(singles, 0.9) },
  };
}

function dotsOf(model: string, { family, t2 }: Kind, { together, alone }: Losses, { alphas }: Patient): Dot[] {
  const predictions = alphas.map((sequence) => sequence.map((alpha, i) => alpha * t2[i]));
  const whole = { predicted: sum(predictions.map(sum)) / together.length, measured: sum(together) / together.length };
  const singles = t2.map((_, i) => ({
    predicted: sum(alone.map((_, s) => predictions[s][i])) / alone.length,
    measured: sum(alone.map((sequence) => sequence[i])) / alone.length,
  }));
  return [{ ...whole, whole: true }, ...singles.map((single) => ({ ...single, whole: false }))].map((dot) => {
    return { panel: model, colour: family, ...dot };
  });
}
