// A row's part for the search: a sequence of a trellis, every fourth column, or the whole row of a grid of points; and what was found.
//
//   row, rotated    w0 w1 w2 w3 w4 w5 w6 w7 …          scales and groups by column
//   sequence 1         w1          w5       …          first = 1, stride = 4: z, σ, 1/σ, targets, one each a step
//
// `own` are the targets against which errors are counted, w + what rows before feed back. `working` adds what other sequences feed back:
// the search (search.ts) adds its own errors to it step by step.

/**
 * Takes `count` columns from `first` on, `stride` apart, of a rotated row at `row`, padded with zeros to `steps`. `scales` are σ of the row's
 * groups, f32; `groups` the group of each column, u32. Writes z, σ and 1/σ of each step, the target `own` against which errors are counted,
 * and to `working` all that is fed back: `fed` by other rows, `across` by other sequences.
 */
export function takeSequence(
  row: usize, first: usize, stride: usize, count: usize, steps: usize, scales: usize, groups: usize,
  z: usize, sigmas: usize, inverses: usize, fed: usize, across: usize, own: usize, working: usize,
): void {
  for (let k: usize = 0, col = first; k < steps; k++, col += stride) {
    const at = k << 2;
    let value: f32 = 0;
    let sigma: f32 = 0;
    if (k < count) {
      value = load<f32>(row + (col << 2));
      sigma = load<f32>(scales + (<usize>load<u32>(groups + (col << 2)) << 2));
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
 * are D, and `plain` the diagonal of R H Rᵀ, f64. Adds to four f64 at `sums`: the squared error; Σ D σ² of what was `missed`, squared, 0 where that is
 * weighed later; Σ D σ²; Σ H σ².
 */
export function noteSequence(
  steps: usize, z: usize, sigmas: usize, values: usize, missed: usize, own: usize, diagonals: usize, plain: usize,
  errors: usize, others: usize, sums: usize,
): void {
  let squared: f64 = 0;
  let loss: f64 = 0;
  let expected: f64 = 0;
  let alone: f64 = 0;
  for (let k: usize = 0; k < steps; k++) {
    const at = k << 2;
    const sigma = load<f32>(sigmas + at);
    const value = load<f32>(values + at);
    const error = sigma * (load<f32>(z + at) - value);
    store<f32>(errors + at, error);
    store<f32>(others + at, sigma * (load<f32>(own + at) - value));
    squared += <f64>error * <f64>error;
    const square = <f64>sigma * <f64>sigma;
    const d = load<f64>(diagonals + (k << 3)) * square;
    const miss = <f64>load<f32>(missed + at);
    loss += d * miss * miss;
    expected += d;
    alone += load<f64>(plain + (k << 3)) * square;
  }
  store<f64>(sums, load<f64>(sums) + squared);
  store<f64>(sums, load<f64>(sums, 8) + loss, 8);
  store<f64>(sums, load<f64>(sums, 16) + expected, 16);
  store<f64>(sums, load<f64>(sums, 24) + alone, 24);
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
