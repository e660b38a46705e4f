// The table that the search with error feedback reads (search.ts), made of a trellis' own (trellis/table.ts, trellis/labels.ts). A step's
// integer is P of its code, at 2 bits of the code before, too, plus Q of the codes before; both are less what makes their middle 0.
//
// States are numbered as in the trellis' own table. The members of a group are consecutive: they differ in what the next step forgets. Into
// the state low · groups + turned(group) lead the codes of these low bits from all members. A choice is the member, below it the code's high
// bits. There are three orders of states (survivors.ts goes from one to the next):
//   by state   of the old states, groups outside, members inside; of the new ones low bits outside, turned groups inside
//   by child   of the new states turned groups outside, low bits inside: 16 of them come from 16 consecutive old ones
//   by place   members outside, groups inside, so that four places are four groups
//
//   0      log2 of the members of a group, log2 of the groups, log2 of codes for one target, states, log2 of the states that a
//          digit of a state's number has (search.ts), log2 of an error's unit in 1/128 step: u32 each
//   24     128 / step, 128 · zero, step, 128 · the middle, zero: f32 each; then errors of each survivor's own, u32
//   48     vectors of the search: bounds of a target, i16; half of 64 and its multiples' mask, i32; what splits h in bytes; of each child
//          where its group begins among 16 states; 128 · the middle and units of an error in a step, i16; of 16 states where each is by place, or
//          by child; masks of a member and of a code's high bits; P of each code where there are high bits and few states, and a child's low bits
//   256    of each vector of groups where its targets stand among those of the same low bits, in vectors, u8; at 320 of each group, turned
//   512    of each state the first of the states before it, u8
//   768    of each place 128 Q, i16; then its member's choice, i32
//   2304   for each code and vector of groups (or vector of codes, of one group): −P and −256 P in i16, four lanes; P² in i32, four lanes
//   18688  of each state Q, and by child, for each high bits, P of the codes into it: what a code's u is made of, u8, (9, 256)

/** Bits of a choice, which costs leave free. */
export const CHOICE_BITS: u32 = 6;
/** Most states of a trellis. */
export const STATES: usize = 256;

const VECTORS: usize = 48;
const TURNS: usize = 256;
const TURNED: usize = 320;
const FIRSTS: usize = 512;
const QS: usize = 768;
const OFFSETS: usize = QS + 2 * STATES;
const CODES: usize = OFFSETS + 4 * STATES;
const OLDS: usize = CODES + 512 * 32;
const NEWS: usize = OLDS + STATES;
const BYTES: usize = NEWS + 8 * STATES;

/** Most errors of each survivor's own. */
export const OWN: usize = 16;
/** Trellises with so few states have paths that meet soon. */
export const FEW_STATES: u32 = 16;

// Errors of each survivor's own. With few states paths meet soon. The trellis of three bits, which most plans choose, takes the quicker way.
function ownErrors(states: u32, bits: u32): u32 {
  if (states <= FEW_STATES) return 8;
  return states == 64 && bits == 3 ? 4 : 16;
}

/** The most units of an error that survivors carry: what is larger is cut. */
const MOST_UNITS: u32 = 7;
/** An error of a step is below this over 2^bits, but for one in millions: ten times what a grid's usually is. */
const REACH: f32 = 11.5;

/** Size of the table in bytes, enough for every trellis. */
export function refineTableBytes(): usize {
  return BYTES;
}

// @ts-ignore: decorator
@inline
export function membersLog(table: usize): u32 {
  return load<u32>(table);
}
// @ts-ignore: decorator
@inline
export function groupsLog(table: usize): u32 {
  return load<u32>(table, 4);
}
// @ts-ignore: decorator
@inline
export function highsLog(table: usize): u32 {
  return load<u32>(table, 8);
}
// @ts-ignore: decorator
@inline
export function statesOf(table: usize): usize {
  return <usize>load<u32>(table, 12);
}
/** The vector `i` that the search reads as it is. */
// @ts-ignore: decorator
@inline
export function vectorAt(table: usize, i: usize): v128 {
  return v128.load(table + VECTORS + (i << 4));
}
/** An error's unit is 2^(this) of 1/128 step. */
// @ts-ignore: decorator
@inline
export function unitLog(table: usize): u32 {
  return load<u32>(table, 20);
}
/** Errors of each survivor's own, 4, 8 or 16. */
// @ts-ignore: decorator
@inline
export function ownOf(table: usize): usize {
  return <usize>load<u32>(table, 44);
}
/** Steps from one following of the cheapest path to the next, 8 or 4: where states are few, paths meet sooner. */
// @ts-ignore: decorator
@inline
export function blockOf(table: usize): usize {
  return <u32>statesOf(table) > FEW_STATES ? 4 : 8;
}
/** How many interleavings of its two halves turn an order by child into one by place. */
// @ts-ignore: decorator
@inline
export function childTurns(table: usize): u32 {
  return groupsLog(table) > 0 ? groupsLog(table) - membersLog(table) : 0;
}
/** How many turn an order by place into one by state, or one by state into one by child. */
// @ts-ignore: decorator
@inline
export function memberTurns(table: usize): u32 {
  return groupsLog(table) > 0 ? membersLog(table) : 0;
}
// @ts-ignore: decorator
@inline
export function turnsAt(table: usize): usize {
  return table + TURNS;
}
// @ts-ignore: decorator
@inline
export function firstsAt(table: usize): usize {
  return table + FIRSTS;
}
// @ts-ignore: decorator
@inline
export function qsAt(table: usize): usize {
  return table + QS;
}
// @ts-ignore: decorator
@inline
export function offsetsAt(table: usize): usize {
  return table + OFFSETS;
}
// @ts-ignore: decorator
@inline
export function codesAt(table: usize): usize {
  return table + CODES;
}
// @ts-ignore: decorator
@inline
export function oldsAt(table: usize): usize {
  return table + OLDS;
}
/** By child, of the codes of high bits `high`. */
// @ts-ignore: decorator
@inline
export function newsAt(table: usize, high: usize): usize {
  return table + NEWS + high * STATES;
}
/** A group turned: the low digits of the states after it. */
// @ts-ignore: decorator
@inline
export function turnedOf(table: usize, group: usize): usize {
  return <usize>load<u8>(table + TURNED + group);
}
/** Bytes of a row of choices, of bytes by state. */
// @ts-ignore: decorator
@inline
export function choiceBytes(table: usize): usize {
  return max<usize>(16, statesOf(table));
}
/** Where a state stands by place. */
// @ts-ignore: decorator
@inline
export function placeOf(table: usize, state: usize): usize {
  const m = membersLog(table);
  return ((state & ((1 << m) - 1)) << groupsLog(table)) + (state >> m);
}
/** Where a state stands by child. */
// @ts-ignore: decorator
@inline
export function childOf(table: usize, state: usize): usize {
  const groups = groupsLog(table);
  return ((state & ((1 << groups) - 1)) << membersLog(table)) + (state >> groups);
}

// Of trellis/table.ts: Q of a state, and P of a code from it.
function oldOf(from: usize, state: u32): i32 {
  return -(<i32>load<i16>(from + 80 + (state << 2))) / 32;
}

function newOf(from: usize, state: u32, code: u32, m: u32, bits: u32): i32 {
  const size: u32 = m == 2 ? 4 : 8;
  const record = 336 + (((state / size) << bits) + code) * (16 + 16 * size);
  return -(<i32>load<i16>(from + record)) / 32;
}

// Of trellis/labels.ts, likewise: by the label of a state.
function labelledOf(from: usize, state: u32): i32 {
  const label = <u32>load<u8>(from + 96 + (state >> 3)) ^ (state & 7);
  return load<u8>(from + 32 + label);
}

function codedOf(from: usize, code: u32): i32 {
  return <i32>load<u8>(from + 16 + (code & 15)) + <i32>(code & ~15);
}

// The largest P of codes of `bits`.
function largestOf(from: usize, bits: u32): i32 {
  let largest: i32 = 0;
  for (let code: u32 = 0; code < 1 << bits; code++) largest = max(largest, codedOf(from, code));
  return largest;
}

/** Builds the table of a trellis whose table is at `from`, of codes of `bits`. @param labels 1 of one by labels, else 0 */
export function refineTable(from: usize, bits: u32, labels: u32, table: usize): void {
  memory.fill(table, 0, BYTES);
  const m = labels ? 3 : load<u32>(from, 64);
  const groupsLog = labels ? <u32>ctz(load<u32>(from, 68)) : load<u32>(from, 68);
  const highs = labels ? bits - 3 : load<u32>(from, 72);
  const groups: u32 = 1 << groupsLog;
  const states: u32 = groups << m;
  // What P and Q are less: half of the largest P, and of a trellis by labels of the largest Q, too; else what is missing to 64.
  let largestP: i32 = 0;
  let largestQ: i32 = 0;
  for (let x: usize = 0; x < 16; x++) {
    largestP = max(largestP, <i32>load<u8>(from + 16 + x));
    largestQ = max(largestQ, <i32>load<u8>(from + 32 + x));
  }
  if (labels) largestP = largestOf(from, bits);
  const middleP = largestP >> 1;
  const middleQ = labels ? largestQ >> 1 : 64 - middleP;
  const step = load<f32>(from);
  const zero = load<i32>(from, 4);
  store<u32>(table, m);
  store<u32>(table, groupsLog, 4);
  store<u32>(table, highs, 8);
  store<u32>(table, states, 12);
  store<u32>(table, labels ? m + groupsLog : m, 16);
  store<f32>(table, <f32>128 / step, 24);
  store<f32>(table, <f32>(zero << 7), 28);
  store<f32>(table, step, 32);
  store<f32>(table, <f32>((middleP + middleQ) << 7), 36);
  store<f32>(table, <f32>zero, 40);
  store<u32>(table, ownErrors(states, bits), 44);
  let unit: u32 = 1;
  while (unit < MOST_UNITS && <f32>(<u32>1 << unit) < REACH / <f32>(<u32>1 << bits) / step) unit++;
  store<u32>(table, unit, 20);
  writeVectors(table);
  for (let state: u32 = 0; state < states; state++) {
    const place = placeOf(table, state);
    const member = state & ((1 << m) - 1);
    const q = (labels ? labelledOf(from, state) : oldOf(from, state)) - middleQ;
    store<i16>(table + QS + (place << 1), <i16>(q << 7));
    store<u32>(table + OFFSETS + (place << 2), member << highs);
    const turned = state & (groups - 1);
    const group = labels ? <u32>load<u8>(from + 160 + turned) : turned;
    store<u8>(table + FIRSTS + state, <u8>(group << m));
    store<u8>(table + TURNED + group, <u8>turned);
  }
  if (highs > 0 && !labels) {
    for (let code: u32 = 0; code < 1 << bits; code++) store<u8>(table + VECTORS + 176 + code, <u8>newOf(from, 0, code, m, bits));
  }
  let at = table + CODES;
  if (groups == 1) {
    for (let code: u32 = 0; code < 1 << bits; code++) writeCode(at, code, newOf(from, 0, code, m, bits) - middleP);
  } else {
    for (let group: u32 = 0; group < groups; group += 4) {
      store<u8>(table + TURNS + (group >> 2), <u8>((labels ? <u32>load<u8>(from + 128 + group) : group) >> 2));
    }
    for (let code: u32 = 0; code < 1 << bits; code++, at += groups << 3) {
      for (let group: u32 = 0; group < groups; group++) {
        writeCode(at, group, (labels ? codedOf(from, code) : newOf(from, group << m, code, m, bits)) - middleP);
      }
    }
  }
  for (let state: u32 = 0; state < states; state++) {
    store<u8>(table + OLDS + state, <u8>(labels ? labelledOf(from, state) : oldOf(from, state)));
    const before = <u32>load<u8>(table + FIRSTS + state);
    for (let high: u32 = 0; high < 1 << highs; high++) {
      const code = (state >> groupsLog) | (high << m);
      store<u8>(newsAt(table, high) + childOf(table, state), <u8>(labels ? codedOf(from, code) : newOf(from, before, code, m, bits)));
    }
  }
}

function writeVectors(table: usize): void {
  const at = table + VECTORS;
  v128.store(at, i16x8.splat(-16384));
  v128.store(at, i16x8.splat(16383), 16);
  v128.store(at, i32x4.splat(1 << (CHOICE_BITS - 1)), 32);
  v128.store(at, i32x4.splat(-1 << CHOICE_BITS), 48);
  v128.store(at, i8x16(0, -1, 1, 2, 4, -1, 5, 6, 8, -1, 9, 10, 12, -1, 13, 14), 64);
  v128.store(at, i16x8.splat(<i16>load<f32>(table, 36)), 96);
  v128.store(at, i16x8.splat(<i16>((<u32>128) >> unitLog(table))), 112);
  const members: usize = (<usize>1) << membersLog(table);
  v128.store(at, i8x16.splat(<i8>(members - 1)), 144);
  v128.store(at, i8x16.splat(<i8>(((<u32>1) << highsLog(table)) - 1)), 160);
  for (let lane: usize = 0; lane < 16; lane++) {
    store<u8>(at + lane, groupsLog(table) > 0 ? <u8>(lane & ~(members - 1)) : 0, 80);
    store<u8>(at + lane, <u8>placeOf(table, lane), 128);
    store<u8>(at + lane, <u8>(lane & (members - 1)), 192);
  }
}

// −P to the lane `i` of vectors at `at`.
function writeCode(at: usize, i: u32, p: i32): void {
  at += ((i >> 2) << 5) + ((i & 3) << 2);
  store<u32>(at, (-p & 0xffff) | (-p << 24));
  store<i32>(at, p * p, 16);
}
