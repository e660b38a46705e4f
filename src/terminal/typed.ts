// A plan for llama-quantize as people read it: which layer has which type, and the mixtures that it is better than.

import type { GgufPlan } from '../interop/gguf/plan.ts';
import { bytesText, countText, lossText, percentText, precise, table } from './figures.ts';
import { layerTables } from './layers.ts';
import { columns } from './print.ts';

/** What is printed besides: a row for every tensor, and the file that the plan is in. */
interface TypedDetails {
  readonly all: boolean;
  readonly file: string | undefined;
  /** The file of the importance matrix; undefined if there is none, or none yet. */
  readonly imatrix: string | undefined;
}

/** A plan of GGUF types as a table for the terminal. */
export function ggufPlanText(plan: GgufPlan, { all, file, imatrix: matrix }: TypedDetails): string {
  const { tensors, mixtures, bpw, bytes, predicted, gap, isWeighted } = plan;
  const weights = tensors.reduce((sum, { shape }) => sum + shape.reduce((count, size) => count * size, 1), 0);
  const figure = (value: number | null) => (value === null ? '?' : precise(value, 3));
  const rows = tensors.map(({ name, type, bpw, alpha, predicted }) => [
    ...[name, type, bpw.toFixed(2), figure(alpha), figure(predicted)],
  ]);
  const compared = mixtures.map(({ name, bpw, bytes, predicted, plan }) => [
    ...[name, bpw.toFixed(3), bytesText(bytes), precise(predicted, 3)],
    ...(plan === null ? ['', ''] : [precise(plan, 3), predicted > 0 ? percentText(plan / predicted - 1) : '']),
  ]);
  const proof = gap === 0 ? 'no plan predicts less' : `no plan predicts less by more than ${gap.toPrecision(2)}`;
  const isMatrixDue = isWeighted && matrix === undefined;
  const imatrix = isWeighted ? ` --imatrix ${matrix}` : '';
  const next =
    file === undefined
      ? `-o FILE writes the types for llama-quantize${isMatrixDue ? ', and an importance matrix beside them' : ''}`
      : `llama-quantize --tensor-type-file ${file}${imatrix} MODEL.gguf OUT.gguf Q4_K_M`;
  return [
    all
      ? table(['tensor', 'type', 'bpw', 'α', 'predicted'], rows, [0, 1])
      : layerTables(
          tensors.map(({ name, type }) => ({ name, value: type })),
          columns(),
          'type',
        ),
    '',
    `${countText(weights)} weights at ${bpw.toFixed(4)} bits per weight, ${lossText(plan, predicted)}: ${proof}`,
    `${bytesText(bytes)} as a file`,
    '',
    table(['mixture', 'bpw', 'file', 'predicted', 'a plan', ''], compared, [0]),
    '',
    next,
  ].join('\n');
}
