// The tensors of GGUF files under the names that the families ask for. Stacks of experts become a weight for each, fused weights of queries,
// keys and values one each, and DeepSeek's halves of keys and values one again.

import { FormatError, UnsupportedError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Source } from '../../source/source.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';
import { type Kind, USUAL } from './architectures.ts';
import { GGUF_TENSORS_LIMIT, type GgufTensor } from './header.ts';
import { alternatingOf, keyValuesOf, type TensorPart, tensorOf } from './rows.ts';
import type { Values } from './values.ts';

/** A file of a model, its header read. */
export interface GgufFile {
  /** Its name, for messages. */
  readonly file: string;
  /** Its bytes. */
  readonly source: Source;
  /** Bytes before its data. */
  readonly dataStart: number;
  /** Its tensors, in the order of the header. */
  readonly tensors: readonly GgufTensor[];
}

/** What llama.cpp knows by itself, or by the metadata: factors of the rope. */
const ROPES = /^(rope_freqs|rope_factors_(long|short))\.weight$|\.attn_rot_embd\./;
const LAYER = /^blk\.(\d+)\.(.+)\.(weight|bias)$/;

/** Most experts of a stack, and most tensors that stacks become: as many as a header may name. */
const EXPERTS_LIMIT = 1 << 12;

/** How the model's heads are cut. */
interface Heads {
  readonly heads: number;
  readonly kvHeads: number;
  readonly layers: number;
}

/**
 * The tensors of each file.
 * @throws {UnsupportedError} when one has no name in the family @throws {FormatError} when its shape does not fit the metadata
 */
export function ggufTensors(
  files: readonly GgufFile[],
  kind: Kind,
  values: Values,
  sizes: Heads,
): CheckpointTensor[][] {
  const parts = new Map<string, TensorPart>();
  for (const { file, source, tensors } of files) {
    for (const tensor of tensors) {
      if (!parts.has(tensor.name)) parts.set(tensor.name, { file, source, tensor });
      else throw new FormatError('tensor must be in one file only: it is in two', { file, tensor: tensor.name });
    }
  }
  let count = 0;
  return files.map(({ tensors }) => {
    const tensorsOfFile: CheckpointTensor[] = [];
    for (const { name } of tensors) {
      const named = namedBy(parts.get(name)!, parts, kind, values, sizes);
      count += named.length;
      if (count > GGUF_TENSORS_LIMIT) values.fail(`model must have at most ${GGUF_TENSORS_LIMIT} tensors: it has more`);
      tensorsOfFile.push(...named);
    }
    return tensorsOfFile;
  });
}

// A member of a table of names, which files may call as they like.
function nameIn(table: Readonly<Record<string, string>> | undefined, key: string): string | undefined {
  return table && Object.hasOwn(table, key) ? table[key] : undefined;
}

const OUTER = { 'token_embd.weight': 'model.embed_tokens.weight', 'output.weight': 'lm_head.weight' };

function namedBy(
  part: TensorPart,
  parts: ReadonlyMap<string, TensorPart>,
  kind: Kind,
  values: Values,
  sizes: Heads,
): CheckpointTensor[] {
  const { tensor } = part;
  const { name } = tensor;
  if (ROPES.test(name)) return [];
  const minus = kind.normPlus && /norm\.weight$/.test(name) ? { minus: kind.normPlus } : {};
  const outer = nameIn(OUTER, name);
  if (outer) return [tensorOf(outer, part)];
  if (name === 'output_norm.weight') return [tensorOf('model.norm.weight', { ...part, ...minus })];
  if (name === 'token_embd_norm.weight' && kind.type === 'lfm2') return [tensorOf('model.embedding_norm.weight', part)];
  const [, layer, short, kindOfWeight] = LAYER.exec(name) ?? [];
  if (layer === undefined) return unknown(part, values);
  if (Number(layer) >= sizes.layers) return []; // predicts further tokens
  const path = `model.layers.${layer}`;
  const corrected = nameIn(kind.names, `${short}.${kindOfWeight}`);
  if (corrected) return [tensorOf(`${path}.${corrected}`, part)];
  if (kind.alternating && Object.values(kind.alternating).some(({ second }) => second === short)) {
    alternating(part, parts, kind.alternating); // made where the first is
    return [];
  }
  if (kind.alternating && Object.hasOwn(kind.alternating, short)) {
    const { first, second, name } = alternating(part, parts, kind.alternating);
    return [
      alternatingOf(`${path}.${name}`, first, second, [tensor.shape[0], 2 * tensor.shape[1], ...tensor.shape.slice(2)]),
    ];
  }
  const stack = nameIn(kind.experts, short);
  if (stack && kindOfWeight === 'weight') return stackOf(part, `${path}.${stack}.weight`);
  // Experts one by one, as files were before stacks.
  const [, single, expert] = /^(ffn_(?:gate|up|down))\.(\d{1,4})$/.exec(short) ?? [];
  const alone = single === undefined ? undefined : nameIn(kind.experts, `${single}_exps`);
  if (alone && kindOfWeight === 'weight') return [tensorOf(`${path}.${alone.replace('*', expert)}.weight`, part)];
  if (short === 'attn_k_b' || short === 'attn_v_b') return halfOf(part, parts, `${path}.self_attn.kv_b_proj.weight`);
  const mapped = nameIn(kind.names, short) ?? nameIn(USUAL, short);
  if (mapped === undefined) {
    return short === 'attn_qkv' ? fusedOf(part, `${path}.self_attn`, kindOfWeight, sizes) : unknown(part, values);
  }
  const count = short === 'attn_q' ? sizes.heads : short === 'attn_k' ? sizes.kvHeads : 0;
  const head = kind.turned && count > 0 ? { head: headOf(part, count) } : {};
  const shape = shapeOf(short, tensor.shape);
  return [tensorOf(`${path}.${mapped}.${kindOfWeight}`, { ...part, ...head, ...minus, ...(shape && { shape }) })];
}

// The converter leaves out sizes of 1.
function shapeOf(short: string, shape: readonly number[]): readonly number[] | undefined {
  if (short === 'ffn_gate_inp_shexp' && shape.length === 1) return [1, shape[0]];
  if (short === 'shortconv.conv' && shape.length === 2) return [shape[0], 1, shape[1]];
  return undefined;
}

function headOf({ tensor, file }: TensorPart, count: number): number {
  const rows = tensor.shape[0] ?? 0;
  const head = rows / count;
  const isWhole = tensor.shape.length > 1 || tensor.code.weights === 1;
  if (Number.isInteger(head) && head % 2 === 0 && head > 0 && isWhole) return head;
  const message = `rows must be ${count} heads of pairs, as the metadata has it: there are ${rows}`;
  throw new FormatError(message, { file, tensor: tensor.name });
}

// Experts stand one behind the other.
function stackOf(part: TensorPart, name: string): CheckpointTensor[] {
  const { tensor, file } = part;
  const [experts, rows] = tensor.shape;
  if (tensor.shape.length !== 3 || experts > EXPERTS_LIMIT) {
    const message = `experts must be a stack of up to ${EXPERTS_LIMIT} matrices: it has shape ${show(tensor.shape)}`;
    throw new FormatError(message, { file, tensor: tensor.name });
  }
  return Array.from({ length: experts }, (_, i) =>
    tensorOf(name.replace('*', String(i)), { ...part, rows: { first: i * rows, count: rows } }),
  );
}

// Two tensors that are one, of either of them.
function alternating(
  part: TensorPart,
  parts: ReadonlyMap<string, TensorPart>,
  table: NonNullable<Kind['alternating']>,
): { first: TensorPart; second: TensorPart; name: string } {
  const { tensor, file } = part;
  const [, short, kindOfWeight] = /^blk\.\d+\.(.+)\.(weight|bias)$/.exec(tensor.name)!;
  const [one, { second: other, ...names }] = Object.entries(table).find(
    ([first, { second }]) => first === short || second === short,
  )!;
  const partOf = (name: string) => parts.get(tensor.name.replace(`.${short}.`, `.${name}.`));
  const [first, second] = [partOf(one), partOf(other)];
  const isWeight = kindOfWeight === 'weight';
  const fits =
    first &&
    second &&
    first.tensor.code === second.tensor.code &&
    String(first.tensor.shape) === String(second.tensor.shape);
  if (fits && tensor.shape.length === (isWeight ? 3 : 2) && (isWeight || tensor.code.weights === 1)) {
    // Of biases a row is one number.
    const rowed = (given: TensorPart): TensorPart =>
      isWeight ? given : { ...given, tensor: { ...given.tensor, shape: [...given.tensor.shape, 1] } };
    return { first: rowed(first), second: rowed(second), name: isWeight ? names.weight : names.bias };
  }
  const message = `${one} and ${other} must be two stacks of one shape and code: they differ`;
  throw new FormatError(message, { file, tensor: tensor.name });
}

// Made where the keys are; the values come along.
function halfOf(part: TensorPart, parts: ReadonlyMap<string, TensorPart>, name: string): CheckpointTensor[] {
  const { tensor, file } = part;
  const isKeys = tensor.name.includes('attn_k_b');
  const other = parts.get(tensor.name.replace(/attn_[kv]_b/, isKeys ? 'attn_v_b' : 'attn_k_b'));
  const [keys, values] = isKeys ? [tensor, other?.tensor] : [other?.tensor, tensor];
  const fits =
    keys?.shape.length === 3 &&
    values?.shape.length === 3 &&
    keys.shape[0] === values.shape[0] &&
    keys.shape[1] === values.shape[2];
  if (!fits) {
    const both = [keys, values].map((tensor) => (tensor ? `[${tensor.shape.join(', ')}]` : 'nothing')).join(' and ');
    const message = `keys and values must be (heads, rank, n) and (heads, n, rank): got ${both}`;
    throw new FormatError(message, { file, tensor: tensor.name });
  }
  return isKeys ? [keyValuesOf(name, part, other!)] : [];
}

// Rows of queries, then of keys, then of values.
function fusedOf(part: TensorPart, path: string, kindOfWeight: string, { heads, kvHeads }: Heads): CheckpointTensor[] {
  const { tensor, file } = part;
  const isBias = tensor.shape.length === 1;
  const head = tensor.shape[0] / (heads + 2 * kvHeads);
  if (!Number.isInteger(head) || (isBias && tensor.code.weights !== 1)) {
    const message = `rows must be ${heads + 2 * kvHeads} heads, as the metadata has it: there are ${tensor.shape[0]}`;
    throw new FormatError(message, { file, tensor: tensor.name });
  }
  // A bias is as many rows of one number.
  const rows = isBias ? { ...tensor, shape: [tensor.shape[0], 1] } : tensor;
  let first = 0;
  return [heads, kvHeads, kvHeads].map((count, i) => {
    const span = { first, count: count * head };
    first += span.count;
    const name = `${path}.${['q_proj', 'k_proj', 'v_proj'][i]}.${kindOfWeight}`;
    return tensorOf(name, { ...part, tensor: rows, rows: span, ...(isBias && { shape: [span.count] }) });
  });
}

function unknown(part: TensorPart, { architecture }: Values): never {
  const { name } = part.tensor;
  const message = `tensor must be one that ${architecture} has here: the name is unknown`;
  throw new UnsupportedError(`tensor ${name}`, message, placeOf({ file: part.file, name }));
}
