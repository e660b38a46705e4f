// Other data-free 4-bit encoders on the same base as the project's kernels: plain SIMD, pure functions of linear memory.
export { heapBase } from '../../assembly/lanes';
export { int4Symmetric, int4Asymmetric } from './int4';
export { levelCells, levels16 } from './levels';
