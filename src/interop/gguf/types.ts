// The types that llama-quantize writes: bits, errors, and what stands in for them where rows are no whole blocks.

import ERRORS from './errors.json';

/** A type of ggml. */
export interface GgufType {
  /** As ggml names it, such as q4_K. */
  readonly name: string;
  /** Weights and bytes of a block. */
  readonly weights: number;
  /** Bytes of a block. */
  readonly bytes: number;
  /** t² of normal weights, plainly and by an importance matrix; null where llama-quantize refuses the type without one. */
  readonly plain: number | null;
  /** t² of normal weights, by an importance matrix. */
  readonly weighted: number;
}

/** The types of ggml, by name. */
export const TYPES: ReadonlyMap<string, GgufType> = new Map([
  ...Object.entries(ERRORS).map(([name, about]): [string, GgufType] => [name, { name, ...about }]),
  // Two bytes round to at most 2⁻¹¹ of a weight.
  ['f16', { name: 'f16', weights: 1, bytes: 2, plain: 0, weighted: 0 }],
]);

const FALLBACKS: Readonly<Record<string, string>> = {
  ...{ q2_K: 'q4_0', q3_K: 'q4_0', q4_K: 'q5_0', q5_K: 'q5_1', q6_K: 'q8_0' },
  ...{ iq2_xxs: 'iq4_nl', iq2_xs: 'iq4_nl', iq2_s: 'iq4_nl', iq3_xxs: 'iq4_nl', iq3_s: 'iq4_nl', iq4_xs: 'iq4_nl' },
};

/** The type that llama-quantize writes rows of `cols` weights in where it is told a type. */
export function fitting(name: string, cols: number): GgufType {
  for (const candidate of [name, FALLBACKS[name] ?? name]) {
    const type = TYPES.get(candidate)!;
    if (cols % type.weights === 0) return type;
  }
  return TYPES.get('f16')!;
}

/** t² of a type; of one that demands an importance matrix, with it. */
export function relativeErrorOf({ plain, weighted }: GgufType, isWeighted: boolean): number {
  return isWeighted ? weighted : (plain ?? weighted);
}
