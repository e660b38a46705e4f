// What survivors of the search carry. Steps go in blocks of four. The record of a state's survivor, four floats for the steps of the block,
// has what it feeds back to the steps ahead, and behind that, where steps are done, its errors. When a block ends records are its errors
// alone: a segment, whose parent is the state that the survivor was in as the block began. Segments are a tree, in which few ancestors are
// alive: what those before the last segment feed back is summed along the path of each parent, once. The eight last segments of each
// survivor, 32 errors, are fed back to the next block; what is older has been added to the targets of all steps ahead, as the errors of the
// cheapest survivor.

import { CHOICE_BITS, firstsAt, highsLog, maskAt, newsAt, oldsAt, STATES, statesOf, vectorAt } from './edges';
import { bestAt } from './steps';

/** Steps of a block, and segments that a survivor feeds back itself. */
export const BLOCK: usize = 4;
const SEGMENTS: usize = 8;
const RING: usize = SEGMENTS + 1;

// Workspace: records are 16 bytes by state.
const RECORDS: usize = 16 * STATES;
const TURNS: usize = 0; // records within a block, twice
const RING_RECORDS: usize = 2 * RECORDS;
const SUMS: usize = RING_RECORDS + RING * RECORDS; // of all segments but the last, by parent
const BEFORE: usize = SUMS + RECORDS; // for each step of the block the state before each state, u8
const PARENTS: usize = BEFORE + BLOCK * STATES;
const MARKS: usize = PARENTS + RING * STATES; // which states are parents, u8
const ERRORS: usize = MARKS + STATES; // of this step, f32 by state
const FROM: usize = ERRORS + 4 * STATES; // where the record before each is, u16

/** Bytes of workspace. */
export const SURVIVOR_BYTES: usize = FROM + 2 * STATES;

/** The records that a step `lane` of a block reads. */
// @ts-ignore: decorator
@inline
export function recordsAt(work: usize, lane: usize): usize {
  return work + TURNS + (lane & 1) * RECORDS;
}

// @ts-ignore: decorator
@inline
function slotOf(work: usize, block: usize): usize {
  return work + RING_RECORDS + (block % RING) * RECORDS;
}

// @ts-ignore: decorator
@inline
function parentsOf(work: usize, block: usize): usize {
  return work + PARENTS + (block % RING) * STATES;
}

/** Survivors before the first step. */
export function beginSurvivors(work: usize, table: usize): void {
  memory.fill(recordsAt(work, 0), 0, statesOf(table) << 4);
}

// The bytes at `bytes` of the indices in the lanes, `count` at most.
// @ts-ignore: decorator
@inline
function lookup(bytes: usize, count: usize, indices: v128, table: usize): v128 {
  const sixteen = vectorAt(table, 6);
  let found = i8x16.swizzle(v128.load(bytes), indices);
  for (let x: usize = 16; x < count; x += 16) {
    indices = i8x16.sub(indices, sixteen);
    found = v128.or(found, i8x16.swizzle(v128.load(bytes + x), indices));
  }
  return found;
}

// Errors of four states, of integers u less zero.
// @ts-ignore: decorator
@inline
function writeErrors(u: v128, step: v128, t: v128, sigma: v128, to: usize): void {
  v128.store(to, f32x4.mul(sigma, f32x4.sub(t, f32x4.mul(step, f32x4.convert_i32x4_s(u)))));
}

// Errors of a step into each state, the states before, and where their records are.
function takeStep(work: usize, table: usize, before: usize, t: usize, sigma: usize, row: usize): void {
  const states = statesOf(table);
  const highs = highsLog(table);
  const step = v128.load32_splat(table, 32);
  const t4 = v128.load32_splat(t);
  const sigma4 = v128.load32_splat(sigma);
  const zero = vectorAt(table, 7);
  for (let x: usize = 0; x < states; x += 16) {
    const choices = v128.load(row + x);
    let members = choices;
    let news = v128.load(newsAt(table, 0) + x);
    if (highs > 0) {
      members = i8x16.shr_u(choices, highs);
      const code = v128.and(choices, i8x16.splat(<i8>(((<u32>1) << highs) - 1)));
      for (let high: usize = 1; high < (<usize>1) << highs; high++) {
        news = v128.bitselect(v128.load(newsAt(table, high) + x), news, i8x16.eq(code, i8x16.splat(<i8>high)));
      }
    }
    members = i8x16.add(v128.load(firstsAt(table) + x), members);
    v128.store(before + x, members);
    v128.store(work + FROM + (x << 1), i16x8.shl(i16x8.extend_low_i8x16_u(members), 4));
    v128.store(work + FROM + (x << 1), i16x8.shl(i16x8.extend_high_i8x16_u(members), 4), 16);
    const u = i8x16.add(news, lookup(oldsAt(table), states, members, table));
    const low = i16x8.sub(i16x8.extend_low_i8x16_u(u), zero);
    const high = i16x8.sub(i16x8.extend_high_i8x16_u(u), zero);
    const to = work + ERRORS + (x << 2);
    writeErrors(i32x4.extend_low_i16x8_s(low), step, t4, sigma4, to);
    writeErrors(i32x4.extend_high_i16x8_s(low), step, t4, sigma4, to + 16);
    writeErrors(i32x4.extend_low_i16x8_s(high), step, t4, sigma4, to + 32);
    writeErrors(i32x4.extend_high_i16x8_s(high), step, t4, sigma4, to + 48);
  }
}

// The record of a state: that before it, with the error at `e`.
// @ts-ignore: decorator
@inline
function goOn(before: usize, mask: v128, coefficient: v128, e: v128): v128 {
  return f32x4.add(v128.and(v128.load(before), mask), f32x4.mul(e, coefficient));
}

/**
 * Survivors go on by step `k`, whose choices are in `row`. `t` and `sigma` are where what errors are counted against, of unit RMS,
 * and σ stand. `coefficients` has U of this step's error for the four steps of the block, 1 for itself.
 */
export function survive(work: usize, table: usize, k: usize, t: usize, sigma: usize, coefficients: usize, row: usize): void {
  const lane = k & (BLOCK - 1);
  takeStep(work, table, work + BEFORE + lane * STATES, t, sigma, row);
  const mask = maskAt(table, lane);
  const coefficient = v128.load(coefficients);
  const records = recordsAt(work, lane);
  let to = lane == BLOCK - 1 ? slotOf(work, k / BLOCK) : recordsAt(work, lane + 1);
  let from = work + FROM;
  let e = work + ERRORS;
  for (const end = e + (statesOf(table) << 2); e < end; e += 16, from += 8, to += 64) {
    const errors = v128.load(e);
    v128.store(to, goOn(records + load<u16>(from), mask, coefficient, v128.shuffle<i32>(errors, errors, 0, 0, 0, 0)));
    v128.store(to, goOn(records + load<u16>(from, 2), mask, coefficient, v128.shuffle<i32>(errors, errors, 1, 1, 1, 1)), 16);
    v128.store(to, goOn(records + load<u16>(from, 4), mask, coefficient, v128.shuffle<i32>(errors, errors, 2, 2, 2, 2)), 32);
    v128.store(to, goOn(records + load<u16>(from, 6), mask, coefficient, v128.shuffle<i32>(errors, errors, 3, 3, 3, 3)), 48);
  }
}

// States at the begin of the block to which its segments go back.
function writeParents(work: usize, table: usize, parents: usize): void {
  const states = statesOf(table);
  const before = work + BEFORE;
  for (let x: usize = 0; x < states; x += 16) {
    let found = lookup(before + 2 * STATES, states, v128.load(before + x, 3 * STATES), table);
    found = lookup(before + STATES, states, found, table);
    v128.store(parents + x, lookup(before, states, found, table));
  }
}

// What the errors `e` of a segment feed back to four steps.
// @ts-ignore: decorator
@inline
function fedBack(e: v128, c0: v128, c1: v128, c2: v128, c3: v128): v128 {
  const first = f32x4.add(
    f32x4.mul(v128.shuffle<i32>(e, e, 0, 0, 0, 0), c0),
    f32x4.mul(v128.shuffle<i32>(e, e, 1, 1, 1, 1), c1),
  );
  const last = f32x4.add(
    f32x4.mul(v128.shuffle<i32>(e, e, 2, 2, 2, 2), c2),
    f32x4.mul(v128.shuffle<i32>(e, e, 3, 3, 3, 3), c3),
  );
  return f32x4.add(first, last);
}

// What all segments but the last feed back to the next block, the newest first: for each parent.
function sumOlder(work: usize, table: usize, block: usize, coefficients: usize): void {
  const states = statesOf(table);
  const parents = parentsOf(work, block);
  const marks = work + MARKS;
  memory.fill(marks, 0, states);
  for (let x = parents, end = parents + states; x < end; x += 4) {
    store<u8>(marks + load<u8>(x), 0xff);
    store<u8>(marks + load<u8>(x, 1), 0xff);
    store<u8>(marks + load<u8>(x, 2), 0xff);
    store<u8>(marks + load<u8>(x, 3), 0xff);
  }
  const levels = min(SEGMENTS, block + 1);
  const newest = block % RING;
  for (let x: usize = 0; x < states; x += 16) {
    for (let found = i8x16.bitmask(v128.load(marks + x)); found != 0; found &= found - 1) {
      const parent = x + <usize>ctz(found);
      let state = parent;
      let slot = newest;
      let sum = f32x4.splat(0);
      let c = coefficients + ((SEGMENTS - 2) << 6);
      for (let level: usize = 1; level < levels; level++, c -= 64) {
        slot = (slot == 0 ? RING : slot) - 1;
        const errors = v128.load(work + RING_RECORDS + slot * RECORDS + (state << 4));
        sum = f32x4.add(sum, fedBack(errors, v128.load(c), v128.load(c, 16), v128.load(c, 32), v128.load(c, 48)));
        state = <usize>load<u8>(work + PARENTS + slot * STATES + state);
      }
      v128.store(work + SUMS + (parent << 4), sum);
    }
  }
}

/** Ends a block: what the last segments of each survivor feed back to the next one. @param coefficients U of 32 errors, four steps each */
export function endBlock(work: usize, table: usize, block: usize, coefficients: usize): void {
  writeParents(work, table, parentsOf(work, block));
  sumOlder(work, table, block, coefficients);
  const older = work + SUMS;
  const c = coefficients + ((SEGMENTS - 1) << 6);
  const c0 = v128.load(c);
  const c1 = v128.load(c, 16);
  const c2 = v128.load(c, 32);
  const c3 = v128.load(c, 48);
  let parents = parentsOf(work, block);
  let to = recordsAt(work, 0);
  for (let errors = slotOf(work, block), end = errors + (statesOf(table) << 4); errors < end; errors += 16, to += 16, parents++) {
    const sum = fedBack(v128.load(errors), c0, c1, c2, c3);
    v128.store(to, f32x4.add(sum, v128.load(older + (<usize>load<u8>(parents) << 4))));
  }
}

// The cheapest state, the first of several.
function cheapestNow(steps: usize, table: usize): usize {
  const best = bestAt(steps);
  const end = best + (statesOf(table) << 2);
  const choice = i32x4.splat((1 << CHOICE_BITS) - 1);
  let least = v128.load(best);
  for (let at = best + 16; at < end; at += 16) least = i32x4.min_s(least, v128.load(at));
  least = i32x4.min_s(least, v128.shuffle<i32>(least, least, 2, 3, 0, 1));
  least = v128.or(i32x4.min_s(least, v128.shuffle<i32>(least, least, 1, 0, 3, 2)), choice);
  let at = best;
  let found: i32 = 0;
  for (; found == 0; at += 16) found = i32x4.bitmask(i32x4.le_s(v128.load(at), least));
  return ((at - 16 - best) >> 2) + <usize>ctz(found);
}

// Adds what an error feeds back to the steps from `first` to before `end`; `row` is its row of U.
function feed1(fed: usize, e: f32, row: usize, first: usize, end: usize): void {
  for (let k = first << 2; k < end << 2; k += 4) store<f32>(fed + k, load<f32>(fed + k) + e * load<f32>(row + k));
}

// The same of four errors, one after the other, to whole vectors. @returns the step behind them
function feed4(fed: usize, errors: v128, rows: usize, first: usize, end: usize): usize {
  const e0 = v128.shuffle<i32>(errors, errors, 0, 0, 0, 0);
  const e1 = v128.shuffle<i32>(errors, errors, 1, 1, 1, 1);
  const e2 = v128.shuffle<i32>(errors, errors, 2, 2, 2, 2);
  const e3 = v128.shuffle<i32>(errors, errors, 3, 3, 3, 3);
  const row0 = <usize>load<u32>(rows);
  const row1 = <usize>load<u32>(rows, 4);
  const row2 = <usize>load<u32>(rows, 8);
  const row3 = <usize>load<u32>(rows, 12);
  let k = first << 2;
  for (const stop = end << 2; k + 16 <= stop; k += 16) {
    let sum = f32x4.add(v128.load(fed + k), f32x4.mul(e0, v128.load(row0 + k)));
    sum = f32x4.add(sum, f32x4.mul(e1, v128.load(row1 + k)));
    sum = f32x4.add(sum, f32x4.mul(e2, v128.load(row2 + k)));
    v128.store(fed + k, f32x4.add(sum, f32x4.mul(e3, v128.load(row3 + k))));
  }
  return k >> 2;
}

/** Adds the errors that leave the window of the cheapest survivor to what is fed to all steps from `first` on. */
export function commit(work: usize, steps: usize, table: usize, block: usize, rows: usize, ends: usize, fed: usize): void {
  if (block < SEGMENTS) return;
  let state = cheapestNow(steps, table);
  for (let level: usize = 0; level < SEGMENTS; level++) state = <usize>load<u8>(parentsOf(work, block - level) + state);
  const oldest = block - SEGMENTS;
  const errors = slotOf(work, oldest) + (state << 4);
  const source = (oldest * BLOCK) << 2;
  let first = (block + 1) * BLOCK;
  // Where a part ends within the block, its rows end apart.
  const end = load<u32>(ends + source);
  if (load<u32>(ends + source, 12) == end) first = feed4(fed, v128.load(errors), rows + source, first, end);
  for (let i: usize = 0; i < BLOCK << 2; i += 4) {
    feed1(fed, load<f32>(errors + i), load<u32>(rows + source + i), first, load<u32>(ends + source + i));
  }
}
