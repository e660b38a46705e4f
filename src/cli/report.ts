// What quantize prints: the report of a run, or what a run would do.

import type { Prediction } from '../linearity/predict.ts';
import type { QuantizeReport } from '../open.ts';
import type { Plan } from '../quantize/plan.ts';
import { bitsPerWeight } from '../quantize/scheme.ts';
import { bytesText, counted, countText, durationText, family, largest, lossText, table } from '../terminal/figures.ts';

/** A report with the time that the run took. */
export type TimedReport = QuantizeReport & { seconds: number };

export function reportText(report: TimedReport, out: string): string {
  const { bytesIn, bytesOut, weights, seconds, bpw } = report;
  const rows = group(report.tensors, ({ name, grid }) => `${family(name)}\n${grid}`).map((tensors) => {
    const errors = tensors.map(({ relativeError }) => relativeError);
    const { name, grid, gridMse, bpw: bits } = tensors[0];
    const mean = errors.reduce((sum, t2) => sum + t2, 0) / errors.length;
    return [
      family(name),
      String(tensors.length),
      grid,
      bits.toFixed(2),
      mean.toPrecision(4),
      (largest(errors) / gridMse).toFixed(3),
    ];
  });
  if (rows.length === 0)
    return `nothing to quantize: ${counted(report.passed.length, 'tensor')} passed through: ${out}`;
  const passed = report.passed.length === 0 ? '' : `, ${counted(report.passed.length, 'tensor')} passed through`;
  return [
    table(['weights', 'tensors', 'grid', 'bpw', 't² (mean)', 'worst × MSE'], rows, [0, 2]),
    '',
    `${countText(weights)} weights at ${bpw.toFixed(2)} bits per weight, t² ${report.relativeError.toPrecision(4)}${passed}`,
    ...(report.predicted ? [predictedText(report.predicted)] : []),
    `${bytesText(bytesIn)} → ${bytesText(bytesOut)} in ${seconds.toFixed(1)} s (${countText(weights / seconds)} weights/s): ${out}`,
  ].join('\n');
}

function predictedText(prediction: Prediction): string {
  const { delta, base, total, unknown } = prediction;
  const sum = total === null ? '' : `: ${base} → ${total.toPrecision(6)}`;
  const left =
    unknown.length === 0
      ? ''
      : `; ${counted(unknown.length, 'tensor')} of no known sensitivity ${unknown.length === 1 ? 'is' : 'are'} not in it`;
  return `${lossText(prediction, delta)}${sum}${left}`;
}

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
  readonly bytes?: number;
  readonly memories?: number;
  readonly context?: number;
  readonly leastBytes?: number;
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

/** @param cost seconds that workers take to encode, by the speed of a sample */
export function planText(plan: Plan, { seconds, workers }: { seconds: number; workers: number }): string {
  const data = planJson(plan);
  const rows = [
    ...group(data.tensors, ({ name, grid, shape }) => `${family(name)}\n${grid}\n${shape}`).map((tensors) => {
      const { name, shape, dtype, grid, bpw } = tensors[0];
      return [family(name), String(tensors.length), shape.join(' × '), dtype, grid, bpw.toFixed(2)];
    }),
    ...group(data.passed, ({ name, reason, shape }) => `${family(name)}\n${reason}\n${shape}`).map((tensors) => {
      const { name, shape, dtype, reason } = tensors[0];
      return [family(name), String(tensors.length), shape.join(' × '), dtype, `(${reason})`, ''];
    }),
  ];
  const time = plan.weights > 0 ? `, about ${durationText(seconds)} on ${counted(workers, 'worker')}` : '';
  return [
    table(['tensors', 'count', 'shape', 'dtype', 'grid', 'bpw'], rows, [0, 3, 4]),
    '',
    `${countText(plan.weights)} weights to quantize: ${bytesText(plan.bytesIn)} → ${bytesText(plan.bytesOut)} in ${counted(plan.shards.length, 'file')}${time}. Nothing was written.`,
  ].join('\n');
}

function group<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const own = groups.get(key(item));
    if (own) own.push(item);
    else groups.set(key(item), [item]);
  }
  return [...groups.values()];
}
