// The export list of the decoder's kernels, nothing else. The memory is imported: threads share one.
export { crc32Table, crc32 } from '../checksum';
export { f16ToF32, bf16ToF32, f32ToF16 } from '../float';
export { signs, rotate } from '../hadamard';
export { exponential, angles } from './math';
export { rmsNorm } from './norm';
export { rope } from './rope';
export { softmax } from './softmax';
export { attend } from './attention';
export { siluTimes, add } from './gate';
export { denseRows, widen } from './plain';
export { gridRows, codeRows } from './codes';
export { dequantize } from '../dequantize';
