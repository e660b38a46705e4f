// The cheapest path of the search so far. A step before a block of four begins it is that of the cheapest state, followed back until it
// meets the one of the block before. Its errors are fed back to the steps of the block, for all survivors,
// but for those that each survivor carries itself (survivors.ts). Errors and U are integers of 16 bits, and their sums of 32:
//
//   Σ_j e_j U_jk,   e in units of 2^-12 of the sequence's largest σ, U of 2^-13

import { childOf, firstsAt, groupsLog, highsLog, membersLog, newsAt, oldsAt, ownOf } from './edges';
import { cheapestPlace } from './steps';

/** Steps of a block. */
export const BLOCK: usize = 4;
/** Steps before a block that are always followed: most paths have met by then, and a loop that ends where it did before costs less. */
const FOLLOWED: usize = 12;
/** Units of errors in the largest σ, and of products. */
const ERROR_UNITS: f32 = 4096;
const PRODUCT_UNITS: f32 = 33554432;

/** The integer of the code of a choice into `state`. */
// @ts-ignore: decorator
@inline
export function integerOf(table: usize, state: usize, before: usize, choice: u32): u32 {
  const news = newsAt(table, choice & ((1 << highsLog(table)) - 1));
  return <u32>load<u8>(news + childOf(table, state)) + <u32>load<u8>(oldsAt(table) + before);
}

/** The state before `state`, by its choice. */
// @ts-ignore: decorator
@inline
export function stateBefore(table: usize, state: usize, choice: u32): usize {
  return <usize>load<u8>(firstsAt(table) + state) + <usize>(choice >> highsLog(table));
}

/** What an integer stands for, of unit RMS. */
// @ts-ignore: decorator
@inline
export function valueOf(table: usize, integer: u32): f32 {
  return load<f32>(table, 32) * (<f32>integer - load<f32>(table, 40));
}

/** The cheapest state. */
export function cheapestOf(steps: usize, table: usize): usize {
  const place = cheapestPlace(steps);
  const groups = groupsLog(table);
  return ((place & (((<usize>1) << groups) - 1)) << membersLog(table)) | (place >> groups);
}

/**
 * Writes the path of `steps` that ends at `state`: codes, u16 `stride` elements apart, values of unit RMS, f32, its states, u8 at `path`, and
 * integers, u8. If it goes on from a path that was written before, `isOther`, until it meets that.
 */
export function writePath(
  state: usize, steps: usize, table: usize, choices: usize, bytes: usize, isOther: bool,
  path: usize, integers: usize, codes: usize, stride: usize, values: usize,
): void {
  const high = (1 << highsLog(table)) - 1;
  for (let k = steps; k-- > 0; ) {
    if (isOther && load<u8>(path + k) == <u8>state) break;
    store<u8>(path + k, <u8>state);
    const choice = <u32>load<u8>(choices + k * bytes + state);
    const before = stateBefore(table, state, choice);
    const integer = integerOf(table, state, before, choice);
    store<u8>(integers + k, <u8>integer);
    store<u16>(codes + k * stride * 2, <u16>(<u32>(state >> groupsLog(table)) | ((choice & high) << membersLog(table))));
    store<f32>(values + (k << 2), valueOf(table, integer));
    state = before;
  }
}

/** The largest of `count` σ, which may be read in fours. */
export function largestOf(sigmas: usize, count: usize): f32 {
  let largest = f32x4.splat(0);
  for (let at = sigmas; at < sigmas + (count << 2); at += 16) largest = f32x4.pmax(largest, v128.load(at));
  largest = f32x4.pmax(largest, v128.shuffle<i32>(largest, largest, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.pmax(largest, v128.shuffle<i32>(largest, largest, 1, 0, 3, 2)), 0);
}

/**
 * Follows the path back from the cheapest state two steps before `next`: errors to `errors`, i16 a step, and to `path` the state as each
 * block began, u8. `own` are what errors are counted against, i16, `sigmas` σ of each step, `choices` rows of `bytes`.
 */
export function follow(
  steps: usize, table: usize, next: usize, own: usize, sigmas: usize, largest: f32, choices: usize, bytes: usize, path: usize,
  errors: usize,
): void {
  const middle = i32x4.splat(<i32>load<f32>(table, 36));
  const factor: f32 = largest > 0 ? load<f32>(table, 32) / 128 * (ERROR_UNITS / largest) : 0;
  let state = cheapestOf(steps, table);
  for (let begin = next; begin > 0; ) {
    const isLast = begin == next;
    begin -= BLOCK;
    let u = i32x4.splat(0);
    let sigma = v128.load(sigmas + (begin << 2));
    let row = choices + (begin + 3) * bytes;
    // The error of the step under way is not known, and is each survivor's own.
    if (isLast) sigma = f32x4.replace_lane(sigma, 3, 0);
    else {
      const choice = <u32>load<u8>(row + state);
      const before = stateBefore(table, state, choice);
      u = i32x4.replace_lane(u, 3, integerOf(table, state, before, choice));
      state = before;
    }
    row -= bytes;
    let choice = <u32>load<u8>(row + state);
    let before = stateBefore(table, state, choice);
    u = i32x4.replace_lane(u, 2, integerOf(table, state, before, choice));
    state = before;
    row -= bytes;
    choice = <u32>load<u8>(row + state);
    before = stateBefore(table, state, choice);
    u = i32x4.replace_lane(u, 1, integerOf(table, state, before, choice));
    state = before;
    row -= bytes;
    choice = <u32>load<u8>(row + state);
    before = stateBefore(table, state, choice);
    u = i32x4.replace_lane(u, 0, integerOf(table, state, before, choice));
    state = before;
    const value = i32x4.sub(i32x4.shl(u, 7), middle);
    const error = i32x4.sub(v128.load16x4_s(own + (begin << 1)), value);
    const scaled = f32x4.mul(f32x4.convert_i32x4_s(error), f32x4.mul(sigma, f32x4.splat(factor)));
    const integers = i32x4.trunc_sat_f32x4_s(f32x4.nearest(scaled));
    v128.store64_lane(errors + (begin << 1), i16x8.narrow_i32x4_s(integers, integers), 0);
    const met = path + begin / BLOCK;
    if (begin + FOLLOWED <= next && load<u8>(met) == <u8>state) break;
    store<u8>(met, <u8>state);
  }
}

/**
 * Adds what the path's errors feed back to `fed` of the four steps from `next` on. `products`: where U stands, and the first step whose
 * errors it has, u32 each. Of two steps and four steps of the block it has eight i16; of 16 steps and more, 0 of those that it is not of.
 */
export function feedPath(table: usize, next: usize, errors: usize, products: usize, largest: f32, fed: usize): void {
  const first = <usize>load<u32>(products, 4);
  let u = <usize>load<u32>(products);
  let even = i32x4.splat(0);
  let odd = even;
  for (let e = errors + (first << 1), end = errors + ((next + BLOCK - ownOf(table)) << 1); e < end; e += 32, u += 128) {
    even = i32x4.add(even, i32x4.dot_i16x8_s(v128.load32_splat(e), v128.load(u)));
    odd = i32x4.add(odd, i32x4.dot_i16x8_s(v128.load32_splat(e, 4), v128.load(u, 16)));
    even = i32x4.add(even, i32x4.dot_i16x8_s(v128.load32_splat(e, 8), v128.load(u, 32)));
    odd = i32x4.add(odd, i32x4.dot_i16x8_s(v128.load32_splat(e, 12), v128.load(u, 48)));
    even = i32x4.add(even, i32x4.dot_i16x8_s(v128.load32_splat(e, 16), v128.load(u, 64)));
    odd = i32x4.add(odd, i32x4.dot_i16x8_s(v128.load32_splat(e, 20), v128.load(u, 80)));
    even = i32x4.add(even, i32x4.dot_i16x8_s(v128.load32_splat(e, 24), v128.load(u, 96)));
    odd = i32x4.add(odd, i32x4.dot_i16x8_s(v128.load32_splat(e, 28), v128.load(u, 112)));
  }
  const sum = f32x4.convert_i32x4_s(i32x4.add(even, odd));
  const at = fed + (next << 2);
  v128.store(at, f32x4.add(v128.load(at), f32x4.mul(sum, f32x4.splat(largest / PRODUCT_UNITS))));
}
