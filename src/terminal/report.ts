// What verbs print of tensors: errors, plans of a run, sensitivities, predictions.

import type { Alphas } from '../linearity/alphas.ts';
import type { Prediction } from '../linearity/predict.ts';
import type { Plan } from '../quantize/plan.ts';
import type { Report, TensorReport } from '../quantize/report.ts';
import { bitsPerWeight } from '../quantize/scheme.ts';
import {
  bytesText,
  counted,
  countText,
  durationText,
  family,
  groupedBy,
  largest,
  lossText,
  percentText,
  precise,
  table,
} from './figures.ts';
import { layerTables } from './layers.ts';
import { columns } from './print.ts';

/** A report with the time that the run took. */
export type TimedReport = Report & { predicted?: Prediction; seconds: number };

/** @param all shows a row for every tensor */
export function reportText(report: TimedReport, out: string, all = false): string {
  const { bytesIn, bytesOut, weights, seconds, bpw } = report;
  if (report.tensors.length === 0)
    return `nothing to quantize: ${counted(report.passed.length, 'tensor')} passed through: ${out}`;
  const passed = report.passed.length === 0 ? '' : `, ${counted(report.passed.length, 'tensor')} passed through`;
  return [
    errorsText(report.tensors, all),
    '',
    `${countText(weights)} weights at ${bpw.toFixed(2)} bits per weight, t² ${precise(report.relativeError, 4)}${passed}`,
    ...(report.predicted ? [predictedText(report.predicted)] : []),
    `${bytesText(bytesIn)} → ${bytesText(bytesOut)} (${percentText(bytesOut / bytesIn)}) in ${seconds.toFixed(1)} s (${countText(weights / seconds)} weights/s): ${out}`,
    ...embeddingsText(report.passed, bytesOut),
  ].join('\n');
}

/**
 * The errors of weights: where kinds of tensors have several grids, which layer has which, and a row for each grid; else a row for
 * each kind.
 * @param all shows a row for every tensor
 */
export function errorsText(tensors: readonly TensorReport[], all: boolean): string {
  const row = (rows: readonly TensorReport[], name: string) => {
    const { grid, gridMse } = rows[0];
    const errors = rows.map(({ relativeError }) => relativeError);
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const figures = [mean(rows.map(({ bpw }) => bpw)).toFixed(2), precise(mean(errors), 4)];
    const weightedRatios = rows.flatMap(({ weightedError, gain }) => (gain ? [weightedError! / (gain * gridMse)] : []));
    const gains = rows.flatMap(({ gain }) => gain ?? []);
    const refined = weightedRatios.length > 0 ? [mean(gains).toFixed(3), largest(weightedRatios).toFixed(3)] : ['', ''];
    const worst = (largest(errors) / gridMse).toFixed(3);
    return [name, ...(all ? [] : [String(rows.length)]), grid, ...figures, worst, ...(isRefined ? refined : [])];
  };
  const isRefined = tensors.some(({ gain }) => gain !== undefined);
  // By what feedback lowers the loss, and how much above that it is.
  const more = isRefined ? ['gain', 'weighted ÷ expected'] : [];
  if (all) {
    const rows = tensors.map((tensor) => row([tensor], tensor.name));
    return table(['weight', 'grid', 'bpw', 't²', '× MSE', ...more], rows, [0, 1]);
  }
  const head = ['tensors', 'grid', 'bpw', 't² (mean)', 'worst × MSE', ...more];
  const kinds = groupedBy(tensors, ({ name }) => family(name));
  if (kinds.every((group) => group.every(({ grid }) => grid === group[0].grid))) {
    const rows = kinds.map((group) => row(group, family(group[0].name)));
    return table(['weights', ...head], rows, [0, 2]);
  }
  const grids = groupedBy(tensors, ({ grid }) => grid).sort((a, b) => a[0].bpw - b[0].bpw);
  const rows = grids.map((group) => row(group, '').slice(1));
  return [layerTables(tensors.map(gridCell), columns()), '', table(head, rows, [1])].join('\n');
}

/** A tensor as a cell of `layerTables`. */
export const gridCell = ({ name, grid }: { name: string; grid: string }) => ({ name, value: grid });

/** Share of a file from which on embeddings are worth a word. */
const WORTH_TELLING = 0.1;
/** Bits of a weight in a dtype that may be quantized; of a factor of blocks there is next to nothing. */
const BITS: Readonly<Record<string, number>> = { F32: 32, F16: 16, BF16: 16, F8_E4M3: 8 };

// What embeddings and head take that pass through, and what makes them smaller.
function embeddingsText(passed: Report['passed'], bytesOut: number): string[] {
  const embeddings = passed.filter(({ reason }) => reason === 'embedding');
  const weights = embeddings.map(({ shape }) => shape.reduce((count, size) => count * size, 1));
  const bytes = embeddings.reduce((sum, { dtype }, i) => sum + (weights[i] * (BITS[dtype] ?? 16)) / 8, 0);
  if (bytes < WORTH_TELLING * bytesOut) return [];
  const smaller = weights.reduce((sum, count) => sum + (count * 4.02) / 8, 0);
  const dtypes = [...new Set(embeddings.map(({ dtype }) => dtype.toLowerCase()))].join(' and ');
  return [
    `embeddings and head stay ${dtypes}: ${bytesText(bytes)}, ${percentText(bytes / bytesOut)} of the files; --embeddings t4 makes that ${bytesText(smaller)}`,
  ];
}

function predictedText(prediction: Prediction): string {
  const { delta, base, total, unknown } = prediction;
  const sum = total === null ? '' : `: ${precise(base!, 6)} → ${precise(total, 6)}`;
  const left =
    unknown.length === 0
      ? ''
      : `; ${counted(unknown.length, 'tensor')} of no known sensitivity ${unknown.length === 1 ? 'is' : 'are'} not in it`;
  return `${lossText(prediction, delta)}${sum}${left}`;
}

/** A plan as `--json` prints it. */
export function planJson(plan: Plan) {
  return {
    bytesIn: plan.bytesIn,
    bytesOut: plan.bytesOut,
    weights: plan.weights,
    files: plan.shards.map(({ fileName, byteLength }) => ({ name: fileName, bytes: byteLength })),
    tensors: plan.items.flatMap((item) => (item.kind === 'quantize' ? [schemeRow(item)] : [])),
    passed: plan.items.flatMap((item) =>
      item.kind === 'copy'
        ? [{ name: item.tensor.name, shape: item.tensor.shape, dtype: item.tensor.dtype, reason: item.reason }]
        : [],
    ),
  };
}

function schemeRow({ quantized }: Extract<Plan['items'][number], { kind: 'quantize' }>) {
  const { name, shape, dtype, rows, cols, scheme } = quantized;
  return {
    name,
    shape,
    dtype,
    grid: scheme.grid.name,
    groupSize: scheme.groupSize,
    bpw: bitsPerWeight(rows, cols, scheme),
  };
}

/** What running would take, in bytes of memory; of a model with experts also the least, with `--memory`. A reason says why it does not run so. */
export interface RunNeed {
  /** Bytes of memory for weights, cache and activations. */
  readonly bytes?: number;
  /** Linear memories that it is cut into, each of at most 4 GB. */
  readonly memories?: number;
  /** Tokens that the cache has room for. */
  readonly context?: number;
  /** The same where experts take turns in as few slots as can be. */
  readonly leastBytes?: number;
  /** Why it does not run; the other members are left out. */
  readonly reason?: string;
}

/** What running would take, as lines: none where nothing is known. */
export function needText(need: RunNeed | undefined): string[] {
  if (!need) return [];
  const { bytes, memories = 1, context, leastBytes, reason } = need;
  if (bytes === undefined) return [`It does not run here: ${reason}`];
  const least = leastBytes === undefined ? '' : `from about ${bytesText(leastBytes)}`;
  if (reason !== undefined) return [`It runs here only with --memory, ${least}: ${reason}`];
  const parts = memories > 1 ? ` in ${memories} parts` : '';
  const less = least && `; with --memory, ${least}`;
  return [`To run, it takes ${bytesText(bytes)} of memory${parts}, at a context of ${context} tokens${less}.`];
}

/**
 * @param cost seconds that workers take to encode, by the speed of a sample
 * @param all shows a row for every tensor
 */
export function planText(plan: Plan, cost: { seconds: number; workers: number }, all = false): string {
  const data = planJson(plan);
  const kinds = <T extends { name: string; shape: readonly number[] }>(
    tensors: readonly T[],
    of: (tensor: T) => string,
  ) =>
    all
      ? tensors.map((tensor) => [tensor])
      : groupedBy(tensors, (tensor) => `${family(tensor.name)}\n${of(tensor)}\n${tensor.shape}`);
  const row = (
    tensors: readonly { name: string; shape: readonly number[]; dtype: string }[],
    ...more: readonly string[]
  ) => {
    const { name, shape, dtype } = tensors[0];
    return [all ? name : family(name), ...(all ? [] : [String(tensors.length)]), shape.join(' × '), dtype, ...more];
  };
  const byKind = groupedBy(data.tensors, ({ name }) => family(name));
  const isMixed = !all && byKind.some((group) => group.some(({ grid }) => grid !== group[0].grid));
  const quantized = isMixed
    ? []
    : kinds(data.tensors, ({ grid }) => grid).map((group) => row(group, group[0].grid, group[0].bpw.toFixed(2)));
  const passed = kinds(data.passed, ({ reason }) => reason).map((group) => row(group, `(${group[0].reason})`, ''));
  const head = ['tensors', ...(all ? [] : ['count']), 'shape', 'dtype', 'grid', 'bpw'];
  const { bytesIn, bytesOut, weights, shards } = plan;
  const { seconds, workers } = cost;
  const time = weights > 0 ? `, about ${durationText(seconds)} on ${counted(workers, 'worker')}` : '';
  const sizes = `${bytesText(bytesIn)} → ${bytesText(bytesOut)} (${percentText(bytesOut / bytesIn)}) in ${counted(shards.length, 'file')}`;
  return [
    ...(isMixed ? [layerTables(data.tensors.map(gridCell), columns()), ''] : []),
    table(head, [...quantized, ...passed], all ? [0, 2, 3] : [0, 3, 4]),
    '',
    ...embeddingsText(data.passed, bytesOut),
    `${countText(weights)} weights to quantize: ${sizes}${time}. Nothing was written.`,
  ].join('\n');
}

/** @param all shows a row for every tensor */
export function predictionText(prediction: Prediction, all: boolean): string {
  const { tensors, delta, base, total, unknown } = prediction;
  const rows = (all ? tensors.map((tensor) => [tensor]) : groupedBy(tensors, ({ name }) => family(name))).map(
    (group) => {
      const sum = (key: 'relativeError' | 'alpha' | 'delta') => group.reduce((total, tensor) => total + tensor[key], 0);
      const { name } = group[0];
      const figures = [sum('relativeError') / group.length, sum('alpha'), sum('delta')].map((value) =>
        precise(value, 3),
      );
      return [all ? name : family(name), ...(all ? [] : [String(group.length)]), ...figures];
    },
  );
  const head = all ? ['tensor', 't²', 'α', 'predicted'] : ['tensors', 'count', 't² (mean)', 'Σ α', 'predicted'];
  return [
    table(head, rows),
    '',
    `${lossText(prediction, delta)}${total === null ? '' : `: ${precise(base!, 6)} → ${precise(total, 6)}`}`,
    ...(unknown.length > 0
      ? [
          `${counted(unknown.length, 'tensor')} of no known sensitivity ${unknown.length === 1 ? 'is' : 'are'} not in the prediction`,
        ]
      : []),
  ].join('\n');
}

/** @param most rows of the table */
export function alphasText(
  { loss, base, tensors, settings }: Alphas,
  output: string,
  seconds: number,
  most: number,
): string {
  const sorted = [...tensors].sort(([, a], [, b]) => b.alpha - a.alpha);
  const sum = sorted.reduce((total, [, { alpha }]) => total + alpha, 0);
  const number = (value: number | null) => (value === null ? '' : precise(value, 3));
  const rows = sorted
    .slice(0, most)
    .map(([name, { alpha, error, r2 }]) => [
      ...[name, number(alpha), number(error), `${((100 * alpha) / sum).toFixed(1)} %`],
      r2 === null ? '' : r2.toFixed(4),
    ]);
  const unit = loss === 'kl' ? 'KL divergence in nats' : `perplexity, which is ${base}`;
  const rest = sorted.length > most ? `and ${sorted.length - most} more (--all), ` : '';
  const { unreached = 0 } = settings;
  const means = unreached
    ? `\n${unreached} weights are of experts that no token reached: they have their layer’s mean`
    : '';
  return `${table(['tensor', 'α', '±', 'share', 'R²'], rows)}\n${rest}Σα ${precise(sum, 4)}, loss is ${unit}; ${output} written in ${seconds.toFixed(1)} s${means}`;
}
