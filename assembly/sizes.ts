// Sizes and constants that TypeScript has again, for the debug build alone: tests/sizes.test.ts compares them with src/kernels/.
import { TRELLIS } from './dequantize';
import { LABELS } from './trellis/labels';

export { BF16, F16, F32, F8, FACTOR_COLS, weightBytes } from './float';
export { groupsOf } from './lanes';
export { codesPerRow } from './dequantize';

/** What stands for p where a grid is a trellis; a constant that is inlined has no address to export. */
export function trellisDimension(): usize {
  return TRELLIS;
}

/** What stands for p where a grid is a trellis by labels. */
export function labelDimension(): usize {
  return LABELS;
}
