// The export list of the kernels, nothing else.
export { heapBase } from './lanes';
export { f16ToF32, bf16ToF32, f8ToF32, scaleBlocks, widen, f32ToF16, f32ToBf16 } from './float';
export { signs, hadamard, rotate } from './hadamard';
export { gridTable, gridTableBytes } from './table';
export { trellisTable, trellisTableBytes } from './trellis/table';
export { viterbi } from './trellis/viterbi';
export { labelTable, labelTableBytes } from './trellis/labels';
export { labelPaths } from './trellis/labelpaths';
export { nearest1 } from './line';
export { nearest2 } from './plane';
export { nearest3, nearest4 } from './space';
export { pack, unpack } from './pack';
export { groupScale } from './scales';
export { encode, rotateRows, roundRows, packRows } from './encode';
export { dequantize } from './dequantize';
export { matvec } from './matvec';
export { compare } from './compare';
export { crc32TableBytes, crc32Table, crc32 } from './checksum';
