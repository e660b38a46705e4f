// Sensitivities without a measurement. The prior takes the published coefficients of one model, Llama-3.1-8B (arXiv 2411.17525),
// as a rule for others: the median of each kind of matrix, and factors for the outliers at both ends. Only ratios mean anything.

import { list, needed, object, text } from '../check.ts';
import { matrixShape, stackOf } from '../quantize/select.ts';
import { type Alpha, type Alphas, bareAlpha, shapeOf, TENSORS_LIMIT } from './alphas.ts';

// Medians over 32 layers, and the names that families give to the kinds; a fused matrix counts as the sum of its parts.
const KINDS: readonly [kind: string, names: RegExp, alpha: number][] = [
  ['qkv', /(^|[._])(qkv_proj|query_key_value|c_attn|Wqkv|qkv)$/, 0.11 + 0.07 + 0.2],
  ['gate_up', /(^|[._])gate_up_proj$/, 0.24 + 0.31],
  ['o', /(^|[._])(o_proj|out_proj|wo|attn\.c_proj|attention\.dense|attention\.output\.dense)$/, 0.19],
  ['down', /(^|[._])(down_proj|w2|fc2|fc_out|c_proj|dense_4h_to_h|output\.dense)$/, 0.37],
  ['up', /(^|[._])(up_proj|w3|fc1|fc_in|c_fc|dense_h_to_4h|intermediate\.dense)$/, 0.31],
  ['gate', /(^|[._])(gate_proj|w1)$/, 0.24],
  ['v', /(^|[._])(v_proj|wv|value)$/, 0.2],
  ['q', /(^|[._])(q_proj|wq|query)$/, 0.11],
  ['k', /(^|[._])(k_proj|wk|key)$/, 0.07],
];
/** Of a matrix of no known kind: the median of the seven kinds. */
const OTHER = 0.2;

// Outliers: α of this matrix over the median of its kind. 15.89 and 2.50 over .37, 1.40 over .31, 1.06 and .97 over .20.
const FACTORS: readonly [kind: string, layer: (layer: number, layers: number) => boolean, factor: number][] = [
  ['down', (layer) => layer === 1, 43],
  ['down', (layer, layers) => layer === layers - 1, 6.8],
  ['up', (layer, layers) => layer === layers - 1, 4.5],
  ['v', (layer) => layer <= 1, 5],
];

/** A tensor that wants an α; `like` names the one whose layer counts as its own, as `planTensors` does. */
interface Weight {
  name: string;
  shape: readonly number[];
  like?: string;
}

const given = list(
  object<Weight>('an object', { name: needed(text), shape: needed(shapeOf), like: text }),
  TENSORS_LIMIT,
);

/**
 * Sensitivities from the published coefficients of another model: a prior, not a measurement. Experts of one layer share the
 * coefficient of their kind.
 * @param tensors all that will be planned; those whose kind the prior does not cover, embeddings and heads, have none
 * @throws {TypeError} when they are not names and shapes @throws {RangeError} when a size is none
 * @example
 * const plan = await checkpoint.planBits(priorAlphas, { bpw: 3.25 });
 */
export function priorAlphas(tensors: Iterable<Weight>): Alphas {
  const weights = given('tensors', tensors).flatMap(({ name, shape, like = name }) => {
    if (/(embed|lm_head|wte|tok_embeddings)/i.test(name) || name === 'output.weight') return [];
    const path = name.replace(/\.weight$/, '');
    const layer = /(?:^|\.)(?:layers|h|blocks?|layer)\.(\d+)\./.exec(like)?.[1];
    const [kind, , alpha] = KINDS.find(([, names]) => names.test(path)) ?? ['', /$/, OTHER];
    return [{ name, shape, kind, alpha, layer: layer === undefined ? undefined : Number(layer) }];
  });
  const layers = 1 + weights.reduce((last, { layer = -1 }) => Math.max(last, layer), -1);
  const siblings = new Map<string, number>();
  for (const { name } of weights) siblings.set(stackOf(name), (siblings.get(stackOf(name)) ?? 0) + 1);
  const entries = weights.map((weight): [string, Alpha] => {
    const { kind, layer, shape } = weight;
    const factor = FACTORS.find(([k, isAt]) => k === kind && layer !== undefined && isAt(layer, layers))?.[2] ?? 1;
    return [weight.name, bareAlpha((weight.alpha * factor) / siblings.get(stackOf(weight.name))!, shape)];
  });
  return alphasOf('prior', entries);
}

/**
 * Sensitivities that count every weight alike, whatever its tensor: the loss is the mean t² over all weights.
 * @throws {TypeError} when the tensors are not names and shapes @throws {RangeError} when a size is none
 * @example
 * const plan = await checkpoint.planBits(uniformAlphas, { bpw: 3.25 });
 */
export function uniformAlphas(tensors: Iterable<{ name: string; shape: readonly number[] }>): Alphas {
  const sized = given('tensors', tensors).map(({ name, shape }) => {
    const { rows, cols } = matrixShape(shape);
    return { name, shape, weights: rows * cols };
  });
  const total = sized.reduce((sum, { weights }) => sum + weights, 0);
  return alphasOf(
    'uniform',
    sized.map(({ name, shape, weights }) => [name, bareAlpha(weights / total, shape)]),
  );
}

function alphasOf(estimator: string, tensors: readonly [string, Alpha][]): Alphas {
  const model = { name: null, identity: null };
  return { model, estimator, loss: 'relative', base: null, settings: {}, tensors: new Map(tensors) };
}
