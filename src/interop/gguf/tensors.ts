// The tensors of a GGUF file, made of a checkpoint's: by their names in llama.cpp, experts of a layer stacked, rows of q and k where
// its rope wants them, norms with what the family adds. checkpoint/gguf/tensors.ts goes the other way, by the same tables.

import { type Kind, USUAL } from '../../checkpoint/gguf/architectures.ts';
import { placeOf } from '../../checkpoint/tensor.ts';
import { FormatError, UnsupportedError } from '../../errors.ts';
import type { ExportedWeights } from './weights.ts';

/** A tensor to write. */
export interface Target {
  /** As llama.cpp knows it. */
  readonly name: string;
  /** (rows, cols), experts before them. */
  readonly shape: readonly number[];
  /** Whether llama.cpp has it in f32, whatever the weights are in. */
  readonly isWide: boolean;
  /** Rows that are read together: blocks of rows are multiples of it. */
  readonly unit: number;
  /** Elements of a row. */
  readonly cols: number;
  /** What it is made of: a tensor, the experts of a stack. */
  readonly parts: readonly ExportedWeights[];
  /** @returns rows of all dimensions but the last together, from `first` on */
  read(first: number, count: number): Promise<Float32Array<ArrayBuffer>>;
}

/** What cuts rows into heads, and layers off that predict further tokens. */
export interface Cuts {
  /** Layers that run. */
  readonly layers: number;
  /** Heads of queries. */
  readonly heads: number;
  /** Heads of keys and values. */
  readonly kvHeads: number;
  /** Of latent attention: elements of a head's key that do not turn, and of its value. */
  readonly latent: { readonly plain: number; readonly valueDim: number } | undefined;
  /** Whether the output head is the embedding. */
  readonly tied: boolean;
}

const OUTER: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'model.embedding_norm.weight': 'token_embd_norm.weight',
  'lm_head.weight': 'output.weight',
};
const LAYER = /^model\.layers\.(\d+)\.(.+?)(?:\.(weight|bias))?$/;
const IGNORED = /\.rotary_emb\.inv_freq$/;
/** What llama.cpp reads in f32 alone: routers, taps of convolutions, and all that is no matrix. */
const WIDE = /_norm\.weight$|\.ffn_gate_inp(_shexp)?\.weight$|\.shortconv\.conv\.weight$|\.attn_sinks\.weight$/;

/**
 * All tensors, in the order in which they are written.
 * @throws {UnsupportedError} when llama.cpp has no name for one @throws {FormatError} when experts of a layer differ in shape
 */
export function targetsOf(weights: readonly ExportedWeights[], kind: Kind, cuts: Cuts): Target[] {
  const named = namesOf(kind);
  const stacks = new Map<string, ExportedWeights[]>();
  const targets: Target[] = [];
  for (const tensor of weights) {
    if (IGNORED.test(tensor.name) || (cuts.tied && tensor.name === 'lm_head.weight')) continue;
    const outer = Object.hasOwn(OUTER, tensor.name) ? OUTER[tensor.name] : undefined;
    if (outer) targets.push(plain(outer, tensor, kind));
    else targets.push(...inLayer(tensor, kind, cuts, named, stacks));
  }
  for (const [name, experts] of stacks) targets.push(stacked(name, experts));
  const last = ['output_norm.weight', 'output.weight'];
  const layerOf = ({ name }: Target) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? (last.includes(name) ? 1e9 : -1));
  const order = (one: Target, other: Target) =>
    layerOf(one) - layerOf(other) || (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
  return targets.sort(order);
}

interface Names {
  /** By name in a layer: the short name, or a whole one with its kind. */
  readonly single: ReadonlyMap<string, string>;
  readonly experts: readonly (readonly [pattern: RegExp, short: string])[];
}

function namesOf({ names = {}, experts = {} }: Kind): Names {
  const replaced = new Set(Object.keys(names));
  const usual = Object.entries(USUAL).filter(([short]) => !replaced.has(short) || short === 'ffn_gate_inp');
  return {
    single: new Map([...usual, ...Object.entries(names)].map(([short, own]) => [own, short])),
    experts: Object.entries(experts).map(([short, own]) => {
      const [before, after] = own.split('*').map((part) => part.replaceAll('.', '\\.'));
      return [new RegExp(`^${before}(\\d{1,4})${after}$`), short];
    }),
  };
}

function inLayer(
  tensor: ExportedWeights,
  kind: Kind,
  cuts: Cuts,
  { single, experts }: Names,
  stacks: Map<string, ExportedWeights[]>,
): Target[] {
  const [, layer, rest, suffix] = LAYER.exec(tensor.name) ?? [];
  if (layer === undefined) return unknown(tensor, kind);
  if (Number(layer) >= cuts.layers) return [];
  const path = `blk.${layer}`;
  const whole = single.get(suffix === undefined ? rest : `${rest}.${suffix}`);
  if (whole) return [plain(`${path}.${whole}`, tensor, kind)];
  for (const [pattern, short] of experts) {
    const [, expert] = pattern.exec(rest) ?? [];
    if (expert === undefined || suffix !== 'weight') continue;
    const name = `${path}.${short}.weight`;
    const stack = stacks.get(name) ?? [];
    stack[Number(expert)] = tensor;
    stacks.set(name, stack);
    return [];
  }
  const fused = /(^|\.)experts\.(gate_up_proj|down_proj)(_bias)?$/.exec(rest);
  if (fused) return stackOf(tensor, path, kind, fused[2], fused[3] ? 'bias' : 'weight');
  if (rest === 'self_attn.kv_b_proj' && cuts.latent) return latent(tensor, path, cuts, cuts.latent);
  const short = single.get(rest) ?? (rest === 'conv.conv' ? 'shortconv.conv' : undefined);
  if (short === undefined || suffix === undefined) return unknown(tensor, kind);
  const name = `${path}.${short}.${suffix}`;
  const heads = short === 'attn_q' ? cuts.heads : short === 'attn_k' ? cuts.kvHeads : 0;
  return [kind.turned && heads > 0 ? turned(name, tensor, heads) : plain(name, tensor, kind)];
}

function unknown({ name, file }: ExportedWeights, { type }: Kind): never {
  const message = `tensor must be one of ${type} in llama.cpp: it has no name for this one`;
  throw new UnsupportedError(`tensor ${name}`, message, placeOf({ file, name }));
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

// As it is, but for sizes of 1, and what a family adds to its norms.
function plain(name: string, tensor: ExportedWeights, { normPlus = 0 }: Kind): Target {
  const shape = tensor.shape.length > 1 ? tensor.shape.filter((size) => size !== 1) : tensor.shape;
  const sizes = shape.length > 0 && !/\.weight$/.test(name) ? tensor.shape : shape;
  const plus = normPlus !== 0 && /norm\.weight$/.test(name) ? normPlus : 0;
  const cols = sizes.at(-1) ?? 1;
  return {
    ...{ name, shape: sizes, isWide: sizes.length < 2 || WIDE.test(name) || !name.endsWith('.weight') },
    ...{ unit: 1, cols, parts: [tensor] },
    async read(first, count) {
      const values = await tensor.read(first * cols, (first + count) * cols);
      if (plus !== 0) for (let i = 0; i < values.length; i++) values[i] += plus;
      return values;
    },
  };
}

// Rows i and i + half of a head become neighbours: its pairs, as llama.cpp turns them.
function turned(name: string, tensor: ExportedWeights, heads: number): Target {
  const target = plain(name, tensor, { type: '', class: '' });
  const [rows, cols] = tensor.shape.length > 1 ? [tensor.shape[0], target.cols] : [target.cols, 1];
  const head = rows / heads;
  if (!Number.isInteger(head) || head % 2 !== 0) {
    throw new FormatError(`rows must be ${heads} heads of pairs: there are ${rows}`, placeOf(tensor));
  }
  const whole = tensor.shape.length === 1; // of a bias, a row is one number
  return {
    ...target,
    unit: whole ? 1 : head,
    async read(first, count) {
      const [from, to] = whole ? [0, rows] : [first, first + count];
      const values = await tensor.read(from * cols, to * cols);
      const moved = new Float32Array(values.length);
      for (let row = 0; row < to - from; row++) {
        const within = row % head;
        const source = row - within + (within & 1 ? head / 2 : 0) + (within >> 1);
        moved.set(values.subarray(source * cols, (source + 1) * cols), row * cols);
      }
      return moved;
    },
  };
}

// Experts that stand one by one, one behind the other.
function stacked(name: string, experts: readonly ExportedWeights[]): Target {
  const [first] = experts;
  const [rows, cols] = first?.shape ?? [];
  for (let e = 0; e < experts.length; e++) {
    if (experts[e] && String(experts[e].shape) === `${rows},${cols}`) continue;
    const present = experts.find((expert) => expert !== undefined)!;
    throw new FormatError(
      `experts of a layer must all be there, in one shape: expert ${e} is missing or differs`,
      placeOf(present),
    );
  }
  return {
    ...{ name, shape: [experts.length, rows, cols], isWide: false, unit: 1, cols, parts: experts },
    read: (from, count) =>
      inPieces(from, count, rows, cols, (expert, row, some) => experts[expert].read(row * cols, (row + some) * cols)),
  };
}

// Rows of a stack, matrix by matrix. @param read `some` rows of a matrix from `row` on
async function inPieces(
  from: number,
  count: number,
  rows: number,
  cols: number,
  read: (matrix: number, row: number, some: number) => Promise<Float32Array<ArrayBuffer>>,
): Promise<Float32Array<ArrayBuffer>> {
  const values = new Float32Array(count * cols);
  for (let at = from; at < from + count; ) {
    const row = at % rows;
    const some = Math.min(rows - row, from + count - at);
    values.set(await read(Math.floor(at / rows), row, some), (at - from) * cols);
    at += some;
  }
  return values;
}

// A stack as a tensor: of gates and ups the first half and the second, or, where the family has them so, every second row.
function stackOf(tensor: ExportedWeights, path: string, kind: Kind, part: string, suffix: string): Target[] {
  const isBias = suffix === 'bias';
  const shape = isBias ? [...tensor.shape, 1] : tensor.shape;
  if (shape.length !== 3)
    throw new FormatError(
      `experts must be a stack of matrices: they are [${tensor.shape.join(', ')}]`,
      placeOf(tensor),
    );
  const [experts, rows, cols] = shape;
  const target = (short: string, own: number, read: Target['read']): Target => ({
    name: `${path}.${short}.${suffix}`,
    shape: isBias ? [experts, own] : [experts, own, cols],
    ...{ isWide: isBias, unit: isBias ? own : 1, cols: isBias ? own : cols, parts: [tensor] },
    // Of biases a row is an expert's.
    read: isBias ? (first, count) => read(first * own, count * own) : read,
  });
  if (part === 'down_proj') {
    return [target('ffn_down_exps', rows, (first, count) => tensor.read(first * cols, (first + count) * cols))];
  }
  const half = rows / 2;
  if (!Number.isInteger(half))
    throw new FormatError(`rows of gate and up together must be even: there are ${rows}`, placeOf(tensor));
  return ['ffn_gate_exps', 'ffn_up_exps'].map((short, second) => {
    if (!kind.alternating) {
      const read: Target['read'] = (first, count) =>
        inPieces(first, count, half, cols, (expert, row, some) => {
          const at = (expert * rows + second * half + row) * cols;
          return tensor.read(at, at + some * cols);
        });
      return target(short, half, read);
    }
    return target(short, half, async (first, count) => {
      const both = await tensor.read(2 * first * cols, 2 * (first + count) * cols);
      const values = new Float32Array(count * cols);
      for (let row = 0; row < count; row++) {
        const at = (2 * row + second) * cols;
        values.set(both.subarray(at, at + cols), row * cols);
      }
      return values;
    });
  });
}

// DeepSeek's keys and values of a latent: keys turned, (heads, rank, plain), and values, (heads, valueDim, rank).
function latent(
  tensor: ExportedWeights,
  path: string,
  { heads }: Cuts,
  { plain, valueDim }: NonNullable<Cuts['latent']>,
): Target[] {
  const [rows, rank] = tensor.shape;
  const both = plain + valueDim;
  if (rows !== heads * both) {
    throw new FormatError(`rows must be ${heads} heads of ${both}: there are ${rows}`, placeOf(tensor));
  }
  const keys = async (first: number, count: number) => {
    const values = new Float32Array(count * plain);
    for (let head = 0; head < count / rank; head++) {
      const at = (first / rank + head) * both * rank;
      const keyRows = await tensor.read(at, at + plain * rank);
      for (let r = 0; r < rank; r++) {
        for (let i = 0; i < plain; i++) values[(head * rank + r) * plain + i] = keyRows[i * rank + r];
      }
    }
    return values;
  };
  const common = { isWide: false, parts: [tensor] };
  return [
    { ...common, name: `${path}.attn_k_b.weight`, shape: [heads, rank, plain], unit: rank, cols: plain, read: keys },
    {
      ...{ ...common, name: `${path}.attn_v_b.weight`, shape: [heads, valueDim, rank], unit: 1, cols: rank },
      read: (first, count) =>
        inPieces(first, count, valueDim, rank, (head, row, some) => {
          const at = (head * both + plain + row) * rank;
          return tensor.read(at, at + some * rank);
        }),
    },
  ];
}

/** The number of a target's rows. */
export const rowsOf = ({ shape }: Target): number => sizeOf(shape.slice(0, -1));
