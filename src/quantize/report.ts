// What a run did to each tensor, in figures.

import type { QuantizedTensor } from './format.ts';
import type { Plan } from './plan.ts';
import { bitsPerWeight, ERROR_LIMIT, relativeError, type SquareSums } from './scheme.ts';

/** One quantized weight. */
export interface TensorReport {
  /** As the original has it. */
  name: string;
  /** (rows, cols), experts before them. */
  shape: readonly number[];
  /** Dtype of the original. */
  dtype: string;
  /** The name of the grid, such as `t4`. */
  grid: string;
  /** Columns that share a scale. */
  groupSize: number;
  /** Seed of the random signs; null for none. */
  seed: number | null;
  /** Bits per weight as stored, scales counted. */
  bpw: number;
  /** t² = ‖W − Ŵ‖² / ‖W‖². */
  relativeError: number;
  /** The grid's MSE on N(0, 1), which t² should equal. */
  gridMse: number;
  /**
   * Of a refined weight: its error weighted by the statistics, relative to its weights weighted alike, which stands for t² in the linearity
   * theorem; and by what feedback lowers that, whatever the grid. The former should be a little above gain · MSE.
   */
  weightedError?: number;
  /** Of a refined weight: the factor by which feedback lowers its weighted error. */
  gain?: number;
  /** Set when t² exceeds 1.15 × the grid's MSE; of a refined weight, when its weighted error exceeds the MSE. */
  warning?: string;
}

/** What quantizing did, from the sums that kernels took on the way: nothing is read again for it. */
export interface Report {
  /** Bits per weight over all quantized weights. */
  bpw: number;
  /** Bytes of the tensors read, and of the safetensors files written. */
  bytesIn: number;
  /** Bytes of the safetensors files written. */
  bytesOut: number;
  /** Weights quantized. */
  weights: number;
  /** Over all quantized weights: Σ ‖W − Ŵ‖² / Σ ‖W‖². */
  relativeError: number;
  /** Quantized weights, in the order of the checkpoint. */
  tensors: TensorReport[];
  /** What passed through unchanged, and why. */
  passed: { name: string; shape: readonly number[]; dtype: string; reason: string }[];
  /** A sentence for each weight whose t² is above 1.15 × its grid's MSE. */
  warnings: string[];
}

/** The row of a weight with these sums. */
export function tensorReport(tensor: QuantizedTensor, sums: SquareSums): TensorReport {
  const { name, shape, dtype, rows, cols, scheme } = tensor;
  const { grid, groupSize, seed } = scheme;
  const t2 = relativeError(sums);
  const report = {
    name,
    shape,
    dtype,
    grid: grid.name,
    groupSize,
    seed,
    bpw: bitsPerWeight(rows, cols, scheme),
    relativeError: t2,
    gridMse: grid.mse,
  };
  if (sums.weighted) {
    const { error, gain } = sums.weighted;
    const refined = { ...report, weightedError: error, gain };
    if (error <= ERROR_LIMIT * grid.mse) return refined;
    const ratio = (error / grid.mse).toFixed(2);
    return { ...refined, warning: `${name}: refined, and its weighted error is ${ratio} × the MSE of ${grid.name}` };
  }
  if (t2 <= ERROR_LIMIT * grid.mse) return report;
  const ratio = (t2 / grid.mse).toFixed(2);
  return { ...report, warning: `${name}: t² is ${t2.toPrecision(3)}, ${ratio} × the MSE of ${grid.name}` };
}

/** Bits per weight over all weights that a plan quantizes. */
export function plannedBits({ items, weights }: Plan): number {
  let bits = 0;
  for (const item of items) {
    if (item.kind !== 'quantize') continue;
    const { rows, cols, scheme } = item.quantized;
    bits += bitsPerWeight(rows, cols, scheme) * rows * cols;
  }
  return weights === 0 ? 0 : bits / weights;
}

/** The report of a plan that was carried out; `sums` has those of every quantized weight. */
export function reportOf(plan: Plan, sums: ReadonlyMap<string, SquareSums>): Report {
  const tensors: TensorReport[] = [];
  const passed: Report['passed'] = [];
  let [squaredError, squaredNorm] = [0, 0];
  for (const item of plan.items) {
    if (item.kind === 'copy') {
      const { name, shape, dtype } = item.tensor;
      passed.push({ name, shape, dtype, reason: item.reason });
    } else if (item.kind === 'quantize') {
      const some = sums.get(item.quantized.name)!;
      tensors.push(tensorReport(item.quantized, some));
      squaredError += some.squaredError;
      squaredNorm += some.squaredNorm;
    }
  }
  return {
    bpw: plannedBits(plan),
    bytesIn: plan.bytesIn,
    bytesOut: plan.bytesOut,
    weights: plan.weights,
    relativeError: relativeError({ squaredError, squaredNorm }),
    tensors,
    passed,
    warnings: tensors.flatMap(({ warning }) => warning ?? []),
  };
}
