// The export list of the decoder's kernels, nothing else.
export { heapBase } from '../lanes';
export { quantizeActivation } from './activation';
export { matmul } from './matmul';
export { denseRows } from './dense';
