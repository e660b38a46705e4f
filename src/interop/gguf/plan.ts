// A type of ggml for every tensor, chosen for a budget as grids are: the linearity theorem holds for any quantizer, so that the least
// Σ α t² over types is the best mixture that llama-quantize can write. Its own mixtures are predicted beside it.

import type { Alphas } from '../../linearity/alphas.ts';
import { type Choices, type Problem, prepareProblem } from '../../linearity/hull.ts';
import { QUICK, solve } from '../../linearity/search.ts';
import type { GgufLayout } from './export.ts';
import { paddingOf } from './header.ts';
import { MIXTURES, type MixtureName, mixtureOf } from './mixtures.ts';
import type { Target } from './tensors.ts';
import { fitting, type GgufType, relativeErrorOf, TYPES } from './types.ts';

/** What is chosen from, and for what budget. */
export interface GgufPlanOptions {
  /** Bits per weight over all that is quantized, padding counted, or bytes of the file. */
  readonly budget: { readonly bpw: number } | { readonly size: number };
  /** Names of types; all that llama-quantize takes, if left out. */
  readonly types?: readonly string[] | undefined;
  /** Which tensors llama-quantize will have an importance matrix of: errors are less, and types of few bits can be had. */
  readonly weighted: Weighted;
}

/** No tensor, those of all layers, or those of these names. */
type Weighted = 'none' | 'layers' | ReadonlySet<string>;

interface PlannedType {
  /** In GGUF. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: string;
  readonly bpw: number;
  /** Null where none is known: the type is `UNKNOWN` then. */
  readonly alpha: number | null;
  readonly predicted: number | null;
}

/** What a choice of types comes to. */
interface Sum {
  readonly bpw: number;
  /** Of the file, in bytes. */
  readonly bytes: number;
  readonly predicted: number;
}

/** The type of every tensor for llama-quantize, and what it comes to. */
export interface GgufPlan extends Sum {
  /** Where the sensitivities are from. */
  readonly estimator: string;
  /** What the predicted loss counts. */
  readonly loss: Alphas['loss'];
  /** Whether errors are those with an importance matrix. */
  readonly isWeighted: boolean;
  /** How far below `predicted` another plan could be. */
  readonly gap: number;
  /** The type of each tensor, in the order of the file. */
  readonly tensors: readonly PlannedType[];
  /** Mixtures of llama-quantize, and what a plan of no more bytes is predicted. */
  readonly mixtures: readonly (Sum & { readonly name: MixtureName; readonly plan: number | null })[];
}

/** Of weights without a sensitivity, such as embeddings by a prior: what the mixtures have for the output. */
const UNKNOWN = 'q6_K';

/** A tensor that llama-quantize quantizes, and what it may become. */
interface TypedItem {
  readonly target: Target;
  readonly weights: number;
  readonly alpha: number | null;
  readonly isWeighted: boolean;
  readonly types: readonly GgufType[];
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const bytesOf = (weights: number, type: GgufType): number => (weights / type.weights) * type.bytes;
// What a tensor takes of a file.
const paddedOf = (weights: number, type: GgufType): number => {
  const bytes = bytesOf(weights, type);
  return bytes + paddingOf(bytes);
};

/** Whether llama-quantize quantizes a tensor: matrices, and no routers, norms or taps. */
function isQuantizable({ isWide, shape, name }: Target): boolean {
  return !isWide && shape.length > 1 && name.endsWith('.weight');
}

/**
 * The plan of least predicted loss.
 * @throws {RangeError} when no plan is that small, or a type is none that can be had
 */
export function planGguf(layout: GgufLayout, alphas: Alphas, options: GgufPlanOptions): GgufPlan {
  const { budget } = options;
  const items = itemsOf(layout, alphas, options);
  const weights = items.reduce((sum, item) => sum + item.weights, 0);
  if (weights === 0) throw new RangeError('a plan must have tensors to quantize: there are none');
  const problem = prepareProblem(items.map(choicesOf));
  const fixed = fixedBytes(layout);
  const bits = 'bpw' in budget ? budget.bpw * weights : (budget.size - fixed) * 8;
  const solution = solve(problem, checked(bits, problem, weights, fixed, budget));
  const chosen = items.map((item, i) => item.types[solution.choices[i]]);
  const sum = (types: readonly GgufType[]) => sumOf(items, types, fixed);
  return {
    ...{ estimator: alphas.estimator, loss: alphas.loss, isWeighted: options.weighted !== 'none', gap: solution.gap },
    ...sum(chosen),
    tensors: items.map(({ target, alpha, weights, isWeighted }, i) => ({
      ...{ name: target.name, shape: target.shape, type: chosen[i].name, alpha },
      bpw: (8 * bytesOf(weights, chosen[i])) / weights,
      predicted: alpha === null ? null : alpha * relativeErrorOf(chosen[i], isWeighted),
    })),
    mixtures: MIXTURES.map((name) => {
      const named = items.map(({ target }) => ({ name: target.name, cols: target.cols }));
      const mixed = sum(mixtureOf(name, named, layout.mixed));
      const most = 8 * (mixed.bytes - fixed);
      return { name, ...mixed, plan: most < problem.least ? null : solve(problem, most, QUICK).loss };
    }),
  };
}

/** What `llama-quantize --tensor-type-file` reads: a pattern of one name, and its type. */
export function typeFile({ tensors }: GgufPlan): string {
  return tensors.map(({ name, type }) => `^${name.replaceAll('.', '\\.')}$=${type}\n`).join('');
}

function itemsOf(layout: GgufLayout, alphas: Alphas, { types, weighted }: GgufPlanOptions): TypedItem[] {
  const [plain, all] = [false, true].map((isWeighted) => offeredOf(types, weighted !== 'none', isWeighted));
  return layout.tensors.flatMap(({ target }) => {
    if (!isQuantizable(target)) return [];
    const weights = sizeOf(target.shape);
    const alpha = alphaOf(target, weights, alphas);
    const isWeighted = isWeightedBy(weighted, target);
    const offered = isWeighted ? all : plain;
    const whole = offered.filter((type) => target.cols % type.weights === 0);
    const free = whole.length > 0 ? whole : [...new Set(offered.map(({ name }) => fitting(name, target.cols)))];
    return [{ target, weights, alpha, isWeighted, types: alpha === null ? [fitting(UNKNOWN, target.cols)] : free }];
  });
}

// Embeddings and head have none: llama-imatrix leaves them out.
function isWeightedBy(weighted: Weighted, { name }: Target): boolean {
  if (typeof weighted === 'string') return weighted === 'layers' && name.startsWith('blk.');
  return weighted.has(name);
}

/** @param hasMatrix whether some tensor is weighted @param isWeighted whether these are types of such a tensor */
function offeredOf(names: readonly string[] | undefined, hasMatrix: boolean, isWeighted: boolean): GgufType[] {
  const canHave = ({ plain }: GgufType) => isWeighted || plain !== null;
  if (!names) return [...TYPES.values()].filter((type) => canHave(type) && type.name !== 'f16');
  const types = names.map((given) => {
    const type = [...TYPES.values()].find(({ name }) => name.toLowerCase() === given.toLowerCase());
    if (!type) throw new RangeError(`types must be among ${[...TYPES.keys()].join(', ')}: got ${given}`);
    if (hasMatrix || type.plain !== null) return type;
    throw new RangeError(`type ${type.name} must come with an importance matrix: llama-quantize refuses it without`);
  });
  const had = types.filter(canHave);
  return had.length > 0 ? had : [TYPES.get(UNKNOWN)!];
}

// A stack errs as its experts do; of a tensor that is cut, each part has its share.
function alphaOf({ parts }: Target, weights: number, { tensors }: Alphas): number | null {
  const whole = parts.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  let sum = 0;
  for (const { name } of parts) {
    const alpha = tensors.get(name)?.alpha;
    if (alpha === undefined) return null;
    sum += Math.max(0, alpha);
  }
  return (sum * weights) / whole;
}

function choicesOf({ types, weights, alpha, isWeighted }: TypedItem): Choices {
  return {
    bits: types.map((type) => 8 * paddedOf(weights, type)),
    losses: types.map((type) => (alpha ?? 0) * relativeErrorOf(type, isWeighted)),
  };
}

function sumOf(items: readonly TypedItem[], types: readonly GgufType[], fixed: number): Sum {
  let [bytes, padded, weights, predicted] = [0, 0, 0, 0];
  for (const [i, item] of items.entries()) {
    bytes += bytesOf(item.weights, types[i]);
    padded += paddedOf(item.weights, types[i]);
    weights += item.weights;
    predicted += (item.alpha ?? 0) * relativeErrorOf(types[i], item.isWeighted);
  }
  return { bpw: (8 * bytes) / weights, bytes: fixed + padded, predicted };
}

// The header, and what is not quantized.
function fixedBytes({ header, tensors }: GgufLayout): number {
  return tensors.reduce((sum, { target, byteLength }) => {
    return isQuantizable(target) ? sum : sum + byteLength + paddingOf(byteLength);
  }, header.length);
}

function checked(
  bits: number,
  { least }: Problem,
  weights: number,
  fixed: number,
  budget: GgufPlanOptions['budget'],
): number {
  const whole = Math.floor(bits + 1e-6);
  if (whole >= least) return whole;
  if ('bpw' in budget) {
    const message = `bits per weight must be at least ${Math.ceil((least / weights) * 1e4) / 1e4}, those of the smallest plan`;
    throw new RangeError(`${message}: got ${budget.bpw}`);
  }
  throw new RangeError(
    `size must be at least ${fixed + least / 8} bytes, that of the smallest plan: got ${budget.size}`,
  );
}
