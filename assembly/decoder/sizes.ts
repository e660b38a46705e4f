// Sizes that TypeScript has again, for the debug build alone: tests/sizes.test.ts compares them with src/kernels/decoder/sizes.ts.
export { rowStride } from '../rows';
export { activationBytes } from './activation';
export { octsOf } from './band';
export { TILE_STRIDE } from './tile';
export { attendBytes } from './attention';
