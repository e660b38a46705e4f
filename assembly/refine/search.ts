// The cheapest path of one sequence with error feedback. At step k a path whose errors so far are e costs D_k (y − v)² more, where
//   y = t_k + Σ_j e_j U_jk  is its own target: every state has its survivor's. Errors are those against t: e_k = t_k − v.
//
// Steps go in blocks of four. A survivor carries two vectors: what its errors feed back to the four steps of this block, and its errors in
// this block. When a block ends its errors become a segment, and the state at the block's begin the segment's parent: a tree, in which
// few ancestors are alive. The eight last segments of each survivor, 32 errors, are fed back to the next block; what is older has been
// added to the targets of all steps ahead, as the errors of the cheapest survivor.
//
// Costs are integers, of sums and targets as they are above 64: D of 64 is what a plain search has, 1/128 of a squared step times 8. Four bits below them are the choice, as in
// trellis/steps.ts, so of equal costs the lowest choice wins. Without feedback, and all D 64, paths are those of the plain search.

import { choicesAt, codesAt, pathsAt, placesAt, qsAt, statesAt } from './edges';

/** Errors that a survivor feeds back itself, in blocks of four. */
const SEGMENTS: usize = 8;
const RING: usize = SEGMENTS + 1;
/** What a state costs more where no path may start. */
const EXCLUDED: i32 = 1 << 29;
/** Steps on either side of the seam. */
const WARM_UP: usize = 32;
/** 1.5 · 2^23: added to what is below 2^22 it leaves the nearest integer, the even one of two, in the last bits. */
const MAGIC: f32 = 12582912;
/** Bytes of a block's coefficients: of 36 errors, each for four steps. */
const COEFFICIENTS: usize = 36 << 4;

// Workspace, places of 64 states each:
const RECORD: usize = 48;
const SIDE: usize = 64 * RECORD;
const COSTS: usize = 0;
const P: usize = 256;
const R: usize = 512;
const BEST: usize = 768;
const SURVIVORS: usize = 1024; // twice 64 records: feedback to this block, errors in it, the parent's place
const RING_ERRORS: usize = SURVIVORS + 2 * SIDE; // 9 times 64 vectors
const RING_PARENTS: usize = RING_ERRORS + RING * 1024;
const SUMS: usize = RING_PARENTS + RING * 256; // 9 times 64 vectors
const LIVE: usize = SUMS + 9 * 1024; // 9 times (count, 64 u32)
const MARKS: usize = LIVE + 9 * 260;
const STEPS: usize = (MARKS + 64 + 15) & ~15;

/** Bytes of workspace of a sequence of `steps`. */
export function refineScratchBytes(steps: usize): usize {
  return STEPS + (max(steps, 2 * WARM_UP) + 16) * (64 + 256 + 24);
}

// @ts-ignore: decorator
@inline
function choiceRows(work: usize): usize {
  return work + STEPS;
}

// @ts-ignore: decorator
@inline
function targetRows(work: usize, steps: usize): usize {
  return choiceRows(work) + (max(steps, 2 * WARM_UP) + 16) * 64;
}

// The same float of four records.
// @ts-ignore: decorator
@inline
function strided(at: usize): v128 {
  let v = v128.load32_zero(at);
  v = f32x4.replace_lane(v, 1, load<f32>(at, RECORD));
  v = f32x4.replace_lane(v, 2, load<f32>(at, 2 * RECORD));
  return f32x4.replace_lane(v, 3, load<f32>(at, 3 * RECORD));
}

// What each state adds to a step's edges, and what multiplies their codes; its own target to `targets`.
function prepare(
  work: usize, table: usize, feedback: usize, z: f32, fed: f32, inverse: f32, d: i32, targets: usize,
): void {
  const end = (<usize>load<u32>(table, 12)) << 2;
  const qs = qsAt(table);
  const choices = choicesAt(table);
  const factor = v128.load32_splat(table, 20);
  const offset = v128.load32_splat(table, 24);
  const linear = f32x4.splat(<f32>d * 0.015625);
  const square = f32x4.splat(<f32>d * 0.00006103515625);
  const d4 = f32x4.splat(<f32>d);
  const z4 = f32x4.splat(z);
  const fed4 = f32x4.splat(fed);
  const inverse4 = f32x4.splat(inverse);
  const magic = f32x4.splat(MAGIC);
  for (let x: usize = 0; x < end; x += 16) {
    const own = f32x4.mul(f32x4.add(fed4, strided(feedback)), inverse4);
    feedback += 4 * RECORD;
    const y = f32x4.add(z4, own);
    v128.store(targets + x, y);
    const t = f32x4.sub(
      f32x4.pmax(f32x4.pmin(f32x4.add(f32x4.mul(y, factor), offset), f32x4.splat(24575)), f32x4.splat(-8192)),
      f32x4.splat(8192),
    );
    const input = f32x4.sub(f32x4.add(f32x4.mul(t, linear), magic), magic);
    const alone = f32x4.sub(f32x4.add(f32x4.mul(f32x4.mul(t, t), square), magic), magic);
    const q = v128.load(qs + x);
    const dq = f32x4.mul(d4, q);
    const half = f32x4.sub(dq, input);
    const cost = i32x4.shl(i32x4.trunc_sat_f32x4_s(f32x4.add(alone, f32x4.mul(q, half))), 4);
    v128.store(work + P + x, i32x4.add(i32x4.add(v128.load(work + COSTS + x), cost), v128.load(choices + x)));
    // Below the magic number's last bit there is nothing: its low bits are the integer's.
    const slope = i32x4.shl(f32x4.add(f32x4.add(half, dq), magic), 4);
    v128.store(
      work + R + x,
      v128.or(v128.and(slope, i32x4.splat(255)), v128.and(i32x4.shl(slope, 8), i32x4.splat(0xffff0000))),
    );
  }
}

// @ts-ignore: decorator
@inline
function edge(p: v128, r: v128, code: v128): v128 {
  return i32x4.add(p, i32x4.dot_i16x8_s(r, code));
}

// The cheapest edge into each state, in the order of states. One group: all states go to all.
function bestOfOne(work: usize, table: usize, d: i32): void {
  const states = <usize>load<u32>(table, 12);
  const m = load<u32>(table);
  const highs = load<u32>(table, 8);
  const vectors = states >> 2;
  const scale = i32x4.splat(d << 4);
  for (let low: usize = 0; low < vectors; low++) {
    let best = i32x4.splat(i32.MAX_VALUE);
    for (let high: usize = 0; high < (<usize>1) << highs; high++) {
      const at = codesAt(table) + ((high * vectors + low) << 5);
      const code = v128.load(at);
      let v = i32x4.splat(i32.MAX_VALUE);
      for (let x: usize = 0; x < states << 2; x += 16) {
        v = i32x4.min_s(v, edge(v128.load32_splat(work + P + x), v128.load32_splat(work + R + x), code));
        v = i32x4.min_s(v, edge(v128.load32_splat(work + P + x, 4), v128.load32_splat(work + R + x, 4), code));
        v = i32x4.min_s(v, edge(v128.load32_splat(work + P + x, 8), v128.load32_splat(work + R + x, 8), code));
        v = i32x4.min_s(v, edge(v128.load32_splat(work + P + x, 12), v128.load32_splat(work + R + x, 12), code));
      }
      const more = i32x4.add(i32x4.mul(v128.load(at, 16), scale), i32x4.splat(<i32>high << (4 - m - highs)));
      best = i32x4.min_s(best, i32x4.add(v, more));
    }
    v128.store(work + BEST + (low << 4), best);
  }
}

// As bestOfOne, of groups whose states go to the same targets; vectors are of four groups.
function bestOfGroups(work: usize, table: usize, d: i32): void {
  const m = load<u32>(table);
  const highs = load<u32>(table, 8);
  const bytes = (<usize>4) << load<u32>(table, 4);
  const members = (<usize>1) << m;
  const scale = i32x4.splat(d << 4);
  const lows = (<usize>1) << m;
  for (let g: usize = 0; g < bytes; g += 16) {
    const p = work + P + g;
    const r = work + R + g;
    for (let low: usize = 0; low < lows; low++) {
      let best = i32x4.splat(i32.MAX_VALUE);
      for (let high: usize = 0; high < (<usize>1) << highs; high++) {
        const at = codesAt(table) + (((high << m) | low) * bytes << 1) + (g << 1);
        const code = v128.load(at);
        let x: usize = 0;
        let v = i32x4.splat(i32.MAX_VALUE);
        for (let member: usize = 0; member < members; member += 4) {
          v = i32x4.min_s(v, edge(v128.load(p + x), v128.load(r + x), code));
          x += bytes;
          v = i32x4.min_s(v, edge(v128.load(p + x), v128.load(r + x), code));
          x += bytes;
          v = i32x4.min_s(v, edge(v128.load(p + x), v128.load(r + x), code));
          x += bytes;
          v = i32x4.min_s(v, edge(v128.load(p + x), v128.load(r + x), code));
          x += bytes;
        }
        const more = i32x4.add(i32x4.mul(v128.load(at, 16), scale), i32x4.splat(<i32>high << (4 - m - highs)));
        best = i32x4.min_s(best, i32x4.add(v, more));
      }
      v128.store(work + BEST + low * bytes + g, best);
    }
  }
}

// The least of the new costs, without choices.
function leastOf(work: usize, states: usize): i32 {
  let v = v128.load(work + BEST);
  for (let x: usize = 16; x < states << 2; x += 16) v = i32x4.min_s(v, v128.load(work + BEST + x));
  v = i32x4.min_s(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  v = i32x4.min_s(v, v128.shuffle<i32>(v, v, 1, 0, 3, 2));
  return i32x4.extract_lane(v, 0) & -16;
}

// Survivors go on: `side` tells which half their records are in. `row` gets choices, below other bits.
// @ts-ignore: decorator
@inline
function survive(
  work: usize, table: usize, side: usize, lane: usize, t: f32, sigma: f32, coefficients: usize, row: usize,
): void {
  const states = <usize>load<u32>(table, 12);
  const base = leastOf(work, states);
  const from = work + SURVIVORS + side * SIDE;
  const to = work + SURVIVORS + (side ^ 1) * SIDE;
  const coefficient = v128.load(coefficients);
  const groups = (<usize>1) << load<u32>(table, 4);
  const members = states / groups;
  const own: usize = 16 + (lane << 2);
  let path = pathsAt(table);
  let best = work + BEST;
  for (let group: usize = 0; group < groups; group++) {
    let cost = work + COSTS + (group << 2);
    let record = to + group * RECORD;
    for (const end = best + (members << 2); best < end; best += 4, path += 128, row++) {
      const v = load<i32>(best);
      const entry = path + (<usize>(v & 15) << 3);
      const before = from + <usize>load<u32>(entry);
      const e = sigma * (t - load<f32>(entry, 4));
      v128.store(record, f32x4.add(v128.load(before), f32x4.mul(f32x4.splat(e), coefficient)));
      v128.store(record, v128.load(before, 16), 16);
      store<u32>(record, load<u32>(before, 32), 32);
      store<f32>(record + own, e);
      store<i32>(cost, (v & -16) - base);
      store<u8>(row, <u8>v);
      cost += groups << 2;
      record += groups * RECORD;
    }
  }
}

// As survive, where nothing is fed back.
// @ts-ignore: decorator
@inline
function goOn(work: usize, table: usize, row: usize): void {
  const states = <usize>load<u32>(table, 12);
  const base = leastOf(work, states);
  for (let state: usize = 0; state < states; state++) {
    const v = load<i32>(work + BEST + (state << 2));
    const place = <usize>load<u32>(placesAt(table) + (state << 2));
    store<i32>(work + COSTS + (place << 2), (v & -16) - base);
    store<u8>(row + state, <u8>v);
  }
}

// The place of the cheapest state, the lowest state of several.
function cheapestPlace(work: usize, table: usize): usize {
  const states = <usize>load<u32>(table, 12);
  let best: usize = 0;
  let least = i32.MAX_VALUE;
  for (let state: usize = 0; state < states; state++) {
    const place = <usize>load<u32>(placesAt(table) + (state << 2));
    const cost = load<i32>(work + COSTS + (place << 2));
    if (cost < least) {
      least = cost;
      best = place;
    }
  }
  return best;
}

// Ends block `t`: its errors become segments; what the last eight feed back to the next block goes to the survivors on `side`.
function endBlock(work: usize, table: usize, side: usize, t: usize, coefficients: usize): void {
  const states = <usize>load<u32>(table, 12);
  const slot = t % RING;
  const survivors = work + SURVIVORS + side * SIDE;
  for (let x: usize = 0, record = survivors; x < states; x++, record += RECORD) {
    v128.store(work + RING_ERRORS + (slot << 10) + (x << 4), v128.load(record, 16));
    store<u32>(work + RING_PARENTS + (slot << 8) + (x << 2), load<u32>(record, 32));
  }
  // Segments alive, from the newest level to the oldest.
  const levels = min(SEGMENTS, t + 1);
  let live = work + LIVE;
  store<u32>(live, <u32>states);
  for (let x: usize = 0; x < states; x++) store<u32>(live + 4 + (x << 2), <u32>x);
  for (let level: usize = 1; level < levels; level++) {
    const parents = work + RING_PARENTS + (((t + 1 - level) % RING) << 8);
    const next = live + 260;
    memory.fill(work + MARKS, 0, 64);
    let count: usize = 0;
    for (let i: usize = 0; i < <usize>load<u32>(live); i++) {
      const parent = load<u32>(parents + (<usize>load<u32>(live + 4 + (i << 2)) << 2));
      if (load<u8>(work + MARKS + parent)) continue;
      store<u8>(work + MARKS + parent, 1);
      store<u32>(next + 4 + (count << 2), parent);
      count++;
    }
    store<u32>(next, <u32>count);
    live = next;
  }
  for (let level = levels; level-- > 0; live -= 260) {
    const from = (t - level) % RING;
    const errors = work + RING_ERRORS + (from << 10);
    const parents = work + RING_PARENTS + (from << 8);
    const older = work + SUMS + ((level + 1) << 10);
    const sums = work + SUMS + (level << 10);
    const c = coefficients + ((SEGMENTS - 1 - level) << 6);
    const c0 = v128.load(c);
    const c1 = v128.load(c, 16);
    const c2 = v128.load(c, 32);
    const c3 = v128.load(c, 48);
    for (let i: usize = 0; i < <usize>load<u32>(live); i++) {
      const x = <usize>load<u32>(live + 4 + (i << 2));
      let sum = f32x4.splat(0);
      if (level + 1 < levels) sum = v128.load(older + (<usize>load<u32>(parents + (x << 2)) << 4));
      const e = errors + (x << 4);
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(e), c0));
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(e, 4), c1));
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(e, 8), c2));
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(e, 12), c3));
      v128.store(sums + (x << 4), sum);
    }
  }
  for (let x: usize = 0, record = survivors; x < states; x++, record += RECORD) {
    v128.store(record, v128.load(work + SUMS + (x << 4)));
    store<u32>(record, <u32>x, 32);
  }
}

// Adds the errors that leave the window of the cheapest survivor to what is fed to all steps from `first` on.
function commit(work: usize, table: usize, t: usize, first: usize, rows: usize, ends: usize, fed: usize): void {
  let x = cheapestPlace(work, table);
  for (let level: usize = 0; level < SEGMENTS; level++) {
    x = <usize>load<u32>(work + RING_PARENTS + (((t - level) % RING) << 8) + (x << 2));
  }
  const errors = work + RING_ERRORS + (((t - SEGMENTS) % RING) << 10) + (x << 4);
  for (let i: usize = 0; i < 4; i++) {
    const source = ((t - SEGMENTS) << 2) + i;
    const e = load<f32>(errors + (i << 2));
    const row = <usize>load<u32>(rows + (source << 2));
    const end = <usize>load<u32>(ends + (source << 2));
    let k = first;
    for (; k + 4 <= end; k += 4) {
      const at = fed + (k << 2);
      v128.store(at, f32x4.add(v128.load(at), f32x4.mul(f32x4.splat(e), v128.load(row + (k << 2)))));
    }
    for (; k < end; k++) store<f32>(fed + (k << 2), load<f32>(fed + (k << 2)) + e * load<f32>(row + (k << 2)));
  }
}

function start(work: usize, table: usize, only: i32): void {
  const states = <usize>load<u32>(table, 12);
  memory.fill(work, 0, STEPS);
  for (let x: usize = 0; x < states; x++) {
    const excluded = only >= 0 && <i32>load<u32>(statesAt(table) + (x << 2)) != only;
    store<i32>(work + COSTS + (x << 2), excluded ? EXCLUDED : 0);
    store<u32>(work + SURVIVORS + x * RECORD, <u32>x, 32);
  }
}

// @ts-ignore: decorator
@inline
function bestEdges(work: usize, table: usize, d: i32): void {
  if (load<u32>(table, 4) == 0) bestOfOne(work, table, d);
  else bestOfGroups(work, table, d);
}

// The state before the last `count` choices from `state`.
function stateBefore(work: usize, table: usize, steps: usize, state: u32, count: usize): u32 {
  const m = load<u32>(table);
  const mask = load<u32>(table, 12) - 1;
  for (; count > 0; count--) {
    steps--;
    const choice = <u32>load<u8>(choiceRows(work) + (steps << 6) + state) & 15;
    state = ((state << m) | (choice >> (4 - m))) & mask;
  }
  return state;
}

// The cheapest state, of several the one whose codes are lowest, the last code's bits lowest.
function cheapestState(work: usize, table: usize): u32 {
  const m = load<u32>(table);
  const states = load<u32>(table, 12);
  let best: u32 = 0;
  let least = i32.MAX_VALUE;
  for (let number: u32 = 0; number < states; number++) {
    let state: u32 = 0;
    for (let rest: u32 = 1, digits = number; rest < states; rest <<= m, digits >>= m) {
      state = (state << m) | (digits & ((1 << m) - 1));
    }
    const cost = load<i32>(work + COSTS + (<usize>load<u32>(placesAt(table) + (<usize>state << 2)) << 2));
    if (cost < least) {
      least = cost;
      best = state;
    }
  }
  return best;
}

// The seam's state, by the last steps and the first ones, without feedback.
function seamOf(t: usize, ds: usize, steps: usize, table: usize, work: usize): u32 {
  if (steps < 3) return 0;
  const half = min(steps, WARM_UP);
  start(work, table, -1);
  for (let i: usize = 0; i < 2 * half; i++) {
    const k = i < half ? steps - half + i : i - half;
    const d = load<i32>(ds + (k << 2));
    prepare(work, table, work + SURVIVORS, load<f32>(t + (k << 2)), 0, 0, d, work + SUMS);
    bestEdges(work, table, d);
    goOn(work, table, choiceRows(work) + (i << 6));
  }
  return stateBefore(work, table, 2 * half, cheapestState(work, table), half);
}

/**
 * The best codes of a sequence of `steps`: to `codes`, u16, `stride` elements apart; what they stand for to `values`, and what each missed
 * of its own target to `missed`, f32, of unit RMS.
 * `z`: the rotated weights, of unit RMS. `fed`: what errors elsewhere feed back, in the weights' units; it is changed. `own`: what errors
 * are counted against, of unit RMS. `inverses` and `sigmas`: 1/σ and σ
 * of each step. `ds`: D, 64 being the middle, i32. `coefficients`: for each block of four steps U of 36 errors, from 32 steps before it on,
 * each for its four steps. `rows`, `ends`: of each step where its row of U stands, as if from step 0 on, and the step behind its part.
 * `table` as by refineTable.
 */
export function refineSequence(
  steps: usize, z: usize, fed: usize, own: usize, inverses: usize, sigmas: usize, ds: usize,
  coefficients: usize, rows: usize, ends: usize, table: usize,
  codes: usize, stride: usize, values: usize, missed: usize, work: usize,
): void {
  const choices = choiceRows(work);
  const targets = targetRows(work, steps);
  const first = targets + (max(steps, 2 * WARM_UP) + 16) * 256; // targets without what a path feeds back itself
  for (let k: usize = 0; k < steps << 2; k += 4) {
    store<f32>(first + k, load<f32>(z + k) + load<f32>(fed + k) * load<f32>(inverses + k));
  }
  const seam = seamOf(first, ds, steps, table, work);
  start(work, table, <i32>seam);
  let side: usize = 0;
  for (let k: usize = 0; k < steps; k++) {
    const lane = k & 3;
    const d = load<i32>(ds + (k << 2));
    prepare(
      work, table, work + SURVIVORS + side * SIDE + (lane << 2), load<f32>(z + (k << 2)), load<f32>(fed + (k << 2)),
      load<f32>(inverses + (k << 2)), d, targets + (k << 8),
    );
    bestEdges(work, table, d);
    const block = coefficients + (k >> 2) * COEFFICIENTS;
    survive(
      work, table, side, lane, load<f32>(own + (k << 2)), load<f32>(sigmas + (k << 2)),
      block + ((32 + lane) << 4), choices + (k << 6),
    );
    side ^= 1;
    if (lane == 3 && k + 1 < steps) {
      const t = k >> 2;
      endBlock(work, table, side, t, block + COEFFICIENTS);
      if (t >= SEGMENTS) commit(work, table, t, k + 1, rows, ends, fed);
    }
  }
  const m = load<u32>(table);
  const logGroups = load<u32>(table, 4);
  const highs = load<u32>(table, 8);
  let state = seam;
  for (let k = steps; k-- > 0; ) {
    const choice = <u32>load<u8>(choices + (k << 6) + state) & 15;
    const entry = pathsAt(table) + (((<usize>state << 4) | choice) << 3);
    const value = load<f32>(entry, 4);
    const high = (choice >> (4 - m - highs)) & ((1 << highs) - 1);
    store<u16>(codes + k * stride * 2, <u16>((state >> logGroups) | (high << m)));
    store<f32>(values + (k << 2), value);
    store<f32>(missed + (k << 2), load<f32>(targets + (k << 8) + (<usize>load<u32>(entry) / RECORD << 2)) - value);
    state = ((state << m) | (choice >> (4 - m))) & (load<u32>(table, 12) - 1);
  }
}
