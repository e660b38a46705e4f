// A step of the search: the cheapest edge into each state. A survivor's target y is in units of 1/128 step from the middle, in 16 bits, and is
// held near it; less 128 Q of its state it is x. An edge of code c then costs
//   D (P_c − x / 128)² = D P_c² − h P_c + p,   h = ⌊(D x + 32) / 64⌋,   p = ⌊x h / 256⌋
// All are integers, times 64; in the bits below is the choice, so of equal costs the lowest choice wins. An edge is a product and a sum.

import { CHOICE_BITS, codesAt, groupsLog, highsLog, membersLog, offsetsAt, placeOf, qsAt, statesOf, turnsAt, vectorAt } from './edges';

/** What a state costs more where no path may start, and the most that one does. */
export const EXCLUDED: i32 = 1 << 29;

// Workspace, places of 256 states each: costs by place; p and h by place; of groups the new costs, with choices, by state.
const COSTS: usize = 0;
const P: usize = 1024;
const H: usize = 2048;
const BEST: usize = 3072;
const STEP: usize = 4096; // what setStep says, two vectors

/** Bytes of workspace. */
export const STEP_BYTES: usize = 4128;

/** Says what states cost: nothing, or where `only` is a state all others EXCLUDED. */
export function beginSteps(work: usize, table: usize, only: i32): void {
  for (let state: usize = 0, end = statesOf(table); state < end; state++) {
    store<i32>(work + (placeOf(table, state) << 2), only < 0 || state == <usize>only ? 0 : EXCLUDED, COSTS);
  }
}

/** The place of the cheapest state, the first of several: it costs nothing. */
export function cheapestPlace(work: usize): usize {
  const zero = i32x4.splat(0);
  let at = work + COSTS;
  let found = 0;
  do {
    const first = i16x8.narrow_i32x4_s(i32x4.eq(v128.load(at), zero), i32x4.eq(v128.load(at, 16), zero));
    const last = i16x8.narrow_i32x4_s(i32x4.eq(v128.load(at, 32), zero), i32x4.eq(v128.load(at, 48), zero));
    found = i8x16.bitmask(i8x16.narrow_i16x8_s(first, last));
    at += 64;
  } while (found == 0);
  return ((at - 64 - work - COSTS) >> 2) + ctz(found);
}

/** What the state at `place` costs more than the cheapest. */
// @ts-ignore: decorator
@inline
export function costAt(work: usize, place: usize): i32 {
  return load<i32>(work + (place << 2), COSTS);
}

// What is alike for all edges of a step is loaded ahead of loops, as vectors: engines would make splats anew in each turn.

/** Says what a step is: D, and the target of all, i16 at `target`, in units of 1/128 step from the middle. */
// @ts-ignore: decorator
@inline
export function setStep(work: usize, d: i32, target: usize): void {
  v128.store(work + STEP, i32x4.splat(d));
  v128.store(work + STEP, v128.load16_splat(target), 16);
}

// The edges of four places, whose targets less 128 Q are `far`.
// @ts-ignore: decorator
@inline
function prepareFour(work: usize, table: usize, x: usize, far: v128, d: v128, half: v128, mask: v128, split: v128): void {
  const h = i32x4.add(i32x4.mul(far, d), half);
  const p = v128.and(i32x4.shr_u(i32x4.mul(far, i32x4.shr_s(h, CHOICE_BITS)), 8 - CHOICE_BITS), mask);
  const before = i32x4.add(v128.load(work + COSTS + x), v128.load(offsetsAt(table) + x));
  v128.store(work + P + x, i32x4.add(p, before));
  v128.store(work + H + x, i8x16.swizzle(v128.and(h, mask), split));
}

// @ts-ignore: decorator
@inline
function prepareAll(work: usize, table: usize, fed: usize, isAlike: bool): void {
  const end = statesOf(table) << 1;
  const d = v128.load(work + STEP);
  const alike = v128.load(work + STEP, 16);
  const low = vectorAt(table, 0);
  const high = vectorAt(table, 1);
  const half = vectorAt(table, 2);
  const mask = vectorAt(table, 3);
  const split = vectorAt(table, 4);
  for (let x: usize = 0; x < end; x += 16) {
    const target = isAlike ? alike : i16x8.add_sat_s(alike, v128.load(fed + x));
    const far = i16x8.sub(i16x8.max_s(i16x8.min_s(target, high), low), v128.load(qsAt(table) + x));
    prepareFour(work, table, x << 1, i32x4.extend_low_i16x8_s(far), d, half, mask, split);
    prepareFour(work, table, (x << 1) + 16, i32x4.extend_high_i16x8_s(far), d, half, mask, split);
  }
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

// The cheapest edge into each state, of groups whose members go to the same ones: lanes are groups, four low bits at a time.
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

// @ts-ignore: decorator
@inline
function settled(v: v128, base: v128, choice: v128): v128 {
  return i32x4.min_s(i32x4.sub(v128.andnot(v, choice), base), i32x4.splat(EXCLUDED));
}

// The choices of 16 states, a byte each.
// @ts-ignore: decorator
@inline
function choicesOf(a: v128, b: v128, c: v128, d: v128): v128 {
  const choice = i32x4.splat((1 << CHOICE_BITS) - 1);
  return i8x16.narrow_i16x8_u(
    i16x8.narrow_i32x4_s(v128.and(a, choice), v128.and(b, choice)),
    i16x8.narrow_i32x4_s(v128.and(c, choice), v128.and(d, choice)),
  );
}

// The least of four lanes, in all of them.
// @ts-ignore: decorator
@inline
function leastLane(v: v128): v128 {
  v = i32x4.min_s(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return i32x4.min_s(v, v128.shuffle<i32>(v, v, 1, 0, 3, 2));
}

// All after prepareAll where all states go to all: lanes are codes, four vectors of them, again from the first where there are fewer.
function settleOne(work: usize, table: usize, row: usize): void {
  const states = statesOf(table) << 2;
  const scale = i32x4.splat(load<i32>(work + STEP) << CHOICE_BITS);
  const mask = (states << 1 << highsLog(table)) - 1;
  const codes = codesAt(table);
  const code1 = codes + (32 & mask);
  const code2 = codes + (64 & mask);
  const code3 = codes + (96 & mask);
  const c0 = v128.load(codes);
  const c1 = v128.load(code1);
  const c2 = v128.load(code2);
  const c3 = v128.load(code3);
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
  v0 = i32x4.add(v0, i32x4.mul(v128.load(codes, 16), scale));
  v1 = i32x4.add(v1, i32x4.mul(v128.load(code1, 16), scale));
  v2 = i32x4.add(v2, i32x4.mul(v128.load(code2, 16), scale));
  v3 = i32x4.add(v3, i32x4.mul(v128.load(code3, 16), scale));
  if (highsLog(table) > 0) {
    // Four states: a vector has the codes of the same high bits.
    v1 = i32x4.min_s(i32x4.add(v1, i32x4.splat(1)), v0);
    v2 = i32x4.min_s(i32x4.add(v2, i32x4.splat(2)), v1);
    v3 = i32x4.min_s(i32x4.add(v3, i32x4.splat(3)), v2);
    v0 = v3;
    v1 = v3;
    v2 = v3;
  }
  v128.store(row, choicesOf(v0, v1, v2, v3));
  const choice = i32x4.splat((1 << CHOICE_BITS) - 1);
  const base = v128.andnot(leastLane(i32x4.min_s(i32x4.min_s(v0, v1), i32x4.min_s(v2, v3))), choice);
  const costs = work + COSTS;
  v128.store(costs, settled(v0, base, choice));
  v128.store(costs, settled(v1, base, choice), 16);
  v128.store(costs, settled(v2, base, choice), 32);
  v128.store(costs, settled(v3, base, choice), 48);
}

// Costs of four groups of four members by place: members outside.
// @ts-ignore: decorator
@inline
function writeCosts(to: usize, stride: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const AB = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const CD = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to + stride, v128.shuffle<i64>(ab, cd, 1, 3));
  v128.store(to + (stride << 1), v128.shuffle<i64>(AB, CD, 0, 2));
  v128.store(to + 3 * stride, v128.shuffle<i64>(AB, CD, 1, 3));
}

// New costs by place, less the least; choices, of each state a byte, to `row`.
function settle(work: usize, table: usize, row: usize): void {
  const best = work + BEST;
  const end = best + (statesOf(table) << 2);
  const choice = i32x4.splat((1 << CHOICE_BITS) - 1);
  let least = v128.load(best);
  for (let x = best; x < end; x += 64, row += 16) {
    const a = v128.load(x);
    const b = v128.load(x, 16);
    const c = v128.load(x, 32);
    const d = v128.load(x, 48);
    v128.store(row, choicesOf(a, b, c, d));
    least = i32x4.min_s(least, i32x4.min_s(i32x4.min_s(a, b), i32x4.min_s(c, d)));
  }
  const base = v128.andnot(leastLane(least), choice);
  const costs = work + COSTS;
  const groups = groupsLog(table);
  const m = membersLog(table);
  const members = (<usize>4) << m;
  const stride = (<usize>4) << groups;
  for (let group: usize = 0; group < (<usize>1) << groups; group += 4) {
    let from = best + (group << 2 << m);
    let to = costs + (group << 2);
    for (const last = from + members; from < last; from += 16, to += stride << 2) {
      const a = settled(v128.load(from), base, choice);
      const b = settled(v128.load(from + members), base, choice);
      const c = settled(v128.load(from + (members << 1)), base, choice);
      const d = settled(v128.load(from + 3 * members), base, choice);
      writeCosts(to, stride, a, b, c, d);
    }
  }
}

// @ts-ignore: decorator
@inline
function step(work: usize, table: usize, fed: usize, row: usize, isAlike: bool): void {
  prepareAll(work, table, fed, isAlike);
  if (groupsLog(table) == 0) {
    settleOne(work, table, row);
  } else {
    bestOfGroups(work, table);
    settle(work, table, row);
  }
}

/**
 * A step, after setStep: new costs by place, less the least, and choices, of each state a byte, to `row`. `fed` by place is what each
 * survivor feeds back to it, i16 in units of 1/128 step; what is made of it goes to `targets`, likewise.
 */
export function takeStep(work: usize, table: usize, fed: usize, row: usize): void {
  step(work, table, fed, row, false);
}

/** As takeStep, where nothing is fed back. */
export function takeAlike(work: usize, table: usize, row: usize): void {
  step(work, table, 0, row, true);
}
