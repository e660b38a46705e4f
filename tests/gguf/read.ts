// The goldens here, and files made of literals.

import { readFileSync } from 'node:fs';
import type { Folder } from '../../src/index.ts';
import { memoryFolder, readSafetensors, tensorOf, valuesOf } from '../checkpoints.ts';

interface Goldens {
  /** By family, what config.json says as far as GGUF tells it. */
  readonly configs: Readonly<Record<string, Record<string, unknown>>>;
  readonly vocabularies: readonly Vocabulary[];
}

/** A tokenizer of tests/tokenizer-kinds in llama.cpp's words. */
interface Vocabulary {
  readonly name: string;
  readonly model: 'gpt2' | 'llama';
  readonly pre: string;
  readonly kinds: readonly number[];
  readonly addBos: boolean;
  readonly addSpace: boolean;
}

export const goldens: Goldens = JSON.parse(readFileSync('tests/gguf/goldens.json', 'utf8'));

export const fileOf = (name: string): Uint8Array<ArrayBuffer> => new Uint8Array(readFileSync(`tests/gguf/${name}`));

/** A folder with that file alone. */
export function folderWith(name: string, file: Uint8Array): Folder {
  return memoryFolder({ [name]: file });
}

/** Pairs of a file. Numbers become u32 if they are whole, f32 if not; numbers of a list i32 or f32. */
export type Given = Readonly<Record<string, string | number | boolean | readonly string[] | Int32Array | Float64Array>>;

/** A tensor of a file: sizes as in the file, columns first. */
export interface GivenTensor {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly type: number;
  readonly bytes: Uint8Array;
  /** Where its data says to stand; behind the one before it if left out. */
  readonly offset?: number;
}

/** The fewest pairs that a model of an architecture has. */
export function pairsOf(architecture: string): Given {
  const own = {
    ...{ block_count: 1, context_length: 64, embedding_length: 8, feed_forward_length: 16 },
    ...{ 'attention.head_count': 2, 'attention.head_count_kv': 1, 'attention.layer_norm_rms_epsilon': 1e-5 },
  };
  return {
    'general.architecture': architecture,
    ...Object.fromEntries(Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value])),
  };
}

/** An embedding of f32, which every model has. */
export const EMBEDDING: GivenTensor = { name: 'token_embd.weight', sizes: [8, 4], type: 0, bytes: new Uint8Array(128) };

/** A file, byte by byte. @param counts of tensors and pairs that the header claims, if others */
export function ggufOf(
  pairs: Given,
  tensors: readonly GivenTensor[] = [EMBEDDING],
  { version = 3, counts = [tensors.length, Object.keys(pairs).length] }: { version?: number; counts?: number[] } = {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [bytesOf('GGUF'), u32(version), u64(counts[0]), u64(counts[1])];
  for (const [key, value] of Object.entries(pairs)) parts.push(text(key), ...valued(value));
  let at = 0;
  const data: Uint8Array[] = [];
  for (const { name, sizes, type, bytes, offset } of tensors) {
    parts.push(text(name), u32(sizes.length), ...sizes.map(u64), u32(type), u64(offset ?? at));
    const padded = new Uint8Array(Math.ceil(bytes.length / 32) * 32);
    padded.set(bytes);
    data.push(padded);
    at += padded.length;
  }
  const head = join(parts);
  return join([head, new Uint8Array(-head.length & 31), ...data]);
}

function valued(value: Given[string]): Uint8Array[] {
  if (typeof value === 'string') return [u32(8), text(value)];
  if (typeof value === 'boolean') return [u32(7), Uint8Array.of(Number(value))];
  if (typeof value === 'number') return Number.isInteger(value) ? [u32(4), u32(value)] : [u32(6), f32(value)];
  if (value instanceof Int32Array) return [u32(9), u32(5), u64(value.length), new Uint8Array(value.slice().buffer)];
  if (value instanceof Float64Array) return [u32(9), u32(6), u64(value.length), join(Array.from(value, f32))];
  return [u32(9), u32(8), u64(value.length), ...value.map(text)];
}

/** The twin of a Llama's checkpoint, in BF16 or F16, its vocabulary with scores as SentencePiece has them. */
export function llamaTwin(directory: string, dtype: 'BF16' | 'F16'): Uint8Array<ArrayBuffer> {
  const file = (name: string) => readFileSync(`${directory}/${name}`);
  const config = JSON.parse(file('config.json').toString());
  const { model, added_tokens } = JSON.parse(file('tokenizer.json').toString());
  const tokens: string[] = [];
  for (const [token, id] of Object.entries<number>(model.vocab)) tokens[id] = token;
  const special = new Set(added_tokens.map(({ id }: { id: number }) => id));
  const kindOf = (token: string, id: number) => (special.has(id) ? 3 : token.startsWith('<0x') ? 6 : 1);
  const tensors = [...readSafetensors(new Uint8Array(file('model.safetensors'))).tensors];
  return ggufOf(
    {
      'general.architecture': 'llama',
      'llama.vocab_size': config.vocab_size,
      'llama.block_count': config.num_hidden_layers,
      'llama.context_length': config.max_position_embeddings,
      'llama.embedding_length': config.hidden_size,
      'llama.feed_forward_length': config.intermediate_size,
      'llama.attention.head_count': config.num_attention_heads,
      'llama.attention.head_count_kv': config.num_key_value_heads,
      'llama.attention.layer_norm_rms_epsilon': config.rms_norm_eps,
      'llama.rope.dimension_count': config.head_dim,
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.scores': Float64Array.from(tokens, (_, id) => -id),
      'tokenizer.ggml.token_type': Int32Array.from(tokens, kindOf),
      'tokenizer.ggml.bos_token_id': config.bos_token_id,
      'tokenizer.ggml.eos_token_id': config.eos_token_id,
      'tokenizer.ggml.unknown_token_id': 0,
    },
    tensors.map(([name, tensor]) => {
      const { shape } = tensor;
      const values = Float32Array.from(valuesOf(tensor));
      const head = /[qk]_proj/.test(name) ? config.head_dim : 0;
      const own = shape.length === 1 ? 'F32' : dtype;
      const { bytes } = tensorOf(own, shape, head ? turned(values, shape[1], head) : values);
      return { name: ggufName(name), sizes: [...shape].reverse(), type: { F32: 0, F16: 1, BF16: 30 }[own], bytes };
    }),
  );
}

const NAMES = {
  ...{ 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' },
  ...{ input_layernorm: 'attn_norm', post_attention_layernorm: 'ffn_norm', 'self_attn.o_proj': 'attn_output' },
};

function ggufName(name: string): string {
  const short = name.replace(/^model\.layers\.(\d+)\./, 'blk.$1.');
  const [found] = Object.entries(NAMES).filter(([own]) => short.includes(own));
  if (found) return short.replace(...found);
  return short.replace(/self_attn\.(\w)_proj/, 'attn_$1').replace(/mlp\.(\w+)_proj/, 'ffn_$1');
}

// Row s · half + i of a head goes to 2i + s.
function turned(values: Float32Array, cols: number, head: number): Float32Array {
  const moved = new Float32Array(values.length);
  for (let row = 0; row < values.length / cols; row++) {
    const within = row % head;
    const to = row - within + 2 * (within % (head / 2)) + Number(within >= head / 2);
    moved.set(values.subarray(row * cols, (row + 1) * cols), to * cols);
  }
  return moved;
}

const bytesOf = (words: string) => new TextEncoder().encode(words);
const text = (words: string) => join([u64(bytesOf(words).length), bytesOf(words)]);
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const f32 = (value: number) => new Uint8Array(Float32Array.of(value).buffer);
const u64 = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
