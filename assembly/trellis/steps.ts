// Steps of the search for the cheapest path, four sequences in the four lanes. A slice has a vector for each state:
//   bits 31 … 4   cost of the cheapest path here, plus what the next step costs for its old part alone (table.ts)
//   bits 3 … 0    the choice that made it: which state of its group the path came from, then the high bits of the code
// The least of two such numbers is the lower cost and of equal costs the lower choice. Costs stay within 2^31: a step lowers or raises
// the least by 2^26 at most, eight steps go by between rebasings, states differ by less than 2^28, and an excluded one has 2^29 more.

import { edgesOf, qsOf } from './table';

/** What a state costs more where no path may start. */
export const EXCLUDED: i32 = 1 << 29;

/** Bytes of a slice. */
// @ts-ignore: decorator
@inline
export function sliceBytes(table: usize): usize {
  return (<usize>load<u32>(table, 76)) << 4;
}

// The old part of a step with the input in the low half of `y`.
// @ts-ignore: decorator
@inline
export function oldCost(table: usize, state: usize, y: v128): v128 {
  const input = v128.or(v128.and(y, i32x4.splat(0xffff)), i32x4.splat(2048 << 16));
  return i32x4.dot_i16x8_s(input, v128.load32_splat(qsOf(table) + (state << 2)));
}

// Costs alone.
// @ts-ignore: decorator
@inline
export function costs(slice: v128): v128 {
  return v128.and(slice, i32x4.splat(-16));
}

// The cheapest of four edges, whose constants follow a record's first vector. A chain, not a tree: engines keep fewer vectors at a time.
// @ts-ignore: decorator
@inline
function best4(a: v128, b: v128, c: v128, d: v128, record: usize): v128 {
  let v = i32x4.add(a, v128.load(record, 16));
  v = i32x4.min_s(v, i32x4.add(b, v128.load(record, 32)));
  v = i32x4.min_s(v, i32x4.add(c, v128.load(record, 48)));
  return i32x4.min_s(v, i32x4.add(d, v128.load(record, 64)));
}

// As best4, of eight.
// @ts-ignore: decorator
@inline
function best8(a: v128, b: v128, c: v128, d: v128, e: v128, f: v128, g: v128, h: v128, record: usize): v128 {
  let v = best4(a, b, c, d, record);
  v = i32x4.min_s(v, i32x4.add(e, v128.load(record, 80)));
  v = i32x4.min_s(v, i32x4.add(f, v128.load(record, 96)));
  v = i32x4.min_s(v, i32x4.add(g, v128.load(record, 112)));
  return i32x4.min_s(v, i32x4.add(h, v128.load(record, 128)));
}

// Adds what the inputs contribute, and keeps it if nothing cheaper is there already.
// @ts-ignore: decorator
@inline
function put(to: usize, v: v128, y: v128, record: usize, merge: bool): void {
  v = i32x4.add(v, i32x4.dot_i16x8_s(y, v128.load(record)));
  v128.store(to, merge ? i32x4.min_s(v, v128.load(to)) : v);
}

// Four codes from four states to four targets.
// @ts-ignore: decorator
@inline
function fours(a: v128, b: v128, c: v128, d: v128, y: v128, record: usize, to: usize, stride: usize, merge: bool): void {
  put(to, best4(a, b, c, d, record), y, record, merge);
  put(to + stride, best4(a, b, c, d, record + 80), y, record + 80, merge);
  to += stride << 1;
  put(to, best4(a, b, c, d, record + 160), y, record + 160, merge);
  put(to + stride, best4(a, b, c, d, record + 240), y, record + 240, merge);
}

// Groups of four states.
function stepBy4(slice: usize, y: v128, table: usize, groups: usize, repeats: usize): void {
  const stride = groups << 4;
  let to = slice + (stride << 2);
  let record = edgesOf(table);
  for (const end = to + stride; to < end; to += 16, slice += 64) {
    const a = costs(v128.load(slice));
    const b = costs(v128.load(slice, 16));
    const c = costs(v128.load(slice, 32));
    const d = costs(v128.load(slice, 48));
    fours(a, b, c, d, y, record, to, stride, false);
    record += 320;
    for (let repeat: usize = 1; repeat < repeats; repeat++, record += 320) {
      fours(a, b, c, d, y, record, to, stride, true);
    }
  }
}

// `count` codes from eight states to as many targets.
// @ts-ignore: decorator
@inline
function eights(
  a: v128, b: v128, c: v128, d: v128, e: v128, f: v128, g: v128, h: v128,
  y: v128, record: usize, to: usize, stride: usize, count: usize, merge: bool,
): void {
  for (const end = record + count * 144; record < end; record += 288, to += stride << 1) {
    put(to, best8(a, b, c, d, e, f, g, h, record), y, record, merge);
    put(to + stride, best8(a, b, c, d, e, f, g, h, record + 144), y, record + 144, merge);
  }
}

// Groups of eight states, or two halves of sixteen: those have all their targets in common.
function stepBy8(slice: usize, y: v128, table: usize, groups: usize, repeats: usize, halves: bool): void {
  const count: usize = halves ? 16 : 8;
  const stride: usize = halves ? 16 : groups << 4;
  let to = slice + count * stride;
  let record = edgesOf(table);
  for (let group: usize = 0; group < groups; group++, slice += 128) {
    const a = costs(v128.load(slice));
    const b = costs(v128.load(slice, 16));
    const c = costs(v128.load(slice, 32));
    const d = costs(v128.load(slice, 48));
    const e = costs(v128.load(slice, 64));
    const f = costs(v128.load(slice, 80));
    const g = costs(v128.load(slice, 96));
    const h = costs(v128.load(slice, 112));
    let repeat: usize = 0;
    if (!halves || group == 0) {
      eights(a, b, c, d, e, f, g, h, y, record, to, stride, count, false);
      record += count * 144;
      repeat = 1;
    }
    for (; repeat < repeats; repeat++, record += count * 144) {
      eights(a, b, c, d, e, f, g, h, y, record, to, stride, count, true);
    }
    if (!halves) to += 16;
  }
}

// Takes the first state's cost off all.
function rebase(slice: usize, bytes: usize): void {
  const base = costs(v128.load(slice));
  for (const end = slice + bytes; slice < end; slice += 16) {
    v128.store(slice, i32x4.sub(v128.load(slice), base));
  }
}

/**
 * Runs `count` steps from the slice at `slice`; their slices follow it. `inputs` has a vector a step: this step's input in the low halves
 * of its lanes, the next one's in the high halves.
 * @returns the last slice
 */
export function run(slice: usize, inputs: usize, count: usize, table: usize): usize {
  const bytes = sliceBytes(table);
  const m = load<u32>(table, 64);
  const groups: usize = m == 4 ? 2 : (<usize>1) << load<u32>(table, 68);
  const repeats: usize = (<usize>1) << load<u32>(table, 72);
  for (let i: usize = 0; i < count; i++) {
    const y = v128.load(inputs + (i << 4));
    if (m == 2) stepBy4(slice, y, table, groups, repeats);
    else stepBy8(slice, y, table, groups, repeats, m == 4);
    slice += bytes;
    if ((i & 7) == 7) rebase(slice, bytes);
  }
  return slice;
}
