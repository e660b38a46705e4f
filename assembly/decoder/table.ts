// Places in the table of a grid whose codes stand in bands, as src/kernels/decoder/table.ts writes it:
//
//   byte  0     4     8     12   16 … 63                    64        65         68      69        70      72          73
//         step  zero  bits  0    T0, T1, T2, 16 bytes each  form: u8  alone: u8  15: u8  0x88: u8  1: u16  labels: u8  0x30: u8
//
// `form` is what products of several activations take, of dots.ts, `alone` those of one: FUSED or PAIRS.
// `labels` is how many codes before make a label, 2 or 3, else 0; of three all bytes of T2 are 3, the bits of the third.
// The last ones are constants that engines do not know: what they know, some make anew at each use.

// @ts-ignore: decorator
@inline
export const T0: usize = 16;
// @ts-ignore: decorator
@inline
export const T1: usize = 32;
// @ts-ignore: decorator
@inline
export const T2: usize = 48;
// @ts-ignore: decorator
@inline
export const FORM: usize = 64;
// @ts-ignore: decorator
@inline
export const ALONE: usize = 65;
// @ts-ignore: decorator
@inline
export const MASK: usize = 68;
// @ts-ignore: decorator
@inline
export const THIRD: usize = 69;
// @ts-ignore: decorator
@inline
export const ONES: usize = 70;
// @ts-ignore: decorator
@inline
export const LABELS: usize = 72;
// @ts-ignore: decorator
@inline
export const HIGH: usize = 73;
