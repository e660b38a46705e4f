// Files in GGUF: headers of any bytes, pairs of any value, tensors of any code and shape. What is taken reads as it says, and its
// configuration and tokenizer are read by the same rules as those of any checkpoint.

import { readFileSync } from 'node:fs';
import { openOnce } from '../../src/checkpoint/checkpoint.ts';
import { byteLengthOf } from '../../src/checkpoint/safetensors/dtype.ts';
import { openTokenizer } from '../../src/decoder.ts';
import { readArchitecture } from '../../src/families/family.ts';
import { EMBEDDING, type Given, type GivenTensor, ggufOf, pairsOf } from '../gguf/read.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { expect } from './oracle.ts';
import { aFewTimes, NUMBERS, type Random } from './random.ts';
import { folderOfCase, type Target, type World } from './target.ts';

/** Bytes of a seed that are changed: its header, and a little of its data. */
const HEADER = 4000;
const seeds = ['llama', 'gemma2', 'deepseek_v3', 'phi3', 'qwen2_moe', 'lfm2'].map(
  (name) => new Uint8Array(readFileSync(`tests/gguf/${name}.gguf`)),
);
const ARCHITECTURES = [
  'llama',
  'qwen3',
  'qwen2moe',
  'gemma3',
  'phi3',
  'olmo2',
  'glm4',
  'deepseek2',
  'lfm2',
  'chatglm',
  '?',
];
const KEYS = [
  ...['block_count', 'embedding_length', 'attention.head_count', 'attention.head_count_kv', 'attention.key_length'],
  ...['rope.scaling.type', 'rope.scaling.factor', 'rope.dimension_count', 'attention.sliding_window', 'expert_count'],
  ...['expert_used_count', 'attention.kv_lora_rank', 'attention.sliding_window_pattern', 'nextn_predict_layers'],
  ...['rope.freq_base', 'context_length', 'feed_forward_length', 'shortconv.l_cache', 'attention.value_length'],
];
const TOKENIZER = ['model', 'pre', 'tokens', 'token_type', 'scores', 'merges', 'bos_token_id', 'add_bos_token'];
const TENSORS = [
  ...['attn_q', 'attn_k', 'attn_v', 'attn_qkv', 'attn_output', 'ffn_up', 'ffn_gate', 'attn_norm', 'ffn_gate_exps'],
  ...['attn_k_b', 'attn_v_b', 'ffn_gate_inp_shexp', 'shortconv.conv', 'exp_probs_b', 'constructor', 'attn_rot_embd'],
];
const WORDS = ['', 'a', 'b', 'ab', '▁', '▁a', '<0x0A>', '<s>', '__proto__', 'toString', 'é', '\u0000', 'a b', '👍'];

function randomValue(random: Random): Given[string] {
  const number = () => Math.abs(Math.trunc(random.pick(NUMBERS) || 0)) % 2 ** 32;
  const words = () => Array.from({ length: random.between(0, 6) }, () => random.pick(WORDS));
  return random.pick([
    number,
    number,
    () => random.float(),
    () => random.chance(0.5),
    () => random.pick(['gpt2', 'llama', 'default', 'qwen2', 'yarn', 'linear', ...WORDS]),
    words,
    () => Float64Array.from({ length: random.between(0, 6) }, () => random.between(0, 6)),
  ])();
}

// Such as a vocabulary is, or nearly.
function vocabulary(random: Random): Given {
  const tokens = ['<unk>', '<s>', '</s>', ...WORDS.filter((word) => word !== '')];
  return {
    'tokenizer.ggml.model': random.pick(['gpt2', 'llama']),
    'tokenizer.ggml.pre': random.pick(['default', 'llama-bpe', 'qwen2', 'deepseek-llm']),
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': Float64Array.from(tokens, () => random.between(1, 6)),
    'tokenizer.ggml.merges': ['a b', '▁ a'],
    'tokenizer.chat_template': random.pick(WORDS),
  };
}

function randomTensor(random: Random): GivenTensor {
  const type = random.pick([0, 0, 0, 1, 30, 2, 3, 6, 7, 8, 10, 12, 13, 14, 99]);
  const block = type > 9 && type < 15 ? 256 : type > 1 && type < 10 ? 32 : 1;
  const rest = Array.from({ length: random.between(0, 3) }, () => random.between(0, 8));
  return {
    name: random.pick([
      ...TENSORS.map((name) => `blk.0.${name}.weight`),
      'blk.0.attn_q.bias',
      'rope_freqs.weight',
      'x',
    ]),
    sizes: [block * random.between(1, 3) + Number(random.chance(0.1)), ...rest],
    type,
    bytes: random.bytes(random.pick([0, 32, 64, 144, 288, 640, 2000])),
    ...(random.chance(0.1) && { offset: random.pick([0, 1, 32, 64, 2 ** 40]) }),
  };
}

function made(random: Random): Uint8Array {
  const architecture = random.pick(ARCHITECTURES);
  const pairs: Record<string, Given[string]> = {
    ...pairsOf(architecture),
    ...(random.chance(0.6) && vocabulary(random)),
  };
  aFewTimes(random, () => {
    const key = random.chance(0.3)
      ? `tokenizer.ggml.${random.pick(TOKENIZER)}`
      : `${architecture}.${random.pick(KEYS)}`;
    if (random.chance(0.2)) delete pairs[key];
    else pairs[key] = randomValue(random);
  });
  if (random.chance(0.1)) pairs['general.alignment'] = randomValue(random);
  const tensors = random.chance(0.95) ? [EMBEDDING] : [];
  aFewTimes(random, () => tensors.push(randomTensor(random)));
  return ggufOf(pairs, tensors, random.chance(0.05) ? { version: random.between(0, 4) } : {});
}

function changed(random: Random): Uint8Array {
  const file = random.pick(seeds);
  let head: Uint8Array = file.subarray(0, HEADER);
  aFewTimes(random, () => {
    head = changeBytes(head, random);
  });
  const whole = new Uint8Array(head.length + file.length - HEADER);
  whole.set(head);
  whole.set(file.subarray(HEADER), head.length);
  return whole;
}

async function run(files: Files, { higgs }: World): Promise<void> {
  const folder = await openOnce(folderOfCase(files));
  for (const tensor of folder.checkpoint.tensors) {
    const { dtype, shape, byteLength } = tensor;
    expect(byteLengthOf(dtype, shape) === byteLength, 'a tensor has the bytes of its shape');
    const [start, end] = [Math.floor(byteLength / 3), Math.min(byteLength, Math.floor(byteLength / 3) + 100)];
    expect((await tensor.read(start, end)).byteLength === end - start, 'a part has the bytes that were asked for');
  }
  await higgs.inspectCheckpoint(folder);
  await higgs.planCheckpoint(folder, { grid: 'p1n4', groupSize: 16 });
  await readArchitecture(folder);
  if ((await folder.list()).includes('tokenizer.json')) (await openTokenizer(folder)).encode('a ab\n  b');
}

export const gguf: Target = {
  name: 'gguf',
  make: (random) => ({ 'model.gguf': random.chance(0.5) ? changed(random) : made(random) }),
  run,
};
