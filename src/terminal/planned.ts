// A plan as people read it: which layer has which grid, what that is predicted to cost, and the whole trade-off.

import type { Tradeoff } from '../linearity/allocate.ts';
import type { BitPlan } from '../linearity/plan.ts';
import { stackOf } from '../quantize/select.ts';
import { bytesText, counted, countText, lossText, precise, table } from './figures.ts';
import { layerTables } from './layers.ts';
import { columns } from './print.ts';
import { gridCell } from './report.ts';

/** What else is told of a plan: tensors of layers that do not run, and whether experts are shown together. */
interface PlanDetails {
  further: number;
  stacked: boolean;
  /** Whether there is a row for every tensor. */
  all: boolean;
}

/** A plan of grids as a table for the terminal, with the trade-off around it. */
export function bitPlanText(
  plan: BitPlan,
  tradeoff: Tradeoff,
  bytesOut: number,
  { further, stacked, all }: PlanDetails,
): string {
  const { tensors, bpw, budget, predicted, gap, uniform } = plan;
  const weights = tensors.reduce((sum, { shape }) => sum + shape.reduce((count, size) => count * size, 1), 0);
  const figure = (value: number | null) => (value === null ? '?' : precise(value, 3));
  const shown = stacked ? together(tensors) : tensors;
  const rows = shown.map(({ name, grid, bpw, alpha, predicted }) => [
    ...[name, grid, bpw.toFixed(2), figure(alpha), figure(predicted)],
  ]);
  const proof = gap === 0 ? 'no plan predicts less' : `no plan predicts less by more than ${gap.toPrecision(2)}`;
  const compared = uniform
    ? `${uniform.grid} for all: ${uniform.bpw.toFixed(4)} bits per weight, predicted ${precise(uniform.predicted, 4)}${times(uniform.predicted, predicted)}`
    : 'no single grid for all is within this budget';
  const unknown = tensors.filter(({ alpha }) => alpha === null).length;
  return [
    all
      ? table(['tensor', 'grid', 'bpw', 'α', 'predicted'], rows, [0, 1])
      : layerTables(shown.map(gridCell), columns()),
    '',
    `${countText(weights)} weights at ${bpw.toFixed(4)} of ${Number(budget.toFixed(4))} bits per weight, ${lossText(plan, predicted)}: ${proof}`,
    ...(unknown > 0
      ? [`${counted(unknown, 'tensor')} of no known sensitivity ${unknown === 1 ? 'is' : 'are'} not in the prediction`]
      : []),
    ...(further > 0
      ? [
          `${counted(further, 'tensor')} of layers behind the last, which do not run, ${further === 1 ? 'counts' : 'count'} as the like ones of the last layer`,
        ]
      : []),
    compared,
    `${bytesText(bytesOut)} of safetensors files`,
    '',
    table(['bpw', 'predicted', 'one grid', 'predicted', '×'], curveRows(tradeoff), []),
  ].join('\n');
}

// An entry for the experts of each layer and kind that have one grid.
function together(tensors: BitPlan['tensors']): BitPlan['tensors'] {
  const stacks = new Map<string, BitPlan['tensors'][number]>();
  for (const tensor of tensors) {
    const name = stackOf(tensor.name);
    const key = `${name} ${tensor.shape} ${tensor.grid}`;
    const { alpha, predicted } = stacks.get(key) ?? { alpha: 0, predicted: 0 };
    const sum = (a: number | null, b: number | null) => (a === null || b === null ? null : a + b);
    stacks.set(key, {
      ...{ ...tensor, name },
      ...{ alpha: sum(alpha, tensor.alpha), predicted: sum(predicted, tensor.predicted) },
    });
  }
  return [...stacks.values()];
}

// The trade-off: of each quarter of a bit the best plan, and the best single grid.
function curveRows({ exact, uniform }: Tradeoff): string[][] {
  return exact.map(({ bpw, predicted }) => {
    const one = uniform
      .filter((point) => point.bpw <= bpw)
      .reduce((best, point) => (point.predicted < best.predicted ? point : best), {
        grid: '',
        bpw: 0,
        predicted: Infinity,
      });
    const cells =
      one.grid === '' ? ['', '', ''] : [one.grid, precise(one.predicted, 4), (one.predicted / predicted).toFixed(2)];
    return [bpw.toFixed(2), precise(predicted, 4), ...cells];
  });
}

function times(other: number, value: number): string {
  return value > 0 ? `, ${(other / value).toFixed(2)} × as much` : '';
}
