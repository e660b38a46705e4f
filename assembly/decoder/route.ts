// The router before experts: which of them a token goes to, and with what weights. Of the logits z
//   s = softmax(z), or 1 / (1 + e^-z);    c = s + correction
//   a group of experts counts as its largest c, or as the sum of its two largest; only the `taken` groups that count most remain
//   the `top` largest c are chosen;  w = s · factor, or s / (Σ s + 10^-20) · factor, the sum over the chosen in ascending order
// Back, of dw, with S = Σ s of the chosen and m = Σ dw s / S:
//   ds = dw · factor, or (dw - m) / S · factor;    dz = s (ds - Σ ds s), or ds · s (1 - s)
// Of equals the one with the lower index goes first; chosen experts stand in ascending order.

import { exp4 } from './math';
import { softmax } from './softmax';

const LEAST: f32 = 1e-20;

// Scores of one token; `scores` has room for three more.
function scoresOf(logits: usize, experts: usize, sigmoid: i32, scores: usize): void {
  if (!sigmoid) {
    memory.copy(scores, logits, experts << 2);
    softmax(scores, experts);
    return;
  }
  const one = f32x4.splat(1);
  for (let e: usize = 0; e < experts; e += 4) {
    const z = v128.load(logits + (e << 2));
    v128.store(scores + (e << 2), f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(z)))));
  }
}

// The largest of values `from` to `end` that is not marked, the first of equals: its index. One is there.
// @ts-ignore: decorator
@inline
function largest(values: usize, marks: usize, from: usize, end: usize): usize {
  let best = end;
  for (let i = from; i < end; i++) {
    if (load<u32>(marks + (i << 2)) != 0) continue;
    if (best == end || load<f32>(values + (i << 2)) > load<f32>(values + (best << 2))) best = i;
  }
  return best;
}

// Marks the experts of groups that are not taken. `marks` are zeros; `values` and `flags` hold a word a group.
function limitGroups(
  choice: usize, marks: usize, experts: usize, groups: usize, taken: usize, two: i32, values: usize, flags: usize,
): void {
  const size = experts / groups;
  for (let g: usize = 0; g < groups; g++) {
    const first = largest(choice, marks, g * size, (g + 1) * size);
    let value = load<f32>(choice + (first << 2));
    if (two && size > 1) {
      store<u32>(marks + (first << 2), 1);
      value += load<f32>(choice + (largest(choice, marks, g * size, (g + 1) * size) << 2));
      store<u32>(marks + (first << 2), 0);
    }
    store<f32>(values + (g << 2), value);
    store<u32>(flags + (g << 2), 0);
  }
  for (let k: usize = 0; k < taken; k++) store<u32>(flags + (largest(values, flags, 0, groups) << 2), 1);
  for (let e: usize = 0; e < experts; e++) {
    if (load<u32>(flags + ((e / size) << 2)) == 0) store<u32>(marks + (e << 2), 1);
  }
}

/**
 * Routes `count` tokens by their `logits`, (count, experts), of which up to three behind the last are read: `chosen`, (count, top) i32,
 * and `weights`, (count, top). `correction` is (experts), 0 for none; the flags are 0 or 1; `groups` divides `experts`, and `taken`
 * groups hold at least `top`. `scratch` holds 5 · (experts + 4) words.
 */
export function route(
  logits: usize, count: usize, experts: usize, correction: usize, sigmoid: i32, groups: usize, taken: usize, two: i32,
  top: usize, normalize: i32, factor: f32, chosen: usize, weights: usize, scratch: usize,
): void {
  const room = (experts + 4) << 2;
  const scores = scratch;
  const choice = scores + room;
  const marks = choice + room;
  for (; count > 0; count--) {
    scoresOf(logits, experts, sigmoid, scores);
    for (let e: usize = 0; e < experts; e++) {
      const bias: f32 = correction ? load<f32>(correction + (e << 2)) : 0;
      store<f32>(choice + (e << 2), load<f32>(scores + (e << 2)) + bias);
      store<u32>(marks + (e << 2), 0);
    }
    if (taken < groups) limitGroups(choice, marks, experts, groups, taken, two, marks + room, marks + 2 * room);
    for (let k: usize = 0; k < top; k++) store<u32>(marks + (largest(choice, marks, 0, experts) << 2), 2);
    let total: f32 = 0;
    let k: usize = 0;
    for (let e: usize = 0; e < experts; e++) {
      if (load<u32>(marks + (e << 2)) != 2) continue;
      const score = load<f32>(scores + (e << 2));
      store<i32>(chosen + (k << 2), <i32>e);
      store<f32>(weights + (k << 2), score);
      total += score;
      k++;
    }
    for (k = 0; k < top; k++) {
      const score = load<f32>(weights + (k << 2));
      store<f32>(weights + (k << 2), (normalize ? score / (total + LEAST) : score) * factor);
    }
    logits += experts << 2;
    chosen += top << 2;
    weights += top << 2;
  }
}

/**
 * Gradients of logits, to `dLogits`, (count, experts), of those of weights, `dWeights` (count, top). The rest is as `route` had it and
 * left it. `scratch` holds experts + 4 words.
 */
export function routeBack(
  logits: usize, count: usize, experts: usize, sigmoid: i32, top: usize, normalize: i32, factor: f32, chosen: usize,
  dWeights: usize, dLogits: usize, scratch: usize,
): void {
  for (; count > 0; count--) {
    scoresOf(logits, experts, sigmoid, scratch);
    let total: f32 = 0;
    let along: f32 = 0;
    for (let k: usize = 0; k < top; k++) {
      const score = load<f32>(scratch + ((<usize>load<i32>(chosen + (k << 2))) << 2));
      total += score;
      along += load<f32>(dWeights + (k << 2)) * score;
    }
    total += LEAST;
    const mean: f32 = along / total;
    memory.fill(dLogits, 0, experts << 2);
    let inner: f32 = 0;
    for (let k: usize = 0; k < top; k++) {
      const at = (<usize>load<i32>(chosen + (k << 2))) << 2;
      const score = load<f32>(scratch + at);
      const dw = load<f32>(dWeights + (k << 2));
      const ds: f32 = (normalize ? (dw - mean) / total : dw) * factor;
      inner += ds * score;
      store<f32>(dLogits + at, sigmoid ? ds * (score * (<f32>1 - score)) : ds);
    }
    for (let e: usize = 0; !sigmoid && e < experts; e++) {
      const at = dLogits + (e << 2);
      store<f32>(at, load<f32>(scratch + (e << 2)) * (load<f32>(at) - inner));
    }
    logits += experts << 2;
    chosen += top << 2;
    dWeights += top << 2;
    dLogits += experts << 2;
  }
}
