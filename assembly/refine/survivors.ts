// What survivors of the search carry: their last 4, 8 or 16 errors. An error is a byte, in units that hold ten times what a grid usually errs by.
// The errors of one step, of all states, are a plane. Step k writes the plane k modulo their number, and each of the others goes on from
// the states before to those after:
//
//   by state, of 16 old states ── swizzle by the members chosen ──▶ by child ── interleave ──▶ by place ── interleave ──▶ by state
//
// From planes by place comes what a survivor feeds back to the next step: Σ e U σ / σ', rounded down to 1/128 of the step.

import {
  childTurns,
  firstsAt,
  groupsLog,
  highsLog,
  memberTurns,
  membersLog,
  newsAt,
  OWN,
  oldsAt,
  ownOf,
  STATES,
  statesOf,
  unitLog,
  vectorAt,
} from './edges';

/** Bits behind the point of products of errors and U, in 1/128 step; U has as many more as an error's unit. */
export const PRODUCT_BITS: i32 = 7;

// Workspace: planes of errors by state and by place; planes on the way.
const BY_STATE: usize = 0;
const BY_PLACE: usize = OWN * STATES;
const CHILDREN: usize = 2 * OWN * STATES; // a plane by child
const CHOSEN: usize = CHILDREN + STATES; // of each child which of 16 old states is before it, u8
const SPARE: usize = CHOSEN + STATES; // a plane between two orders
const SIGMAS: usize = SPARE + STATES; // σ of the steps of the planes, f32

/** Bytes of workspace. */
export const SURVIVOR_BYTES: usize = SIGMAS + 4 * OWN;

/** Survivors before the first step. */
export function beginSurvivors(work: usize): void {
  memory.fill(work, 0, SURVIVOR_BYTES);
}

// @ts-ignore: decorator
@inline
function lows(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
// @ts-ignore: decorator
@inline
function highs(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Interleaves the halves of a plane, `times` times, once at least: twice at once of four quarters.
function turn(from: usize, to: usize, count: usize, times: u32, work: usize): void {
  const quarter = count >> 2;
  for (; times > 1; times -= 2) {
    let target = times > 2 ? work + SPARE : to;
    for (let x = from, end = from + quarter; x < end; x += 16, target += 64) {
      const a = v128.load(x);
      const b = v128.load(x + quarter);
      const c = v128.load(x + (quarter << 1));
      const d = v128.load(x + 3 * quarter);
      const A = lows(a, c);
      const B = highs(a, c);
      const C = lows(b, d);
      const D = highs(b, d);
      v128.store(target, lows(A, C));
      v128.store(target, highs(A, C), 16);
      v128.store(target, lows(B, D), 32);
      v128.store(target, highs(B, D), 48);
    }
    from = work + SPARE;
  }
  if (times == 0) return;
  for (let x = from, end = from + (count >> 1); x < end; x += 16, to += 32) {
    const a = v128.load(x);
    const b = v128.load(x + (count >> 1));
    v128.store(to, lows(a, b));
    v128.store(to, highs(a, b), 16);
  }
}

// Bytes of a plane.
// @ts-ignore: decorator
@inline
function planeBytes(table: usize): usize {
  return max<usize>(16, statesOf(table));
}

// Where the 16 states stand that are before the 16 children at `x`.
// @ts-ignore: decorator
@inline
function sourceOf(table: usize, x: usize): usize {
  return <usize>load<u8>(firstsAt(table) + (x >> membersLog(table)));
}

// Members of choices.
// @ts-ignore: decorator
@inline
function membersOf(choices: v128, table: usize): v128 {
  return v128.and(i16x8.shr_u(choices, highsLog(table)), vectorAt(table, 9));
}

// Errors of 16 children, of what is new and old in their integers.
// @ts-ignore: decorator
@inline
function childErrors(news: v128, olds: v128, table: usize, own: v128): v128 {
  const u = i8x16.add(news, olds);
  const units = vectorAt(table, 7);
  return i8x16.narrow_i16x8_s(
    i16x8.sub_sat_s(own, i16x8.mul(i16x8.extend_low_i8x16_u(u), units)),
    i16x8.sub_sat_s(own, i16x8.mul(i16x8.extend_high_i8x16_u(u), units)),
  );
}

// What errors are counted against, of 1/128 step from the middle, in units of errors from 0.
// @ts-ignore: decorator
@inline
function inUnits(own: i32, table: usize): v128 {
  const middle = <i32>load<f32>(table, 36);
  return i16x8.splat(<i16>((own + middle + ((1 << unitLog(table)) >> 1)) >> unitLog(table)));
}

// Of a trellis of 16 states, or fewer. Where all go to all, the three orders are one, and planes by place are enough.
// @ts-ignore: decorator
@inline
function goOnOne(work: usize, table: usize, own: v128, row: usize, planes: usize, newest: usize): void {
  const isAll = groupsLog(table) == 0;
  const turned = vectorAt(table, 8);
  let choices = v128.load(row);
  if (!isAll) choices = i8x16.swizzle(choices, turned);
  const chosen = v128.or(membersOf(choices, table), vectorAt(table, 5));
  let news = v128.load(newsAt(table, 0));
  if (highsLog(table) > 0) {
    const high = i16x8.shl(v128.and(choices, vectorAt(table, 10)), membersLog(table));
    news = i8x16.swizzle(vectorAt(table, 11), v128.or(high, vectorAt(table, 12)));
  }
  const errors = childErrors(news, i8x16.swizzle(v128.load(oldsAt(table)), chosen), table, own);
  const places = work + BY_PLACE;
  if (isAll) {
    for (let at = places; at < places + planes * STATES; at += STATES) v128.store(at, i8x16.swizzle(v128.load(at), chosen));
  } else {
    for (let plane: usize = 0; plane < planes; plane++) {
      const states = work + BY_STATE + plane * STATES;
      const v = i8x16.swizzle(v128.load(states), chosen);
      v128.store(states + BY_PLACE, v);
      v128.store(states, i8x16.swizzle(v, turned));
    }
    v128.store(work + BY_STATE + newest * STATES, i8x16.swizzle(errors, turned));
  }
  v128.store(places + newest * STATES, errors);
}

// Codes into 16 children at `x`, of which choices are `choices`.
// @ts-ignore: decorator
@inline
function newsOf(table: usize, x: usize, choices: v128): v128 {
  let news = v128.load(newsAt(table, 0) + x);
  if (highsLog(table) > 0) {
    const code = v128.and(choices, vectorAt(table, 10));
    for (let high: usize = 1; high < (<usize>1) << highsLog(table); high++) {
      news = v128.bitselect(v128.load(newsAt(table, high) + x), news, i8x16.eq(code, i8x16.splat(<i8>high)));
    }
  }
  return news;
}

// Errors of 16 children at `x`, which come from the members `chosen`.
// @ts-ignore: decorator
@inline
function errorsOf(table: usize, x: usize, choices: v128, chosen: v128, own: v128): v128 {
  const olds = i8x16.swizzle(v128.load(oldsAt(table) + sourceOf(table, x)), chosen);
  return childErrors(newsOf(table, x, choices), olds, table, own);
}

/**
 * Survivors go on by step `k`, whose choices by state are in `row`. `own`: where what errors are counted against stands, i16 in units of
 * 1/128 step from the middle; `sigma`: where its σ stands.
 */
export function survive(work: usize, table: usize, k: usize, own: usize, sigma: usize, row: usize): void {
  const planes = ownOf(table);
  const newest = k & (planes - 1);
  store<f32>(work + SIGMAS + (newest << 2), load<f32>(sigma));
  const count = planeBytes(table);
  const units = inUnits(load<i16>(own), table);
  if (count == 16) goOnOne(work, table, units, row, planes, newest);
  else if (count == 64) goOnFour(work, table, units, row, planes, newest);
  else goOnMore(work, table, units, row, count, planes, newest);
}

// Of 64 states.
// @ts-ignore: decorator
@inline
function goOnFour(work: usize, table: usize, own: v128, row: usize, planes: usize, newest: usize): void {
  const ahead = childTurns(table);
  const turns = memberTurns(table);
  let a = v128.load(row);
  let b = v128.load(row, 16);
  let c = v128.load(row, 32);
  let d = v128.load(row, 48);
  for (let i: u32 = turns; i > 0; i--) {
    const A = lows(a, c);
    const B = highs(a, c);
    c = lows(b, d);
    d = highs(b, d);
    a = A;
    b = B;
  }
  const begins = vectorAt(table, 5);
  const x0 = v128.or(membersOf(a, table), begins);
  const x1 = v128.or(membersOf(b, table), begins);
  const x2 = v128.or(membersOf(c, table), begins);
  const x3 = v128.or(membersOf(d, table), begins);
  a = errorsOf(table, 0, a, x0, own);
  b = errorsOf(table, 16, b, x1, own);
  c = errorsOf(table, 32, c, x2, own);
  d = errorsOf(table, 48, d, x3, own);
  const from0 = sourceOf(table, 0);
  const from1 = sourceOf(table, 16);
  const from2 = sourceOf(table, 32);
  const from3 = sourceOf(table, 48);
  let plane = newest;
  for (let rest = planes; ; ) {
    const states = work + BY_STATE + plane * STATES;
    const places = work + BY_PLACE + plane * STATES;
    for (let i: u32 = ahead; i > 0; i--) {
      const A = lows(a, c);
      const B = highs(a, c);
      c = lows(b, d);
      d = highs(b, d);
      a = A;
      b = B;
    }
    v128.store(places, a);
    v128.store(places, b, 16);
    v128.store(places, c, 32);
    v128.store(places, d, 48);
    for (let i: u32 = turns; i > 0; i--) {
      const A = lows(a, c);
      const B = highs(a, c);
      c = lows(b, d);
      d = highs(b, d);
      a = A;
      b = B;
    }
    v128.store(states, a);
    v128.store(states, b, 16);
    v128.store(states, c, 32);
    v128.store(states, d, 48);
    if (--rest == 0) break;
    plane = (plane + 1) & (planes - 1);
    const next = work + BY_STATE + plane * STATES;
    a = i8x16.swizzle(v128.load(next + from0), x0);
    b = i8x16.swizzle(v128.load(next + from1), x1);
    c = i8x16.swizzle(v128.load(next + from2), x2);
    d = i8x16.swizzle(v128.load(next + from3), x3);
  }
}

// Of 256 states.
// @ts-ignore: decorator
@inline
function goOnMore(work: usize, table: usize, own: v128, row: usize, count: usize, planes: usize, newest: usize): void {
  const chosen = work + CHOSEN;
  turn(row, chosen, count, memberTurns(table), work);
  const begins = vectorAt(table, 5);
  for (let x: usize = 0; x < count; x += 16) {
    const choices = v128.load(chosen + x);
    const members = v128.or(membersOf(choices, table), begins);
    v128.store(chosen + x, members);
    v128.store(work + CHILDREN + x, errorsOf(table, x, choices, members, own));
  }
  for (let plane = newest, rest = planes; ; ) {
    const states = work + BY_STATE + plane * STATES;
    const places = work + BY_PLACE + plane * STATES;
    turn(work + CHILDREN, places, count, childTurns(table), work);
    turn(places, states, count, memberTurns(table), work);
    if (--rest == 0) break;
    plane = (plane + 1) & (planes - 1);
    const next = work + BY_STATE + plane * STATES;
    for (let x: usize = 0; x < count; x += 16) {
      v128.store(work + CHILDREN + x, i8x16.swizzle(v128.load(next + sourceOf(table, x)), v128.load(chosen + x)));
    }
  }
}

// Four coefficients of planes, where scales differ.
// @ts-ignore: decorator
@inline
function scaledFour(integers: v128, sigmas: v128, inverse: v128): v128 {
  const product = f32x4.mul(f32x4.convert_i32x4_s(integers), f32x4.mul(sigmas, inverse));
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(product));
}

// Eight of them.
function scaledOf(integers: v128, sigmas: usize, inverse: v128): v128 {
  return i16x8.narrow_i32x4_s(
    scaledFour(i32x4.extend_low_i16x8_s(integers), v128.load(sigmas), inverse),
    scaledFour(i32x4.extend_high_i16x8_s(integers), v128.load(sigmas, 16), inverse),
  );
}

// Products of four places, whose errors of four planes stand two by two.
// @ts-ignore: decorator
@inline
function lowProducts(ab: v128, cd: v128, first: v128, last: v128): v128 {
  return i32x4.add(
    i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(ab), first),
    i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(cd), last),
  );
}
// @ts-ignore: decorator
@inline
function highProducts(ab: v128, cd: v128, first: v128, last: v128): v128 {
  return i32x4.add(
    i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(ab), first),
    i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(cd), last),
  );
}

/**
 * Sums what survivors feed back to step `k`, i16 by place at `to`, in units of 1/128 step. `coefficients` has U of each plane's error for it,
 * i16; `sigmas` and `inverses` are σ and 1/σ of all steps.
 */
export function feedNext(work: usize, table: usize, k: usize, coefficients: usize, sigmas: usize, inverses: usize, to: usize): void {
  const planes = ownOf(table);
  let integers = v128.load(coefficients);
  let more = v128.load(coefficients, 16);
  // Within a group all σ are alike.
  const begin = sigmas + ((k - min(k, planes)) << 2);
  const sigma = load<f32>(sigmas + (k << 2));
  let isAlike = sigma > 0;
  for (let at = begin; at < begin + (planes << 2); at += 16) {
    isAlike = isAlike && i32x4.all_true(f32x4.eq(v128.load(at), f32x4.splat(sigma)));
  }
  if (!isAlike) {
    const inverse = v128.load32_splat(inverses + (k << 2));
    integers = scaledOf(integers, work + SIGMAS, inverse);
    more = scaledOf(more, work + SIGMAS + 32, inverse);
  }
  const c01 = v128.shuffle<i32>(integers, integers, 0, 0, 0, 0);
  const c23 = v128.shuffle<i32>(integers, integers, 1, 1, 1, 1);
  const c45 = v128.shuffle<i32>(integers, integers, 2, 2, 2, 2);
  const c67 = v128.shuffle<i32>(integers, integers, 3, 3, 3, 3);
  for (let x = work + BY_PLACE, end = x + planeBytes(table); x < end; x += 16, to += 32) {
    let a = v128.load(x);
    let b = v128.load(x, STATES);
    let c = v128.load(x, 2 * STATES);
    let d = v128.load(x, 3 * STATES);
    let ab = lows(a, b);
    let cd = lows(c, d);
    let sum0 = lowProducts(ab, cd, c01, c23);
    let sum1 = highProducts(ab, cd, c01, c23);
    ab = highs(a, b);
    cd = highs(c, d);
    let sum2 = lowProducts(ab, cd, c01, c23);
    let sum3 = highProducts(ab, cd, c01, c23);
    if (planes > 4) {
      a = v128.load(x, 4 * STATES);
      b = v128.load(x, 5 * STATES);
      c = v128.load(x, 6 * STATES);
      d = v128.load(x, 7 * STATES);
      ab = lows(a, b);
      cd = lows(c, d);
      sum0 = i32x4.add(sum0, lowProducts(ab, cd, c45, c67));
      sum1 = i32x4.add(sum1, highProducts(ab, cd, c45, c67));
      ab = highs(a, b);
      cd = highs(c, d);
      sum2 = i32x4.add(sum2, lowProducts(ab, cd, c45, c67));
      sum3 = i32x4.add(sum3, highProducts(ab, cd, c45, c67));
    }
    if (planes > 8) {
      const c89 = v128.shuffle<i32>(more, more, 0, 0, 0, 0);
      const cAB = v128.shuffle<i32>(more, more, 1, 1, 1, 1);
      const cCD = v128.shuffle<i32>(more, more, 2, 2, 2, 2);
      const cEF = v128.shuffle<i32>(more, more, 3, 3, 3, 3);
      a = v128.load(x, 8 * STATES);
      b = v128.load(x, 9 * STATES);
      c = v128.load(x, 10 * STATES);
      d = v128.load(x, 11 * STATES);
      ab = lows(a, b);
      cd = lows(c, d);
      sum0 = i32x4.add(sum0, lowProducts(ab, cd, c89, cAB));
      sum1 = i32x4.add(sum1, highProducts(ab, cd, c89, cAB));
      ab = highs(a, b);
      cd = highs(c, d);
      sum2 = i32x4.add(sum2, lowProducts(ab, cd, c89, cAB));
      sum3 = i32x4.add(sum3, highProducts(ab, cd, c89, cAB));
      a = v128.load(x, 12 * STATES);
      b = v128.load(x, 13 * STATES);
      c = v128.load(x, 14 * STATES);
      d = v128.load(x, 15 * STATES);
      ab = lows(a, b);
      cd = lows(c, d);
      sum0 = i32x4.add(sum0, lowProducts(ab, cd, cCD, cEF));
      sum1 = i32x4.add(sum1, highProducts(ab, cd, cCD, cEF));
      ab = highs(a, b);
      cd = highs(c, d);
      sum2 = i32x4.add(sum2, lowProducts(ab, cd, cCD, cEF));
      sum3 = i32x4.add(sum3, highProducts(ab, cd, cCD, cEF));
    }
    v128.store(to, i16x8.narrow_i32x4_s(i32x4.shr_s(sum0, PRODUCT_BITS), i32x4.shr_s(sum1, PRODUCT_BITS)));
    v128.store(to, i16x8.narrow_i32x4_s(i32x4.shr_s(sum2, PRODUCT_BITS), i32x4.shr_s(sum3, PRODUCT_BITS)), 16);
  }
}
