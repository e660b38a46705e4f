// The export list of the decoder's kernels, nothing else. The memory is imported: threads share one.
export { heapBase } from '../lanes';
export { crc32TableBytes, crc32Table, crc32 } from '../checksum';
export { widen, f32ToF16 } from '../float';
export { signs, rotate } from '../hadamard';
export { writeRows } from '../rows';
export { dequantize } from '../dequantize';
export { exponential, angles } from './math';
export { rmsNorm } from './norm';
export { rope } from './rope';
export { softmax } from './softmax';
export { attend } from './attention';
export { siluTimes, geluTimes, reluSquared, add, scale, softCap } from './gate';
export { denseRows } from './dense';
export { codeRows } from './codes';
export { quantizeActivation } from './activation';
export { matmul } from './matmul';
export { bandRows, unbandRow } from './band';
export { addTransposed, rmsNormBack, siluTimesBack, geluTimesBack, reluSquaredBack, attendBack } from './backward';
