// A step of the search: the cheapest edge into each state. A survivor's target y is held near the middle and rounded to 1/128 of a step; less
// 128 Q of its state it is x. An edge of code c then costs
//   D (P_c − x / 128)² = D P_c² − h P_c + p,   h = ⌊(D x + 32) / 64⌋,   p = ⌊x h / 256⌋
// All are integers, times 64; in the bits below is the choice, so of equal costs the lowest choice wins. An edge is a product and a sum.

import { CHOICE_BITS, codesAt, groupsLog, highsLog, membersLog, offsetsAt, qsAt, statesOf, turnsAt, vectorAt } from './edges';

/** What a state costs more where no path may start, and the most that one does. */
export const EXCLUDED: i32 = 1 << 29;

// Workspace, places of 256 states each: costs by place; p and h by place; the new costs, with choices, by state.
const COSTS: usize = 0;
const P: usize = 1024;
const H: usize = 2048;
const BEST: usize = 3072;
const STEP: usize = 4096; // what setStep says, three vectors

/** Bytes of workspace. */
export const STEP_BYTES: usize = 4144;

// @ts-ignore: decorator
@inline
export function costsAt(work: usize): usize {
  return work + COSTS;
}
// @ts-ignore: decorator
@inline
export function bestAt(work: usize): usize {
  return work + BEST;
}

// What is alike for all edges of a step is loaded ahead of loops, as vectors: engines would make splats anew in each turn.

/**
 * Says what a step is: D; and what makes targets of what survivors feed back, in units of 1/128 step from the middle: `factor`, `offset`.
 */
// @ts-ignore: decorator
@inline
export function setStep(work: usize, d: i32, factor: f32, offset: f32): void {
  v128.store(work + STEP, i32x4.splat(d));
  v128.store(work + STEP, f32x4.splat(factor), 16);
  v128.store(work + STEP, f32x4.splat(offset), 32);
}

// The same float of four records.
// @ts-ignore: decorator
@inline
function strided(at: usize, stride: usize): v128 {
  let own = v128.load32_zero(at);
  own = f32x4.replace_lane(own, 1, load<f32>(at + stride));
  own = f32x4.replace_lane(own, 2, load<f32>(at + (stride << 1)));
  return f32x4.replace_lane(own, 3, load<f32>(at + 3 * stride));
}

// @ts-ignore: decorator
@inline
function prepareAll(work: usize, table: usize, records: usize, targets: usize, isAlike: bool): void {
  const isOne = groupsLog(table) == 0;
  const stride: usize = isOne ? 16 : (<usize>16) << membersLog(table);
  const inside = isOne ? statesOf(table) << 2 : (<usize>4) << groupsLog(table);
  const end = statesOf(table) << 2;
  const d = v128.load(work + STEP);
  const factor = v128.load(work + STEP, 16);
  const offset = v128.load(work + STEP, 32);
  const low = vectorAt(table, 0);
  const high = vectorAt(table, 1);
  const magic = vectorAt(table, 2);
  const half = vectorAt(table, 3);
  const mask = vectorAt(table, 4);
  const split = vectorAt(table, 5);
  for (let x: usize = 0; x < end; records += 16) {
    let at = records;
    for (const stop = x + inside; x < stop; x += 16, at += stride << 2) {
      let target = offset;
      if (!isAlike) {
        target = f32x4.add(f32x4.mul(strided(at, stride), factor), offset);
        v128.store(targets + x, target);
      }
      const held = f32x4.pmax(f32x4.pmin(target, high), low);
      const far = i32x4.sub(f32x4.add(held, magic), v128.load(qsAt(table) + x));
      const h = i32x4.add(i32x4.mul(far, d), half);
      const p = v128.and(i32x4.shr_u(i32x4.mul(far, i32x4.shr_s(h, CHOICE_BITS)), 8 - CHOICE_BITS), mask);
      const before = i32x4.add(v128.load(work + COSTS + x), v128.load(offsetsAt(table) + x));
      v128.store(work + P + x, i32x4.add(p, before));
      v128.store(work + H + x, i8x16.swizzle(v128.and(h, mask), split));
    }
  }
}

/**
 * Prepares the edges of a step of all places, after setStep. `records` of states, (states, 4) f32, have at their begin what each feeds back
 * to it. Targets go to `targets`, f32 by place.
 */
export function prepare(work: usize, table: usize, records: usize, targets: usize): void {
  prepareAll(work, table, records, targets, false);
}

/** As prepare, where nothing is fed back. */
export function prepareAlike(work: usize, table: usize): void {
  prepareAll(work, table, 0, 0, true);
}

// @ts-ignore: decorator
@inline
function edge(p: v128, h: v128, code: v128): v128 {
  return i32x4.add(p, i32x4.dot_i16x8_s(h, code));
}

// Keeps the cheapest edges of a vector of codes, `v`, unless cheaper ones of other high bits are there.
// @ts-ignore: decorator
@inline
function keep(at: usize, v: v128, code: usize, scale: v128, high: usize): void {
  v = i32x4.add(i32x4.add(v, i32x4.mul(v128.load(code, 16), scale)), i32x4.splat(<i32>high));
  v128.store(at, high > 0 ? i32x4.min_s(v, v128.load(at)) : v);
}

// The cheapest edge into each state where all states go to all: lanes are codes, four vectors at a time, again from the first where there are fewer.
function bestOfOne(work: usize, table: usize): void {
  const highs = highsLog(table);
  const states = statesOf(table) << 2;
  const scale = i32x4.splat(load<i32>(work + STEP) << CHOICE_BITS);
  const mask = (states << 1 << highs) - 1;
  const codes = codesAt(table);
  const c0 = v128.load(codes);
  const c1 = v128.load(codes + (32 & mask));
  const c2 = v128.load(codes + (64 & mask));
  const c3 = v128.load(codes + (96 & mask));
  let v0 = i32x4.splat(i32.MAX_VALUE);
  let v1 = v0;
  let v2 = v0;
  let v3 = v0;
  for (let x = work + P; x < work + P + states; x += 4) {
    const p = v128.load32_splat(x);
    const h = v128.load32_splat(x, H - P);
    v0 = i32x4.min_s(v0, edge(p, h, c0));
    v1 = i32x4.min_s(v1, edge(p, h, c1));
    v2 = i32x4.min_s(v2, edge(p, h, c2));
    v3 = i32x4.min_s(v3, edge(p, h, c3));
  }
  const log = ctz(states);
  const best = work + BEST;
  keep(best, v0, codes, scale, 0);
  keep(best + (16 & (states - 1)), v1, codes + (32 & mask), scale, 16 >> log);
  keep(best + (32 & (states - 1)), v2, codes + (64 & mask), scale, 32 >> log & ((1 << highs) - 1));
  keep(best + (48 & (states - 1)), v3, codes + (96 & mask), scale, 48 >> log & ((1 << highs) - 1));
}

// As bestOfOne, of groups whose members go to the same states: lanes are groups, four low bits at a time.
function bestOfGroups(work: usize, table: usize): void {
  const m = membersLog(table);
  const highs = highsLog(table);
  const bytes = (<usize>4) << groupsLog(table);
  const scale = i32x4.splat(load<i32>(work + STEP) << CHOICE_BITS);
  for (let g: usize = 0; g < bytes; g += 16) {
    const turned = <usize>load<u8>(turnsAt(table) + (g >> 4)) << 4;
    for (let low: usize = 0; low < (<usize>1) << m; low += 4) {
      const best = work + BEST + turned + low * bytes;
      for (let high: usize = 0; high < (<usize>1) << highs; high++) {
        const code0 = codesAt(table) + (((high << m) | low) * bytes << 1) + (g << 1);
        const code1 = code0 + (bytes << 1);
        const code2 = code1 + (bytes << 1);
        const code3 = code2 + (bytes << 1);
        const c0 = v128.load(code0);
        const c1 = v128.load(code1);
        const c2 = v128.load(code2);
        const c3 = v128.load(code3);
        let v0 = i32x4.splat(i32.MAX_VALUE);
        let v1 = v0;
        let v2 = v0;
        let v3 = v0;
        for (let x = work + P + g, end = x + (bytes << m); x < end; x += bytes) {
          const p = v128.load(x);
          const h = v128.load(x, H - P);
          v0 = i32x4.min_s(v0, edge(p, h, c0));
          v1 = i32x4.min_s(v1, edge(p, h, c1));
          v2 = i32x4.min_s(v2, edge(p, h, c2));
          v3 = i32x4.min_s(v3, edge(p, h, c3));
        }
        keep(best, v0, code0, scale, high);
        keep(best + bytes, v1, code1, scale, high);
        keep(best + (bytes << 1), v2, code2, scale, high);
        keep(best + 3 * bytes, v3, code3, scale, high);
      }
    }
  }
}

/** The cheapest edge into each state: its cost and choice. */
// @ts-ignore: decorator
@inline
export function bestEdges(work: usize, table: usize): void {
  if (groupsLog(table) == 0) bestOfOne(work, table);
  else bestOfGroups(work, table);
}

// @ts-ignore: decorator
@inline
function settled(v: v128, base: v128): v128 {
  return i32x4.min_s(i32x4.sub(v, base), i32x4.splat(EXCLUDED));
}

/** New costs by place, less the least; choices, of each state a byte, to `row`. */
export function settle(work: usize, table: usize, row: usize): void {
  const best = work + BEST;
  const bytes = statesOf(table) << 2;
  const choice = i32x4.splat((1 << CHOICE_BITS) - 1);
  let least = v128.load(best);
  for (let x: usize = 0; x < bytes; x += 64, row += 16) {
    const a = v128.load(best + x);
    const b = v128.load(best + x, 16);
    const c = v128.load(best + x, 32);
    const d = v128.load(best + x, 48);
    v128.store(
      row,
      i8x16.narrow_i16x8_u(
        i16x8.narrow_i32x4_s(v128.and(a, choice), v128.and(b, choice)),
        i16x8.narrow_i32x4_s(v128.and(c, choice), v128.and(d, choice)),
      ),
    );
  }
  for (let x: usize = 16; x < bytes; x += 16) least = i32x4.min_s(least, v128.load(best + x));
  least = i32x4.min_s(least, v128.shuffle<i32>(least, least, 2, 3, 0, 1));
  least = i32x4.min_s(least, v128.shuffle<i32>(least, least, 1, 0, 3, 2));
  const base = v128.andnot(least, choice);
  const costs = work + COSTS;
  const groups = groupsLog(table);
  if (groups == 0) {
    for (let x: usize = 0; x < bytes; x += 16) v128.store(costs + x, settled(v128.andnot(v128.load(best + x), choice), base));
    return;
  }
  const m = membersLog(table);
  const members = (<usize>4) << m;
  const stride = (<usize>4) << groups;
  for (let group: usize = 0; group < (<usize>1) << groups; group += 4) {
    let from = best + (group << 2 << m);
    let to = costs + (group << 2);
    for (const end = from + members; from < end; from += 16, to += stride << 2) {
      const a = settled(v128.andnot(v128.load(from), choice), base);
      const b = settled(v128.andnot(v128.load(from + members), choice), base);
      const c = settled(v128.andnot(v128.load(from + (members << 1)), choice), base);
      const d = settled(v128.andnot(v128.load(from + 3 * members), choice), base);
      const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
      const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
      const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
      const CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
      v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
      v128.store(to + stride, v128.shuffle<i64>(ab, cd, 1, 3));
      v128.store(to + (stride << 1), v128.shuffle<i64>(AB, CD, 0, 2));
      v128.store(to + 3 * stride, v128.shuffle<i64>(AB, CD, 1, 3));
    }
  }
}
