// The element types of safetensors and their widths. A tensor of another type may pass through, unchecked.

const BITS = new Map<string, number>([
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['BOOL', 8],
  ['U8', 8],
  ['I8', 8],
  ['F8_E4M3', 8],
  ['F8_E5M2', 8],
  ['F8_E8M0', 8],
  ['F8_E4M3FNUZ', 8],
  ['F8_E5M2FNUZ', 8],
  ['I16', 16],
  ['U16', 16],
  ['F16', 16],
  ['BF16', 16],
  ['I32', 32],
  ['U32', 32],
  ['F32', 32],
  ['I64', 64],
  ['U64', 64],
  ['F64', 64],
  ['C64', 64],
]);

/**
 * The width of one element.
 * @param dtype a safetensors dtype such as `BF16`; case matters
 * @returns bits, or undefined when the dtype is unknown and a tensor's size cannot be checked
 */
export function dtypeBits(dtype: string): number | undefined {
  return BITS.get(dtype);
}

/**
 * The number of elements of a tensor; 1 for a scalar (`[]`), 0 if any dimension is 0.
 * @returns elements, or undefined when they exceed 2^53 − 1
 */
export function elementCount(shape: readonly number[]): number | undefined {
  let count = 1;
  let exact = true;
  for (const size of shape) {
    if (size === 0) return 0;
    count *= size;
    exact &&= Number.isSafeInteger(count);
  }
  return exact ? count : undefined;
}

/**
 * The size of a tensor's data, sub-byte types rounded up to whole bytes.
 * @returns bytes, or undefined when the dtype is unknown or the size exceeds 2^50 bytes
 */
export function byteLengthOf(dtype: string, shape: readonly number[]): number | undefined {
  const bits = BITS.get(dtype);
  const count = elementCount(shape);
  if (bits === undefined || count === undefined || !Number.isSafeInteger(count * bits)) return undefined;
  return Math.ceil((count * bits) / 8);
}
