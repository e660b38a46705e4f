// Causal attention of the query heads that share one head of keys and values:
//   s_t = (q · k_t) · scale, or the soft cap of that,  p = softmax(s),  y = Σ_t p_t v_t in ascending t
// A row is one query head of one token. Rows are worked on in tiles, two at a time, keys and values in blocks of 32. Where rows are many
// a block is widened to f32 once for all of a tile, where they are few in registers: scores.ts. Nothing of that changes a bit.

import { f16ToF32 } from '../float';
import { softCap, scale as multiplyBy } from './gate';
import { mixNarrow, mixNarrowPair, mixWide, mixWidePair } from './mix';
import { SUMS_BYTES, narrowPairs, narrowScores, prepareRoom, widePairs, wideScores } from './scores';
import { softmax } from './softmax';
import { inner } from './sums';

const BLOCK: usize = 32;
/** Rows of a tile up to which f16 is widened in registers. */
const FEW: usize = 4;
/** From here on a query times 2^112 may not be finite. */
const LARGE: f32 = 32768;
/** 2^112. */
const LIFT: f32 = 5.192296858534828e33;

/** How keys and values are kept: f32, finite f16, or f16 with infinities or NaNs among them. */
const F32: i32 = 0;
const FINITE: i32 = 1;

/** Bytes of scratch of `attend`, but for rows of scores and a block of 32 rows of `dim` f32. */
export function attendBytes(): usize {
  return SUMS_BYTES + 32;
}

/**
 * Attends with `heads` query heads of `tokens` tokens, the first at position `first`. `q` and `y` are the first of these heads
 * of the first token; a token is `stride` f32 further, a head `dim`. `keys` and `values` are (positions, dim), f32 if `kind` is 0, f16 if it
 * is 1, 2 for f16 that may not be finite. Of values the first `valueDim` elements are mixed. A token sees `window` positions, itself among
 * them; 0 for all. `cap` is that of scores, 0 for none. `sinks` are (heads), 0 for none. `scratch` holds attendBytes(), `tile` rows of
 * `span` scores, `span` at least `first + tokens + 4`, as softmax runs over, and 32 · dim f32.
 */
export function attend(
  q: usize, y: usize, tokens: usize, heads: usize, stride: usize, dim: usize, valueDim: usize, keys: usize, values: usize, kind: i32,
  first: usize, window: usize, scale: f32, cap: f32, sinks: usize, tile: usize, span: usize, scratch: usize,
): void {
  const rows = tokens * heads;
  const room = scratch;
  prepareRoom(room);
  const table = scratch + attendBytes();
  const wide = table + ((tile * span) << 2);
  for (let r0: usize = 0; r0 < rows; r0 += tile) {
    const r1 = min(r0 + tile, rows);
    const low = lowest(first + r0 / heads, window);
    const high = first + (r1 - 1) / heads + 1;
    const direct = kind == FINITE && r1 - r0 <= FEW && lifted(q, r0, r1, heads, stride, dim, wide);
    for (let t0 = low; t0 < high; t0 += BLOCK) {
      const t1 = min(t0 + BLOCK, high);
      if (direct) ask(keys + ((t0 * dim) << 1), keys + ((t1 * dim) << 1));
      const k = direct || kind == F32 ? keys : widened(keys, t0, t1 - t0, dim, dim, wide);
      for (let r = r0; r < r1; r += 2) {
        const two = r + 1 < r1;
        const next = two ? r + 1 : r;
        const position = first + r / heads;
        const beside = first + next / heads;
        const q0 = direct ? wide + (((r - r0) * dim) << 2) : queryOf(q, r, heads, stride, dim);
        const q1 = direct ? wide + (((next - r0) * dim) << 2) : queryOf(q, next, heads, stride, dim);
        const to0 = table + (((r - r0) * span - low) << 2);
        const to1 = table + (((next - r0) * span - low) << 2);
        // Keys that both see, from `start` to `end`, and those that one does.
        const start = max(t0, lowest(beside, window));
        const end = min(t1, position + 1);
        let t = max(t0, lowest(position, window));
        for (; t < min(start, end); t++) oneScore(direct, q0, k, t, dim, scale, to0, room);
        t = max(start, t);
        if (t < end) {
          const at0 = to0 + (t << 2);
          const at1 = to1 + (t << 2);
          if (direct) t = two ? narrowPairs(q0, q1, k, t, end, dim, scale, at0, at1, room) : narrowScores(q0, k, dim << 1, t, end, dim, scale, at0, room);
          else t = two ? widePairs(q0, q1, k, t, end, dim, scale, at0, at1, room) : wideScores(q0, k, t, end, dim, scale, at0, room);
          for (; t < end; t++) {
            oneScore(direct, q0, k, t, dim, scale, to0, room);
            if (two) oneScore(direct, q1, k, t, dim, scale, to1, room);
          }
        }
        if (two) {
          for (t = max(start, end); t < min(t1, beside + 1); t++) oneScore(direct, q1, k, t, dim, scale, to1, room);
        }
      }
    }
    for (let r = r0; r < r1; r++) {
      const position = first + r / heads;
      const start = lowest(position, window);
      const p = table + (((r - r0) * span + start - low) << 2);
      const count = position + 1 - start;
      if (cap > 0) softCap(p, cap, count);
      // A sink is a score behind the others, of which no value is taken.
      if (sinks) store<f32>(p + (count << 2), load<f32>(sinks + ((r % heads) << 2)));
      softmax(p, count + (sinks ? 1 : 0));
      if (direct) multiplyBy(p, LIFT, count);
      memory.fill(queryOf(y, r, heads, stride, dim), 0, valueDim << 2);
    }
    for (let t0 = low; t0 < high; t0 += BLOCK) {
      const t1 = min(t0 + BLOCK, high);
      if (direct) ask(values + ((t0 * dim) << 1), values + ((t1 * dim) << 1));
      const v = direct || kind == F32 ? values : widened(values, t0, t1 - t0, dim, valueDim, wide);
      for (let r = r0; r < r1; r += 2) {
        const two = r + 1 < r1;
        const next = two ? r + 1 : r;
        const position = first + r / heads;
        const beside = first + next / heads;
        const y0 = queryOf(y, r, heads, stride, dim);
        const y1 = queryOf(y, next, heads, stride, dim);
        const p0 = table + (((r - r0) * span - low) << 2);
        const p1 = table + (((next - r0) * span - low) << 2);
        const own = max(t0, lowest(position, window));
        const end = min(t1, position + 1);
        const start = max(t0, lowest(beside, window));
        if (!two || start >= end) {
          mixOne(direct, p0, v, own, end, dim, valueDim, y0, room);
          if (two) mixOne(direct, p1, v, start, min(t1, beside + 1), dim, valueDim, y1, room);
          continue;
        }
        mixOne(direct, p0, v, own, start, dim, valueDim, y0, room);
        mixTwo(direct, p0, p1, v, start, end, dim, valueDim, y0, y1, room);
        mixOne(direct, p1, v, end, min(t1, beside + 1), dim, valueDim, y1, room);
      }
    }
  }
}

// Queries of rows r0 to r1, times 2^112, to `to`. Whether all are finite then.
function lifted(q: usize, r0: usize, r1: usize, heads: usize, stride: usize, dim: usize, to: usize): bool {
  for (let r = r0; r < r1; r++, to += dim << 2) {
    const at = queryOf(q, r, heads, stride, dim);
    for (let i: usize = 0; i < dim; i++) {
      const x = load<f32>(at + (i << 2));
      if (!(abs(x) < LARGE)) return false;
      store<f32>(to + (i << 2), x * LIFT);
    }
  }
  return true;
}

// Reads a byte of each line of a cache from `at` to `end`: memory is asked for all of a block at once, where sums would ask for a few lines.
function ask(at: usize, end: usize): void {
  for (; at < end; at += 64) load<u8>(at);
}

// Widens the first `count` elements of rows from `start` on to `to`. Address at which row 0 would stand.
function widened(cache: usize, start: usize, rows: usize, dim: usize, count: usize, to: usize): usize {
  const from = cache + ((start * dim) << 1);
  if (count == dim) f16ToF32(from, to, rows * dim);
  else for (let t: usize = 0; t < rows; t++) f16ToF32(from + ((t * dim) << 1), to + ((t * dim) << 2), count);
  return to - ((start * dim) << 2);
}

// Where a row's query stands, or what it mixes.
// @ts-ignore: decorator
@inline
function queryOf(q: usize, r: usize, heads: usize, stride: usize, dim: usize): usize {
  return q + (((r / heads) * stride + (r % heads) * dim) << 2);
}

// The score of key `t`, where four do not go together. Nothing behind it is read: of f16 it goes four times.
function oneScore(
  direct: bool, q: usize, keys: usize, t: usize, dim: usize, scale: f32, to: usize, room: usize,
): void {
  const at = to + (t << 2);
  if (direct) {
    const four = room + SUMS_BYTES + 16;
    narrowScores(q, keys + ((t * dim) << 1), 0, 0, 4, dim, scale, four, room);
    store<f32>(at, load<f32>(four));
  } else store<f32>(at, inner(q, keys + ((t * dim) << 2), dim) * scale);
}

// What one row, or two, mix of values `t` to `end`.
function mixOne(
  direct: bool, p: usize, values: usize, t: usize, end: usize, dim: usize, count: usize, y: usize, room: usize,
): void {
  if (t >= end) return;
  const at = p + (t << 2);
  if (direct) mixNarrow(at, values + ((t * dim) << 1), dim << 1, end - t, count, y, room);
  else mixWide(at, values + ((t * dim) << 2), dim << 2, end - t, count, y);
}

function mixTwo(
  direct: bool, p0: usize, p1: usize, values: usize, t: usize, end: usize, dim: usize, count: usize, y0: usize, y1: usize, room: usize,
): void {
  const at0 = p0 + (t << 2);
  const at1 = p1 + (t << 2);
  if (direct) mixNarrowPair(at0, at1, values + ((t * dim) << 1), dim << 1, end - t, count, y0, y1, room);
  else mixWidePair(at0, at1, values + ((t * dim) << 2), dim << 2, end - t, count, y0, y1);
}

// The first position that one at `position` sees.
// @ts-ignore: decorator
@inline
export function lowest(position: usize, window: usize): usize {
  return window == 0 || position < window ? 0 : position + 1 - window;
}
