// A trellis by labels: one table for the codes before, by the exclusive or of their low bits. With c_i the code of step i of a sequence,
//   x_i = (c_{i-1} ^ c_{i-2} ^ (c_{i-3} & third)) & 7,   value = step · (T0[c_i & 15] + 16 · (c_i >> 4) + T1[x_i] − zero)
// `third` is 0 or 3. The table that kernels read:
//
//   0     step f32, zero i32, SCALE / step f32, SCALE · (zero − center) f32
//   16    T0, T1, sixteen times `third`, 16 bytes each
//   64    bits, groups of states, codes of the same low bits, log2 of the gain: u32 each
//   80    bounds of an input f32: least, largest
//   96    of each group of states: u8 its label where the oldest bits are 0, u8 its place among the states that follow; 32 of both
//   160   of each place its group, u8, 32
//   192   SCALE · T1 i16: of each x a vector, (8, 8); then of each label of a group those of its eight states, (8, 8)
//   448   SCALE · (T0 + 16 · high − center) i16: of each three low bits of a code and its high bits a vector, (8, codes, 8)
//
//   1472  the same i16 without the vectors: (codes, 8); of T1 (8) at 1600
//
// States are numbered by the low bits of the last codes. Of two codes c_{-1} · 8 + c_{-2}. Of three, c_{-3} having two bits,
// c_{-1} · 32 + (c_{-2} & 3) · 8 + (c_{-2} >> 2) · 4 + c_{-3}. So a group, the eight states that differ in what the next step forgets,
// is consecutive in both, and the labels of its states are the first one's ^ 0 … 7.

/** Units of an input in a step of the table: 2^7.5, whose square is a power of two. */
const SCALE: i32 = 181;
/** Steps beyond the least and the largest integer that an input is held within. */
const BEYOND: i32 = 16;

const HEADER: usize = 64;
const BASES: usize = 96;
const PLACES: usize = 128;
const GROUPS: usize = 160;
const LABELS_AT: usize = 192;
const VALUES: usize = 448;
const HIGHS: usize = 1472;
const LABEL_ROW: usize = 1600;

/** Size of the table in bytes. */
export function labelTableBytes(): usize {
  return LABEL_ROW + 16;
}

/** Stands for the weights of a code where a grid is a trellis by labels. */
// @ts-ignore: decorator
@inline
export const LABELS: usize = 5;

/** Builds the table from `tables`, T0 and T1, (2, 16) bytes, of codes of `bits`; `third` are the bits of the code before the last two. */
export function labelTable(tables: usize, step: f32, zero: u32, bits: u32, third: u32, table: usize): void {
  assert(bits >= 3 && bits <= 6 && (third == 0 || third == 3));
  memory.copy(table + 16, tables, 32);
  memory.fill(table + 48, <u8>third, 16);
  let most0: i32 = 0;
  let most1: i32 = 0;
  for (let i: usize = 0; i < 16; i++) {
    most0 = max(most0, <i32>load<u8>(tables + i));
    most1 = max(most1, <i32>load<u8>(tables + 16 + i));
  }
  const codes: u32 = 1 << (bits - 3);
  const largest = most0 + most1 + (bits > 4 ? 16 * ((1 << (bits - 4)) - 1) : 0) + BEYOND;
  const center = (largest - BEYOND) >> 1;
  store<f32>(table, step);
  store<i32>(table, <i32>zero, 4);
  store<f32>(table, <f32>SCALE / step, 8);
  store<f32>(table, <f32>(SCALE * (<i32>zero - center)), 12);
  const groups: u32 = third ? 32 : 8;
  store<u32>(table, bits, HEADER);
  store<u32>(table, groups, HEADER + 4);
  store<u32>(table, codes, HEADER + 8);
  store<u32>(table, min<u32>(bits - 2, 3), HEADER + 12);
  store<f32>(table, <f32>(SCALE * (-BEYOND - center)), HEADER + 16);
  store<f32>(table, <f32>(SCALE * (largest - center)), HEADER + 20);
  for (let group: u32 = 0; group < groups; group++) {
    const base = third ? (group >> 2) ^ (group & 3) : group;
    const place = third ? ((group >> 2) & 3) * 8 + (group >> 4) * 4 + (group & 3) : group;
    store<u8>(table + BASES + group, <u8>base);
    store<u8>(table + PLACES + group, <u8>place);
    store<u8>(table + GROUPS + place, <u8>group);
  }
  for (let x: u32 = 0; x < 8; x++) {
    v128.store(table + LABELS_AT + (x << 4), i16x8.splat(<i16>(SCALE * <i32>load<u8>(tables + 16 + x))));
    store<i16>(table + LABEL_ROW + (x << 1), <i16>(SCALE * <i32>load<u8>(tables + 16 + x)));
    for (let i: u32 = 0; i < 8; i++) {
      store<i16>(table + LABELS_AT + 128 + (x << 4) + (i << 1), <i16>(SCALE * <i32>load<u8>(tables + 16 + (x ^ i))));
    }
  }
  for (let low: u32 = 0; low < 8; low++) {
    for (let high: u32 = 0; high < codes; high++) {
      const code = low | (high << 3);
      const u = <i32>load<u8>(tables + (code & 15)) + <i32>(code & ~15);
      const value = <i16>(SCALE * (u - center));
      v128.store(table + VALUES + ((low * codes + high) << 4), i16x8.splat(value));
      store<i16>(table + HIGHS + (high << 4) + (low << 1), value);
    }
  }
}

// @ts-ignore: decorator
@inline
export function baseOf(table: usize, group: usize): usize {
  return load<u8>(table + BASES + group);
}

// @ts-ignore: decorator
@inline
export function placeOf(table: usize, group: usize): usize {
  return load<u8>(table + PLACES + group);
}

// @ts-ignore: decorator
@inline
export function groupOf(table: usize, place: usize): usize {
  return load<u8>(table + GROUPS + place);
}

/** SCALE · T1 of label `x` in all lanes. */
// @ts-ignore: decorator
@inline
export function labelAt(table: usize, x: usize): usize {
  return table + LABELS_AT + (x << 4);
}

/** SCALE · T1 of the eight states of a group of label `base`. */
// @ts-ignore: decorator
@inline
export function labelsAt(table: usize, base: usize): usize {
  return table + LABELS_AT + 128 + (base << 4);
}

/** The integers of codes with the same three low bits, a vector each. */
// @ts-ignore: decorator
@inline
export function valuesAt(table: usize, low: usize, codes: usize): usize {
  return table + VALUES + (low * codes << 4);
}

// Eight i16 of a row of eight at `row`, by indices below 8 in the lanes.
// @ts-ignore: decorator
@inline
function pick(row: usize, indices: v128): v128 {
  return i8x16.swizzle(v128.load(row), i16x8.add(i16x8.mul(indices, i16x8.splat(0x0202)), i16x8.splat(0x0100)));
}

/** `y` less SCALE · T1 of each lane's label. */
// @ts-ignore: decorator
@inline
export function lessLabels(y: v128, labels: v128, table: usize): v128 {
  return i16x8.sub_sat_s(y, pick(table + LABEL_ROW, labels));
}

/** Codes of the low bits `low` that are nearest to `y`, the lowest of equals. */
// @ts-ignore: decorator
@inline
export function nearestCodes(y: v128, low: v128, table: usize): v128 {
  let code = low;
  let least = i16x8.abs(i16x8.sub_sat_s(y, pick(table + HIGHS, low)));
  const codes = load<u32>(table, HEADER + 8);
  for (let high: u32 = 1; high < codes; high++) {
    const other = i16x8.abs(i16x8.sub_sat_s(y, pick(table + HIGHS + (high << 4), low)));
    const nearer = i16x8.lt_u(other, least);
    code = v128.bitselect(v128.or(low, i16x8.splat(<i16>(high << 3))), code, nearer);
    least = i16x8.min_u(least, other);
  }
  return code;
}

// Sixteen codes as bytes.
// @ts-ignore: decorator
@inline
function codesAt(codes: usize): v128 {
  return i8x16.narrow_i16x8_u(v128.load(codes), v128.load(codes, 16));
}

/** The sixteen codes before the first of a row of `count`: the last ones, again and again where there are fewer. */
export function codesBefore(codes: usize, count: usize): v128 {
  let last = i8x16.splat(0);
  let index: usize = 0;
  for (let i = 0; i < 16; i++) {
    index = index == 0 ? count - 1 : index - 1;
    last = v128.shuffle<i8>(v128.load8_splat(codes + (index << 1)), last, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
  }
  return last;
}

/** Integers, u8, of sixteen codes `now`; `old` are the sixteen before. */
// @ts-ignore: decorator
@inline
export function labelled(old: v128, now: v128, first: v128, second: v128, third: v128): v128 {
  const before1 = v128.shuffle<i8>(old, now, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
  const before2 = v128.shuffle<i8>(old, now, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
  const before3 = v128.shuffle<i8>(old, now, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
  const label = v128.xor(v128.xor(before1, before2), v128.and(before3, third));
  const low = i8x16.swizzle(first, v128.and(now, i8x16.splat(15)));
  const high = v128.and(now, i8x16.splat(0x30));
  return i8x16.add(i8x16.add(low, high), i8x16.swizzle(second, v128.and(label, i8x16.splat(7))));
}

/**
 * Values of `count` codes (u16) of a row to `y`, f32, and up to 15 more, of no meaning; `count` is a multiple of 4. Reads `codes` up to the
 * next multiple of 16. Of `table`, as by labelTable, the first 64 bytes, but for 8 to 15.
 */
export function labelValues(codes: usize, count: usize, table: usize, y: usize): void {
  if (count == 0) return;
  const step = v128.load32_splat(table);
  const zero = i16x8.splat(<i16>load<i32>(table, 4));
  const first = v128.load(table, 16);
  const second = v128.load(table, 32);
  const third = v128.load(table, 48);
  let old = codesBefore(codes, count);
  for (const end = codes + (count << 1); codes < end; codes += 32, y += 64) {
    const now = codesAt(codes);
    const u = labelled(old, now, first, second, third);
    const low = i16x8.sub(i16x8.extend_low_i8x16_u(u), zero);
    const high = i16x8.sub(i16x8.extend_high_i8x16_u(u), zero);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), step));
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), step), 16);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), step), 32);
    v128.store(y, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), step), 48);
    old = now;
  }
}
