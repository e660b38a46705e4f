// Writes a GGUF (version 3) of a Llama-shaped model: what llama-quantize reads. Little-endian; a string is its length as u64 and
// its bytes; data of a tensor starts at a multiple of 32.
//
//   │ "GGUF" 3 (u32) │ tensors, pairs (u64) │ pairs: key, type, value │ tensors: name, dimensions, type, offset │ padding │ data

import { open } from 'node:fs/promises';
import { type FloatType, gaussianBytes } from './gaussian.ts';
import { shapeOf, sizeOf, tensorsOf } from './models.ts';

const ALIGNMENT = 32;
const TYPES: Readonly<Record<FloatType, number>> = { f32: 0, bf16: 30 };

/**
 * Writes the model with seeded Gaussian weights; norms are f32, as llama.cpp's own converter has them.
 * @param tokens of the vocabulary, in the characters of GPT-2's table; none for a file that is only quantized
 */
export async function writeGguf(
  model: string,
  path: string,
  dtype: FloatType,
  tokens: readonly string[] = [],
): Promise<void> {
  const shape = shapeOf(model);
  let offset = 0;
  const tensors = tensorsOf(shape).map((tensor) => {
    const type: FloatType = tensor.shape.length === 1 ? 'f32' : dtype;
    const start = offset;
    const count = sizeOf(tensor.shape);
    offset = aligned(offset + count * (type === 'f32' ? 4 : 2));
    return { name: tensor.ggufName, shape: tensor.shape, type, start, count };
  });
  const pairs = [
    ...[text('general.architecture', 'llama'), text('general.name', model)],
    ...[number('llama.vocab_size', shape.vocabulary), number('llama.context_length', 2048)],
    ...[number('llama.embedding_length', shape.hidden), number('llama.feed_forward_length', shape.ffn)],
    ...[number('llama.block_count', shape.layers), number('llama.rope.dimension_count', shape.headDim)],
    ...[number('llama.attention.head_count', shape.heads), number('llama.attention.head_count_kv', shape.kvHeads)],
    join(string('llama.attention.layer_norm_rms_epsilon'), u32(6), f32(1e-5)),
    ...(tokens.length === 0 ? [text('tokenizer.ggml.model', 'no_vocab')] : vocabularyOf(tokens)),
  ];
  const head = join(
    ...[new TextEncoder().encode('GGUF'), u32(3), u64(tensors.length), u64(pairs.length), ...pairs],
    ...tensors.map(({ name, shape, type, start }) =>
      join(string(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(TYPES[type]), u64(start)),
    ),
  );
  const gaussian = { bf16: gaussianBytes('bf16'), f32: gaussianBytes('f32') };
  const file = await open(path, 'wx');
  try {
    await file.writeFile(join(head, new Uint8Array(aligned(head.length) - head.length)));
    for (const { type, count } of tensors) {
      for (const part of gaussian[type](count)) await file.writeFile(part);
      const bytes = count * (type === 'f32' ? 4 : 2);
      await file.writeFile(new Uint8Array(aligned(bytes) - bytes));
    }
  } finally {
    await file.close();
  }
}

// A byte-level vocabulary; the last token ends texts.
function vocabularyOf(tokens: readonly string[]): Uint8Array[] {
  const last = tokens.length - 1;
  const kinds = tokens.map((_, id) => u32(id === last ? 3 : 1)); // control, normal
  return [
    ...[text('tokenizer.ggml.model', 'gpt2'), text('tokenizer.ggml.pre', 'default')],
    array('tokenizer.ggml.tokens', 8, tokens.map(string)),
    array('tokenizer.ggml.token_type', 5, kinds),
    array('tokenizer.ggml.merges', 8, ['h e', 'l l'].map(string)),
    ...[number('tokenizer.ggml.bos_token_id', last), number('tokenizer.ggml.eos_token_id', last)],
  ];
}

function array(key: string, type: number, elements: readonly Uint8Array[]): Uint8Array {
  return join(string(key), u32(9), u32(type), u64(elements.length), ...elements);
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function text(key: string, value: string): Uint8Array {
  return join(string(key), u32(8), string(value));
}

function number(key: string, value: number): Uint8Array {
  return join(string(key), u32(4), u32(value));
}

function string(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return join(u64(bytes.length), bytes);
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function f32(value: number): Uint8Array {
  return new Uint8Array(Float32Array.of(value).buffer);
}

function u64(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}
