// Products of integers u in 0 … 127 with an activation, in five forms that give the same sums. A vector of u is a step of a band
// (band.ts): four columns of four rows. Four columns of a row add to one lane, so that nothing is folded.
//
//   plain          u as i16 is e + 256 · o. e is not cut out: (e + 256 · o) · x_e + o · (x_o - 256 · x_e) = e · x_e + o · x_o,
//                  with |x_o - 256 · x_e| < 2^15, sums modulo 2^32
//   FUSED          relaxed SIMD: one instruction where the processor has it (AVX-VNNI, ARM's sdot), else five
//   PAIRS          relaxed SIMD: pairs of products in i16, at most 2 · 127 · 127 < 2^15, then pairs of these: three instructions
//
//   EIGHTS         as FUSED, eight activations at once (eights.ts): twice as quick where an engine makes two vectors into one
//   EIGHTS_PAIRS   as PAIRS, eight activations at once: for processors that have no such instruction
//
// u and |x| are below 128, so no machine saturates and all give the same. Which form is quicker, for one activation and for several, loops
// tell (src/model/form.ts).

// @ts-ignore: decorator
@inline
export const FUSED: u32 = 0;
// @ts-ignore: decorator
@inline
export const PAIRS: u32 = 1;
// @ts-ignore: decorator
@inline
export const EIGHTS: u32 = 2;

/** PAIRS or EIGHTS_PAIRS, which is 3. */
// @ts-ignore: decorator
@inline
export function isPairs(form: u32): bool {
  return ASC_FEATURE_RELAXED_SIMD && (form & 1) == 1;
}

/** Bytes of four columns of an activation, narrow: activation.ts. */
// @ts-ignore: decorator
@inline
export const STEP: usize = ASC_FEATURE_RELAXED_SIMD ? 4 : 8;

/** Adds the products of a step: `odd` is oddOf u, `ones` 1 in lanes of i16, `x` and `y` its columns, the same with relaxed SIMD. */
// @ts-ignore: decorator
@inline
export function addStep(sum: v128, u: v128, odd: v128, x: v128, y: v128, ones: v128, form: u32): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (form == FUSED) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, u, sum);
    return i32x4.add(sum, i32x4.dot_i16x8_s(v128.relaxed_dot<i16>(x, u), ones));
  }
  return i32x4.add(i32x4.add(sum, i32x4.dot_i16x8_s(u, x)), i32x4.dot_i16x8_s(odd, y));
}

/** The products of a step alone. */
// @ts-ignore: decorator
@inline
function firstStep(u: v128, odd: v128, x: v128, y: v128, ones: v128, form: u32): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (form == FUSED) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, u, i32x4.splat(0));
    return i32x4.dot_i16x8_s(v128.relaxed_dot<i16>(x, u), ones);
  }
  return i32x4.add(i32x4.dot_i16x8_s(u, x), i32x4.dot_i16x8_s(odd, y));
}

/**
 * Whether four steps add up before they join the sum: each of FUSED waits for the one before it, and a sum that an engine keeps in
 * memory would have all wait for that.
 */
// @ts-ignore: decorator
@inline
function isApart(form: u32): bool {
  return ASC_FEATURE_RELAXED_SIMD && form == FUSED;
}

/** What addStep takes as `odd`. */
// @ts-ignore: decorator
@inline
export function oddOf(u: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? u : i16x8.shr_u(u, 8);
}

/** addStep where nothing else wants `odd`. */
// @ts-ignore: decorator
@inline
export function addAlone(sum: v128, u: v128, x: v128, y: v128, ones: v128, form: u32): v128 {
  return addStep(sum, u, oddOf(u), x, y, ones, form);
}

/** The first of four steps that add to `sum`: what the others go on from, and endSteps ends. */
// @ts-ignore: decorator
@inline
export function beginSteps(sum: v128, u: v128, x: v128, y: v128, ones: v128, form: u32): v128 {
  return isApart(form) ? firstStep(u, oddOf(u), x, y, ones, form) : addAlone(sum, u, x, y, ones, form);
}

/** The sum, with four steps in it. */
// @ts-ignore: decorator
@inline
export function endSteps(sum: v128, steps: v128, form: u32): v128 {
  return isApart(form) ? i32x4.add(sum, steps) : steps;
}
