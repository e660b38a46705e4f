// Attention over keys and values that are codes with scales: cachecodes.ts has them. A row is a query head of a token, as in attention.ts.
//   s_t = (Σ q k_t) · (σ_t c)        q rotated and rounded to i16: its elements are q · c / scale
//   y  += (Σ w_t v_t) · f            w_t = p_t σ_t of 64 positions, rounded to i16 with one factor f; y is rotated back in the end
// Sums in brackets are of integers. Blocks of 64 begin at multiples of 64 of the sequence's positions, and each row has factors of its own,
// so a result depends on neither tiles nor threads. Keys may be two parts, each rotated for itself and with a scale of its own, whose
// scores are added: the latent and the rotated key of latent attention. Values are the first part then.

import { lowest } from './attention';
import { filled, largest, rotateOrCopy, rotateBack, unpackLevels } from './cachecodes';
import { fourScales, mixCodes, mixCodesPair, oneCodeScores, twoCodeScores } from './codeproducts';
import { softCap } from './gate';
import { softmax } from './softmax';

const BLOCK: usize = 64;
/** Of a query's integers: with codes of 8 bits and as many elements a sum stays below 2^31. */
const LEVELS: usize = 32767;
/** What is smaller counts as zero: its reciprocal would be infinite. */
const LEAST: f32 = 1e-30;

/** Bytes of scratch that `attendCodes` needs for a row: what it mixes, its query as integers, their two factors, weights of a block, their factor. */
export function codeRowBytes(dim: usize, more: usize): usize {
  return (filled(dim) << 2) + ((filled(dim) + filled(more)) << 1) + 16 + (BLOCK << 1) + 16;
}

/** Bytes of scratch beside scores and rows: a vector and its rotated one, weights of a block, and a block of levels. */
export function codeBlockBytes(dim: usize, more: usize): usize {
  return (max(filled(dim), filled(more)) << 3) + (BLOCK << 2) + BLOCK * (filled(dim) + filled(more));
}

/**
 * Attends with `heads` query heads of `tokens` tokens, as `attend` does. `q` and `y` are heads of `dim` + `more` elements, of which `y` gets
 * the first `dim`. `keys` and `values` are codes of `bits`, rows of `row` and `valueRow` bytes; a key is a part of `dim` elements and one
 * of `more`, 0 for none, each with scales of its own, (positions) f16. `masks` by signs, 0 where nothing is rotated. `scratch` holds
 * `tile` rows of `span` scores, codeRowBytes() for each, and codeBlockBytes(). Of scales up to 6 bytes behind the last are read.
 */
export function attendCodes(
  q: usize, y: usize, tokens: usize, heads: usize, stride: usize, dim: usize, more: usize, keys: usize, row: usize, keyScales: usize,
  moreScales: usize, values: usize, valueRow: usize, valueScales: usize, bits: u32, masks: usize, first: usize, window: usize,
  scale: f32, cap: f32, sinks: usize, tile: usize, span: usize, scratch: usize,
): void {
  const rows = tokens * heads;
  const wide = filled(dim);
  const beside = filled(more);
  const rowBytes = codeRowBytes(dim, more);
  const mixed = scratch + ((tile * span) << 2); // of each row: what it mixes, query, factors, weights, factor
  const query = mixed + (wide << 2);
  const factors = query + ((wide + beside) << 1);
  const weights = factors + 16;
  const vector = mixed + tile * rowBytes;
  const block = vector + (max(wide, beside) << 3) + (BLOCK << 2);
  for (let r0: usize = 0; r0 < rows; r0 += tile) {
    const r1 = min(r0 + tile, rows);
    const low = lowest(first + r0 / heads, window);
    const high = first + (r1 - 1) / heads + 1;
    for (let r = r0; r < r1; r++) {
      const own = (r - r0) * rowBytes;
      const at = q + (((r / heads) * stride + (r % heads) * (dim + more)) << 2);
      store<f32>(factors + own, quantize(at, masks, dim, vector, query + own) * scale);
      if (more) store<f32>(factors + own, quantize(at + (dim << 2), masks, more, vector, query + own + (wide << 1)) * scale, 4);
      memory.fill(mixed + own, 0, wide << 2);
    }
    for (let t0 = low; t0 < high; t0 = (t0 & ~(BLOCK - 1)) + BLOCK) {
      const t1 = min((t0 & ~(BLOCK - 1)) + BLOCK, high);
      const count = t1 - t0;
      let k = keys + t0 * row;
      let other = k + wide;
      let apart = row;
      let otherApart = row;
      if (bits == 4) {
        other = block + count * wide;
        unpackLevels(k, row, count, wide, block);
        if (more) unpackLevels(k + (wide >> 1), row, count, beside, other);
        k = block;
        apart = wide;
        otherApart = beside;
      }
      const s = keyScales + (t0 << 1);
      const others = moreScales + (t0 << 1);
      for (let r = r0; r < r1; r += 2) {
        const a = (r - r0) * rowBytes;
        const b = a + rowBytes;
        const to0 = scratch + (((r - r0) * span + t0 - low) << 2);
        const to1 = to0 + (span << 2);
        const f0 = load<f32>(factors + a);
        const g0 = load<f32>(factors + a, 4);
        if (r + 1 == r1) {
          oneCodeScores(query + a, k, apart, s, count, wide, f0, to0, false);
          if (more) oneCodeScores(query + a + (wide << 1), other, otherApart, others, count, beside, g0, to0, true);
          continue;
        }
        const f1 = load<f32>(factors + b);
        const g1 = load<f32>(factors + b, 4);
        twoCodeScores(query + a, query + b, k, apart, s, count, wide, f0, f1, to0, to1, false);
        if (more) {
          const q0 = query + a + (wide << 1);
          const q1 = query + b + (wide << 1);
          twoCodeScores(q0, q1, other, otherApart, others, count, beside, g0, g1, to0, to1, true);
        }
      }
    }
    for (let r = r0; r < r1; r++) {
      const position = first + r / heads;
      const start = lowest(position, window);
      const p = scratch + (((r - r0) * span + start - low) << 2);
      const count = position + 1 - start;
      if (cap > 0) softCap(p, cap, count);
      if (sinks) store<f32>(p + (count << 2), load<f32>(sinks + ((r % heads) << 2)));
      softmax(p, count + (sinks ? 1 : 0));
    }
    for (let t0 = low; t0 < high; t0 = (t0 & ~(BLOCK - 1)) + BLOCK) {
      const t1 = min((t0 & ~(BLOCK - 1)) + BLOCK, high);
      const count = t1 - t0;
      let v = values + t0 * valueRow;
      let apart = valueRow;
      if (bits == 4) {
        unpackLevels(v, valueRow, count, wide, block);
        v = block;
        apart = wide;
      }
      for (let r = r0; r < r1; r++) {
        const position = first + r / heads;
        const start = max(t0, lowest(position, window));
        const end = min(t1, position + 1);
        const own = (r - r0) * rowBytes;
        const p = scratch + (((r - r0) * span - low) << 2);
        const room = vector + (max(wide, beside) << 3);
        store<f32>(factors + own, weigh(p, valueScales, t0, start, end, room, weights + own), 8);
      }
      for (let r = r0; r < r1; r += 2) {
        const a = (r - r0) * rowBytes;
        const b = a + rowBytes;
        const f0 = load<f32>(factors + a, 8);
        if (r + 1 == r1) mixCodes(weights + a, f0, v, apart, count, wide, mixed + a);
        else mixCodesPair(weights + a, weights + b, f0, load<f32>(factors + b, 8), v, apart, count, wide, mixed + a, mixed + b);
      }
    }
    for (let r = r0; r < r1; r++) {
      rotateBack(mixed + (r - r0) * rowBytes, masks, dim, y + (((r / heads) * stride + (r % heads) * (dim + more)) << 2));
    }
  }
}

// A query's part of `count` elements, rotated, as i16 to `to`, filled with zeros. Returns what they are to be multiplied with.
function quantize(x: usize, masks: usize, count: usize, room: usize, to: usize): f32 {
  const all = filled(count);
  rotateOrCopy(x, masks, count, room);
  memory.fill(room + (count << 2), 0, (all - count) << 2);
  const levels = <f32>min(LEVELS, (<usize>1 << 24) / all - 1);
  return integers(room, largest(room, all), all, levels, to);
}

// `count` f32, a multiple of eight, as i16 in units of the result: `most` is `levels` of them.
function integers(x: usize, most: f32, count: usize, levels: f32, to: usize): f32 {
  if (most < LEAST) {
    memory.fill(to, 0, count << 1);
    return 0;
  }
  const factor = f32x4.splat(levels / most);
  for (const end = x + (count << 2); x < end; x += 32, to += 16) {
    const low = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x), factor)));
    const high = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x, 16), factor)));
    v128.store(to, i16x8.narrow_i32x4_s(low, high));
  }
  return most / levels;
}

// Weights p_t σ_t of positions `start` to `end` of the block that begins at `t0`, zero for its others, as i16 to `to`. Returns their factor.
function weigh(p: usize, scales: usize, t0: usize, start: usize, end: usize, room: usize, to: usize): f32 {
  memory.fill(room, 0, BLOCK << 2);
  if (start < end) {
    for (let t = start; t < end; t += 4) {
      const w = f32x4.mul(v128.load(p + (t << 2)), fourScales(scales + (t << 1)));
      const at = room + ((t - t0) << 2);
      if (t + 4 <= end) {
        v128.store(at, w);
        continue;
      }
      v128.store32_lane(at, w, 0);
      if (t + 1 < end) v128.store32_lane(at, w, 1, 4);
      if (t + 2 < end) v128.store32_lane(at, w, 2, 8);
    }
  }
  return integers(room, largest(room, BLOCK), BLOCK, 32767, to);
}
