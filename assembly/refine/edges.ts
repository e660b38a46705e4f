// The table that the search with error feedback reads (search.ts), made of a trellis' own (trellis/table.ts):
//
//   0      log2 of the members of a group, log2 of the groups, log2 of codes for one target, states, bits: u32 each
//   20     128 / step, 128 · zero: f32 each
//   64     of each place: Q − 64 f32 | member's choice i32 | the state there u32, three rows of 64
//   832    of each state: its place, u32
//   1088   for each code and vector of groups (or vector of codes, of one group): P and 256 P in i16, four lanes; P² in i32, four lanes
//   9280   for each state and choice: 48 times the place of the state before, u32; the value, f32
//
// States of a group differ in the oldest code, the member's. Where they stand, members are outside and groups inside: place =
// member · groups + group, so that a vector has the same member of four groups.

const QS: usize = 64;
const CHOICES: usize = 320;
const STATES: usize = 576;
const PLACES: usize = 832;
const CODES: usize = 1088;
const PATHS: usize = 9280;
const BYTES: usize = PATHS + 64 * 16 * 8;

/** Size of the table in bytes, enough for every trellis. */
export function refineTableBytes(): usize {
  return BYTES;
}

// @ts-ignore: decorator
@inline
export function qsAt(table: usize): usize {
  return table + QS;
}
// @ts-ignore: decorator
@inline
export function choicesAt(table: usize): usize {
  return table + CHOICES;
}
// @ts-ignore: decorator
@inline
export function statesAt(table: usize): usize {
  return table + STATES;
}
// @ts-ignore: decorator
@inline
export function placesAt(table: usize): usize {
  return table + PLACES;
}
// @ts-ignore: decorator
@inline
export function codesAt(table: usize): usize {
  return table + CODES;
}
// @ts-ignore: decorator
@inline
export function pathsAt(table: usize): usize {
  return table + PATHS;
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

/** Builds the table of a trellis whose table is at `from`, of codes of `bits`. */
export function refineTable(from: usize, bits: u32, table: usize): void {
  memory.fill(table, 0, BYTES);
  const m = load<u32>(from, 64);
  const logGroups = load<u32>(from, 68);
  const highs = load<u32>(from, 72);
  const states = load<u32>(from, 76);
  const groups: u32 = 1 << logGroups;
  store<u32>(table, m);
  store<u32>(table, logGroups, 4);
  store<u32>(table, highs, 8);
  store<u32>(table, states, 12);
  store<u32>(table, bits, 16);
  store<f32>(table, load<f32>(from, 8), 20);
  store<f32>(table, load<f32>(from, 12), 24);
  const step = load<f32>(from);
  const zero = load<i32>(from, 4);
  for (let state: u32 = 0; state < states; state++) {
    const member = state & ((1 << m) - 1);
    const place = member * groups + (state >> m);
    store<f32>(table + QS + (place << 2), <f32>(oldOf(from, state) - 64));
    store<u32>(table + CHOICES + (place << 2), member << (4 - m));
    store<u32>(table + STATES + (place << 2), state);
    store<u32>(table + PLACES + (state << 2), place);
  }
  let at = table + CODES;
  if (logGroups == 0) {
    for (let code: u32 = 0; code < 1 << bits; code += 4, at += 32) {
      for (let lane: u32 = 0; lane < 4; lane++) writeCode(at + (lane << 2), newOf(from, 0, code + lane, m, bits));
    }
  } else {
    for (let code: u32 = 0; code < 1 << bits; code++) {
      for (let group: u32 = 0; group < groups; group += 4, at += 32) {
        for (let lane: u32 = 0; lane < 4; lane++) {
          writeCode(at + (lane << 2), newOf(from, (group + lane) << m, code, m, bits));
        }
      }
    }
  }
  at = table + PATHS;
  for (let state: u32 = 0; state < states; state++) {
    for (let choice: u32 = 0; choice < 16; choice++, at += 8) {
      const before = ((state << m) | (choice >> (4 - m))) & (states - 1);
      const high = (choice >> (4 - m - highs)) & ((1 << highs) - 1);
      const code = (state >> logGroups) | (high << m);
      const u = oldOf(from, before) + newOf(from, before, code, m, bits);
      store<u32>(at, load<u32>(table + PLACES + (before << 2)) * 48);
      store<f32>(at, step * <f32>(u - zero), 4);
    }
  }
}

function writeCode(at: usize, p: i32): void {
  store<u32>(at, p | (p << 24));
  store<i32>(at, p * p, 16);
}
