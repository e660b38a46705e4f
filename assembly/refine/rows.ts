// A row's part for the search: a sequence of a trellis, every fourth column, or the whole row of a grid of points; and what was found.
//
// Scales are RMS, of what is rounded.
//
//   row, rotated    w0 w1 w2 w3 w4 w5 w6 w7 …          scales and groups by column
//   sequence 1         w1          w5       …          first = 1, stride = 4: z, σ, 1/σ, targets, one each a step
//
// `own` are the targets against which errors are counted, w + what rows before feed back. `working` adds what other sequences feed back:
// the search (search.ts) adds its own errors to it step by step.

import { fromF16, toF16 } from '../float';
import { nextGroup } from '../lanes';

/** What the squares of a group's targets may be beside those of its weights. */
const LEAST: f64 = 0.25;
const MOST: f64 = 16;
/**
 * Replaces the f16 `scales` of a rotated row's groups, which are their RMS, by those of its targets, times `factors`, f32 a group: `z` is of
 * unit RMS, `fed` what is fed back to it, in the weights' units, `lane` floats of each of `sequences`. What f16 cannot hold stays. Writes
 * to `ratios` what z is to be multiplied by, f32 a group.
 */
export function targetScales(
  z: usize, fed: usize, sequences: usize, lane: usize, cols: usize, groupSize: usize, factors: usize, scales: usize, ratios: usize,
): void {
  for (let start: usize = 0, g: usize = 0; start < cols; start += g, factors += 4, scales += 2, ratios += 4) {
    g = nextGroup(cols - start, groupSize);
    const bits = load<u16>(scales);
    const scale = fromF16(bits);
    const inverse: f32 = scale > 0 ? 1 / scale : 0;
    let added: f64 = 0;
    for (let s: usize = 0; s < sequences; s++) {
      let at = fed + ((s * lane + start / sequences) << 2);
      for (let col = start + s; col < start + g; col += sequences, at += 4) {
        const given = <f64>(load<f32>(at) * inverse);
        added += given * (given + 2 * <f64>load<f32>(z + (col << 2)));
      }
    }
    const square = min<f64>(max<f64>(1 + added / <f64>g, LEAST), MOST);
    const chosen = toF16(scale * (load<f32>(factors) * <f32>sqrt<f64>(square)));
    const isHeld = chosen > 0 && chosen < 0x7c00;
    store<u16>(scales, isHeld ? <u16>chosen : bits);
    store<f32>(ratios, isHeld ? scale / fromF16(chosen) : 1);
  }
}

/**
 * Takes `count` columns from `first` on, `stride` apart, of a rotated row at `row`, padded with zeros to `steps`. `scales` are σ of the row's
 * groups, f32, `ratios` what z is multiplied by; `groups` the group of each column, u32. Writes z, σ and 1/σ of each step, the target `own` against which errors are counted,
 * and to `working` all that is fed back: `fed` by other rows, `across` by other sequences.
 */
export function takeSequence(
  row: usize, first: usize, stride: usize, count: usize, steps: usize, scales: usize, ratios: usize, groups: usize,
  z: usize, sigmas: usize, inverses: usize, fed: usize, across: usize, own: usize, working: usize,
): void {
  for (let k: usize = 0, col = first; k < steps; k++, col += stride) {
    const at = k << 2;
    let value: f32 = 0;
    let sigma: f32 = 0;
    if (k < count) {
      const group = <usize>load<u32>(groups + (col << 2)) << 2;
      value = load<f32>(row + (col << 2)) * load<f32>(ratios + group);
      sigma = load<f32>(scales + group);
    }
    const inverse: f32 = sigma > 0 ? 1 / sigma : 0;
    const given = load<f32>(fed + at);
    store<f32>(z + at, value);
    store<f32>(sigmas + at, sigma);
    store<f32>(inverses + at, inverse);
    store<f32>(own + at, value + given * inverse);
    store<f32>(working + at, given + load<f32>(across + at));
  }
}

/**
 * Notes the errors of `steps`: against the weights to `errors`, against the targets `own` to `others`, in the weights' units, f32. `diagonals`
 * are D, f64. Adds to two f64 at `sums`: the squared error; Σ D σ² of what was `missed`, squared, 0 where that is weighed later.
 */
export function noteSequence(
  steps: usize, z: usize, sigmas: usize, values: usize, missed: usize, own: usize, diagonals: usize,
  errors: usize, others: usize, sums: usize,
): void {
  let squared: f64 = 0;
  let loss: f64 = 0;
  for (let k: usize = 0; k < steps; k++) {
    const at = k << 2;
    const sigma = load<f32>(sigmas + at);
    const value = load<f32>(values + at);
    const error = sigma * (load<f32>(z + at) - value);
    store<f32>(errors + at, error);
    store<f32>(others + at, sigma * (load<f32>(own + at) - value));
    squared += <f64>error * <f64>error;
    const miss = <f64>sigma * <f64>load<f32>(missed + at);
    loss += load<f64>(diagonals + (k << 3)) * miss * miss;
  }
  store<f64>(sums, load<f64>(sums) + squared);
  store<f64>(sums, load<f64>(sums, 8) + loss, 8);
}

/** Σ D r² of `steps` residuals, f32 in the weights' units; `diagonals` are D, f64. */
export function weighResiduals(steps: usize, residuals: usize, diagonals: usize): f64 {
  let loss: f64 = 0;
  for (let k: usize = 0; k < steps; k++) {
    const residual = <f64>load<f32>(residuals + (k << 2));
    loss += load<f64>(diagonals + (k << 3)) * residual * residual;
  }
  return loss;
}
