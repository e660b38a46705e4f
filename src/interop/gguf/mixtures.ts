// The mixtures of llama-quantize: which type each tensor has in Q4_K_M and its like, by the rules of llama.cpp's llama-quant.cpp (2026-11,
// without an importance matrix). A plan is compared with them.

import { fitting, type GgufType } from './types.ts';

/** A tensor that llama-quantize quantizes. */
interface Quantizable {
  /** In GGUF. */
  readonly name: string;
  readonly cols: number;
}

/** What of a model the rules ask. */
export interface MixtureModel {
  /** `general.architecture`. */
  readonly architecture: string;
  /** Number of layers. */
  readonly layers: number;
  /** Heads of queries for each of keys. */
  readonly grouping: number;
  /** Experts of a layer; 0 for none. */
  readonly experts: number;
  /** Whether there is no output.weight. */
  readonly tied: boolean;
}

/** Mixtures from the smallest to the largest, with the type of most tensors. */
const DEFAULTS = {
  Q2_K: 'q2_K',
  Q3_K_S: 'q3_K',
  Q3_K_M: 'q3_K',
  Q3_K_L: 'q3_K',
  IQ4_XS: 'iq4_xs',
  Q4_K_S: 'q4_K',
  Q4_K_M: 'q4_K',
  Q5_K_S: 'q5_K',
  Q5_K_M: 'q5_K',
  Q6_K: 'q6_K',
  Q8_0: 'q8_0',
} as const;

/** A mixture of llama-quantize, such as `Q4_K_M`. */
export type MixtureName = keyof typeof DEFAULTS;

/** All mixtures whose types are known here. */
export const MIXTURES = Object.keys(DEFAULTS) as readonly MixtureName[];

/** Where a tensor stands. */
interface TensorPlace {
  readonly mixture: MixtureName;
  readonly model: MixtureModel;
  /** Of tensors of its kind, how many came before. */
  readonly index: number;
  readonly count: number;
}

const VALUES = /attn_(qkv|kv_b|v)\.weight/;

type TypeRule = (place: TensorPlace) => string | undefined;

// Layers that have more bits: the first and the last eighth, and every third between.
const hasMore = ({ index, count }: TensorPlace): boolean => {
  const eighth = Math.floor(count / 8);
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2;
};

const isFirst = ({ index, count }: TensorPlace, part: number): boolean => index < Math.floor(count / part);

const values: TypeRule = (place) => {
  const { mixture, model, index } = place;
  if (model.experts === 8) return 'q8_0';
  const types = {
    Q2_K: model.grouping >= 4 ? 'q4_K' : 'q3_K',
    Q3_K_S: undefined,
    Q3_K_M: index < 2 ? 'q5_K' : 'q4_K',
    Q3_K_L: 'q5_K',
    IQ4_XS: model.grouping >= 4 ? 'q5_K' : undefined,
    Q4_K_S: index < 4 ? 'q5_K' : undefined,
    Q4_K_M: hasMore(place) ? 'q6_K' : undefined,
    Q5_K_S: undefined,
    Q5_K_M: hasMore(place) ? 'q6_K' : undefined,
    ...{ Q6_K: undefined, Q8_0: undefined },
  }[mixture];
  const is70B = model.architecture === 'llama' && model.layers === 80 && model.grouping > 1;
  return is70B && ['q3_K', 'q4_K'].includes(types ?? DEFAULTS[mixture]) ? 'q5_K' : types;
};

const down: TypeRule = (place) =>
  ({
    Q2_K: 'q3_K',
    Q3_K_S: undefined,
    Q3_K_M: isFirst(place, 16) ? 'q5_K' : 'q4_K',
    Q3_K_L: 'q5_K',
    IQ4_XS: isFirst(place, 8) ? 'q5_K' : undefined,
    Q4_K_S: isFirst(place, 8) ? 'q5_K' : undefined,
    Q4_K_M: hasMore(place) ? 'q6_K' : undefined,
    Q5_K_S: undefined,
    Q5_K_M: hasMore(place) ? 'q6_K' : undefined,
    ...{ Q6_K: undefined, Q8_0: undefined },
  })[place.mixture];

const EIGHT_EXPERTS: readonly string[] = ['Q2_K', 'Q3_K_S', 'Q3_K_M', 'Q4_K_S', 'Q4_K_M', 'IQ4_XS'];

const output: TypeRule = ({ mixture, model }) => {
  if (model.experts === 8) return EIGHT_EXPERTS.includes(mixture) ? 'q5_K' : undefined;
  return ({ Q2_K: 'q3_K', Q3_K_M: 'q4_K', Q3_K_L: 'q5_K' } as Partial<Record<MixtureName, string>>)[mixture];
};

// Fused queries, keys and values are taken for values.
const RULES: readonly (readonly [pattern: RegExp, rule: TypeRule])[] = [
  [VALUES, values],
  [/attn_k\.weight/, ({ model }) => (model.experts === 8 ? 'q8_0' : undefined)],
  [/attn_output\.weight/, output],
  [/ffn_down/, down],
];

/** The type of each tensor, in its order, which must be that of layers. */
export function mixtureOf(mixture: MixtureName, tensors: readonly Quantizable[], model: MixtureModel): GgufType[] {
  const base = DEFAULTS[mixture];
  const count = tensors.filter(({ name }) => VALUES.test(name)).length;
  let [valuesBefore, downBefore] = [0, 0];
  return tensors.map(({ name, cols }) => {
    if (name === 'output.weight' || (model.tied && name === 'token_embd.weight')) {
      return fitting(cols % fitting(base, 256).weights !== 0 || base === 'q8_0' ? 'q8_0' : 'q6_K', cols);
    }
    const rule = RULES.find(([pattern]) => pattern.test(name))?.[1];
    const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1]);
    const place = VALUES.test(name)
      ? { mixture, model, index: valuesBefore++, count }
      : { mixture, model, index: model.experts > 1 ? layer : downBefore, count: model.layers };
    if (name.includes('ffn_down')) downBefore++;
    return fitting(rule?.(place) ?? base, cols);
  });
}
