// The export list of the decoder's kernels, nothing else.
export { heapBase } from '../lanes';
export { activationBytes, quantizeActivation } from './activation';
export { matmul, matmulScratchBytes } from './matmul';
export { denseF32, denseF16, denseBf16 } from './dense';
