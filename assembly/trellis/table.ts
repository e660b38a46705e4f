// The table that the kernels of a trellis read:
//
//   0    step f32, zero i32, 128 / step f32, 128 · zero f32
//   16   the three tables, 16 bytes each
//   64   log2 of m, log2 of the groups of states, log2 of the codes that lead from one state to another, number of states: u32 each
//   80   of each state Q: i16 −32 Q, i16 Q²
//   336  edges
//
// A step's integer is P + Q: P of the code (and at 2 bits of the code before), Q of the codes before. A state's number is made of the last
// codes' low bits, m values each, the last code's highest; the m states of a group differ in the oldest, which the next step forgets.
// Edges of a group (of eight states where there are sixteen) and a code: a vector with −32 P and −32 Q of the state that follows, which is
// what this step's input and the next one's make of the cost; then for each state of the group the rest of the cost, and in the low bits
// the choice: the state's number in the group above the code's high bits (steps.ts).

/** Sixteen times 1/128 of a squared step: the low four bits of a cost are free. */
const COST: i32 = 2048;
const QS: usize = 80;
const EDGES: usize = 336;
const BYTES: usize = EDGES + 128 * 144;

/** Size of the table in bytes, enough for every trellis. */
export function trellisTableBytes(): usize {
  return BYTES;
}

// Low bits of an index, at most four, that a table depends on.
function bitsUsed(entries: usize): u32 {
  let bits: u32 = 0;
  for (let i: usize = 0; i < 16; i++) {
    while (load<u8>(entries + i) != load<u8>(entries + (i & ((1 << bits) - 1)))) bits++;
  }
  return bits;
}

/** Builds the table from `tables`, (3, 16) bytes, of codes of `bits`. */
export function trellisTable(tables: usize, step: f32, zero: u32, bits: u32, table: usize): void {
  store<f32>(table, step);
  store<u32>(table, zero, 4);
  store<f32>(table, <f32>128 / step, 8);
  store<f32>(table, <f32>(zero << 7), 12);
  memory.copy(table + 16, tables, 48);
  const second = bitsUsed(tables + 16);
  const third = bitsUsed(tables + 32);
  const m: u32 = bits == 2 ? 2 : max(second, third);
  const depth: u32 = (bits == 2 ? 2 : 1) + (third > 0 ? 1 : 0);
  assert(bits >= 2 && bits <= 4 && m >= 2 && m <= bits && (third == 0 || third == m || bits == 2));
  assert(depth == 1 || m * depth <= 6);
  const groups = m * (depth - 1);
  store<u32>(table, m, 64);
  store<u32>(table, groups, 68);
  store<u32>(table, bits - m, 72);
  store<u32>(table, 1 << (m + groups), 76);
  for (let state: u32 = 0; state < 1 << (m + groups); state++) {
    const q = oldPart(table, state, m, depth, bits);
    store<u32>(table + QS + (state << 2), ((-32 * q) & 0xffff) | ((q * q) << 16));
  }
  writeEdges(table, m, depth, bits);
}

// The code `lag` steps ago, its low bits, of a state of `depth` codes.
function codeOf(state: u32, lag: u32, m: u32, depth: u32): u32 {
  return lag > depth ? 0 : (state >> (m * (depth - lag))) & ((1 << m) - 1);
}

// Q.
function oldPart(table: usize, state: u32, m: u32, depth: u32, bits: u32): i32 {
  let first = codeOf(state, 1, m, depth);
  let second = codeOf(state, 2, m, depth);
  if (bits == 2) {
    first = second | (first << 2);
    second = codeOf(state, 3, m, depth) | (second << 2);
  }
  return <i32>load<u8>(table + 32 + first) + <i32>load<u8>(table + 48 + second);
}

// P.
function newPart(table: usize, code: u32, state: u32, m: u32, depth: u32, bits: u32): i32 {
  return load<u8>(table + 16 + (bits == 2 ? codeOf(state, 1, m, depth) | (code << 2) : code));
}

function writeEdges(table: usize, m: u32, depth: u32, bits: u32): void {
  const states: u32 = 1 << (m * depth);
  const size: u32 = m == 2 ? 4 : 8;
  const highs: u32 = bits - m;
  const groups = depth > 1 ? m * (depth - 1) : 0;
  let address = table + EDGES;
  for (let from: u32 = 0; from < states; from += size) {
    for (let code: u32 = 0; code < 1 << bits; code++) {
      const target = ((code & ((1 << m) - 1)) << groups) | (from >> m);
      const p = newPart(table, code, from, m, depth, bits);
      const after = oldPart(table, target, m, depth, bits);
      v128.store(address, i32x4.splat(((-32 * p) & 0xffff) | ((-32 * after) << 16)));
      address += 16;
      for (let state = from; state < from + size; state++) {
        const q = oldPart(table, state, m, depth, bits);
        const choice = ((state & ((1 << m) - 1)) << (4 - m)) | ((code >> m) << (4 - bits));
        v128.store(address, i32x4.splat((COST * (p * p + 2 * p * q + after * after)) | choice));
        address += 16;
      }
    }
  }
}

// @ts-ignore: decorator
@inline
export function qsOf(table: usize): usize {
  return table + QS;
}

// @ts-ignore: decorator
@inline
export function edgesOf(table: usize): usize {
  return table + EDGES;
}
