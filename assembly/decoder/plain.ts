// Products with a matrix that is not quantized: rows of f32, f16 or bf16, widened one at a time.

import { bf16ToF32, f16ToF32 } from '../float';
import { inner } from './sums';

/** `count` elements of `x` to f32 at `y`; `kind` 0 is F32, 1 F16, 2 BF16. */
export function widen(x: usize, kind: i32, y: usize, count: usize): void {
  if (kind == 0) memory.copy(y, x, count << 2);
  else if (kind == 1) f16ToF32(x, y, count);
  else bf16ToF32(x, y, count);
}

/**
 * y = W x for `count` vectors: `w` is (rows, cols) of `kind`, `x` (count, cols) f32; element r of vector j goes to
 * y[j · stride + r]. `scratch` holds cols f32.
 */
export function denseRows(
  w: usize, kind: i32, rows: usize, cols: usize, x: usize, count: usize, y: usize, stride: usize, scratch: usize,
): void {
  const rowBytes = cols << (kind == 0 ? 2 : 1);
  for (let row: usize = 0; row < rows; row++) {
    let values = w;
    if (kind != 0) {
      widen(w, kind, scratch, cols);
      values = scratch;
    }
    for (let j: usize = 0; j < count; j++) {
      store<f32>(y + ((j * stride) << 2), inner(values, x + ((j * cols) << 2), cols));
    }
    w += rowBytes;
    y += 4;
  }
}
