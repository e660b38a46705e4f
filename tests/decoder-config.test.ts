// What config.json may say, and what is refused; faults of the tensors that it tells of.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Architecture, AttentionSpec, FeedForwardSpec } from '../src/families/architecture.ts';
import { fieldsOf } from '../src/families/config.ts';
import { architectureOf, readArchitecture } from '../src/families/family.ts';
import { frequencies } from '../src/families/rope.ts';
import { FormatError, load, UnsupportedError } from '../src/index.ts';
import { loadLanguage } from '../src/model/model.ts';
import {
  crc32,
  memoryFolder,
  memoryOutput,
  rawTensor,
  readSafetensors,
  safetensors,
  type Tensor,
  tensorOf,
} from './checkpoints.ts';
import { families } from './families/index.ts';
import { configs, modelFolder, randomFile } from './models.ts';

const test = suite('decoder config');
const llama = configs.llama;

const parseConfig = (text: string, file: string): Architecture => architectureOf(fieldsOf(text, file));
const parse = (changes: object, base: object = llama): Architecture =>
  parseConfig(JSON.stringify({ ...base, ...changes }), 'm/config.json');
const attentionOf = ({ layers }: Architecture) => layers.map(([attention]) => attention as AttentionSpec);
const windowsOf = (architecture: Architecture) => attentionOf(architecture).map(({ window }) => window);
const biasesOf = (architecture: Architecture) => {
  const [attention, feedForward] = architecture.layers[1] as [AttentionSpec, FeedForwardSpec];
  return { qkv: attention.inputs[1].bias, output: attention.output.bias, feedForward: feedForward.output.bias };
};

test('architectureOf() reads what a Llama-family configuration says', () => {
  const config = parse({ rms_norm_eps: 1e-6, eos_token_id: [2, 5], sliding_window: 8 });
  assert.equal(windowsOf(config), [0, 0]); // Llama has none, whatever the file says
  assert.equal(config.eos, [2, 5]);
  assert.is(config.epsilon, 1e-6);
  assert.is(config.tied, false);
  assert.equal(biasesOf(config), { qkv: false, output: false, feedForward: false });
  assert.equal(windowsOf(parse({ sliding_window: 7 }, configs.mistral)), [7, 7]);
  assert.equal(windowsOf(parse({ sliding_window: null }, configs.mistral)), [0, 0]);
  assert.equal(windowsOf(parse({}, configs.qwen2)), [0, 5]);
  assert.equal(windowsOf(parse({ use_sliding_window: false }, configs.qwen2)), [0, 0]);
  assert.equal(biasesOf(parse({}, configs.qwen2)), { qkv: true, output: false, feedForward: false });
  assert.equal(windowsOf(parse({}, configs.qwen3)), [0, 9]);
  assert.is(attentionOf(parse({}, configs.qwen3))[1].queryKeyNorms?.q.name, 'model.layers.1.self_attn.q_norm.weight');
});

test('architectureOf() takes what a file leaves out from the architecture', () => {
  const none = undefined;
  const left = { head_dim: none, num_key_value_heads: none, rope_theta: none, rms_norm_eps: none };
  const config = parse({ ...left, hidden_size: 72 });
  const [{ headDim, kvHeads, rope }] = attentionOf(config);
  assert.equal([headDim, kvHeads, rope?.theta], [12, 6, 10000]);
  assert.is(config.epsilon, 1e-6);
  assert.is(attentionOf(parse({ head_dim: none }, configs.qwen3))[0].headDim, 128);
});

test('architectureOf() reads the text model of a larger one, and takes what released files leave out from its family', () => {
  const text = {
    ...{ model_type: 'gemma3_text', hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 34 },
    ...{ sliding_window: 1024, rope_scaling: { factor: 8, rope_type: 'linear' } },
  };
  const larger = { architectures: ['Gemma3ForConditionalGeneration'], model_type: 'gemma3', eos_token_id: [1, 106] };
  const gemma = parse({ text_config: text, vision_config: {} }, larger); // Gemma 3 4B, as released
  const [first, , , , , sixth] = attentionOf(gemma);
  assert.equal([gemma.vocabSize, gemma.contextLength, gemma.bos, gemma.eos], [262208, 131072, 2, [1, 106]]);
  assert.equal([first.heads, first.kvHeads, first.headDim, first.scale], [8, 4, 256, 1 / 16]);
  assert.equal([first.window, sixth.window], [1024, 0]);
  assert.equal([first.rope?.theta, first.rope?.scaling], [10000, { type: 'default' }]);
  assert.equal([sixth.rope?.theta, sixth.rope?.scaling], [1e6, { type: 'linear', factor: 8 }]);
  assert.is(gemma.tied, undefined); // the checkpoint tells
  const unknown = { text_config: { ...text, model_type: 'gemma9' } };
  assert.throws(() => parse(unknown, larger), /architecture must be of a family that runs, .*: got "Gemma3ForCond/);
});

test('architectureOf() refuses what families cannot have', () => {
  const phi = { ...llama, architectures: ['Phi3ForCausalLM'], model_type: 'phi3', head_dim: 8 };
  const longrope = { type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [2, 2, 2] };
  const gemma = { ...llama, architectures: ['Gemma2ForCausalLM'], model_type: 'gemma2' };
  const cases: [object, object, string][] = [
    [phi, { rope_scaling: longrope }, 'long_factor must be 4 numbers from 0.000001 to 1000000: got [2, 2, 2]'],
    [phi, { partial_rotary_factor: 0.1 }, 'partial_rotary_factor must leave 2 elements of a head: got 0.1'],
    [llama, { rope_theta: 1, rope_scaling: { type: 'yarn' } }, 'rope_theta must be above 1 with yarn: got 1'],
    [gemma, { use_bidirectional_attention: true }, 'use_bidirectional_attention must be one of false: got true'],
    [gemma, { text_config: 3, model_type: 'x' }, 'text_config must be an object or null: got 3'],
  ];
  for (const [base, changes, message] of cases) {
    assert.throws(
      () => parse(changes, base),
      (error: Error) => error.message === `m/config.json: ${message}`,
      message,
    );
  }
});

test('architectureOf() names what is not handled', () => {
  const cases: [object, string, string][] = [
    [{ architectures: ['BertModel'] }, 'architecture BertModel', 'architecture must be of a family that runs, arcee'],
    [
      { architectures: undefined, model_type: 'bert' },
      'model_type bert',
      'model_type must be of a family that runs, arcee',
    ],
    [{ hidden_act: 'gelu' }, 'hidden_act gelu', 'hidden_act must be one of silu, gelu_pytorch_tanh: got "gelu"'],
    [{ rope_scaling: { rope_type: 'axial' } }, 'rope_type axial', 'rope_type must be one of default, linear, dynamic'],
    [{ partial_rotary_factor: 0.5 }, 'partial_rotary_factor 0.5', 'partial_rotary_factor must be one of 1: got 0.5'],
    [{ quantization_config: { quant_method: 'aqlm' } }, 'quant_method aqlm', 'quant_method must be one of higgs-wasm'],
    [{ layer_types: ['full_attention', 'linear_attention'] }, 'layer_types linear_attention', 'layer_types must be'],
  ];
  for (const [changes, feature, message] of cases) {
    assert.throws(
      () => parse(changes),
      (error: Error) =>
        error instanceof UnsupportedError &&
        error.feature === feature &&
        error.message.startsWith(`m/config.json: ${message}`),
      feature,
    );
  }
});

test('architectureOf() refuses values that are wrong, hostile or contradictory', () => {
  const cases: [object, string][] = [
    [{ hidden_size: undefined }, 'hidden_size must be an integer from 1 to 65536: got nothing'],
    [{ hidden_size: 1e9 }, 'hidden_size must be an integer from 1 to 65536: got 1000000000'],
    [{ hidden_size: 64.5 }, 'hidden_size must be an integer from 1 to 65536: got 64.5'],
    [{ hidden_size: '64' }, 'hidden_size must be an integer from 1 to 65536: got "64"'],
    [{ num_hidden_layers: 0 }, 'num_hidden_layers must be an integer from 1 to 1024: got 0'],
    [{ num_hidden_layers: 1e6 }, 'num_hidden_layers must be an integer from 1 to 1024: got 1000000'],
    [{ num_key_value_heads: 4 }, 'num_attention_heads must be a multiple of num_key_value_heads: got 6 and 4'],
    [{ head_dim: 25 }, 'head_dim must be even: got 25'],
    [{ head_dim: null }, `head_dim must be an integer from 2 to 1024: got ${64 / 6}`],
    [{ vocab_size: -1 }, 'vocab_size must be an integer from 1 to 4194304: got -1'],
    [{ rms_norm_eps: 'small' }, 'rms_norm_eps must be a number from 0 to 1: got "small"'],
    [{ rope_theta: 0 }, 'rope_theta must be a number from 1 to 1000000000000: got 0'],
    [{ rope_scaling: 3 }, 'rope_scaling must be an object or null: got 3'],
    [{ rope_scaling: { type: 'linear' } }, 'factor must be a number from 1 to 1000000: got nothing'],
    [{ tie_word_embeddings: 1 }, 'tie_word_embeddings must be true or false: got 1'],
    [{ eos_token_id: 361 }, 'eos_token_id must be ids below 361: got 361'],
    [{ architectures: [] }, 'architectures must be an array of one string: got []'],
    [{ architectures: null, model_type: null }, 'config must have architectures or model_type: got null'],
    [{ layer_types: ['full_attention'] }, 'layer_types must name each of 2 layers: got ["full_attention"]'],
    [
      { layer_types: ['full_attention', 'sliding_attention'] },
      'sliding_window must be above 0 where a layer slides: got 0',
    ],
    [
      {
        rope_scaling: {
          ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4 },
          original_max_position_embeddings: 64,
        },
      },
      'high_freq_factor must be above low_freq_factor: got 4 and 4',
    ],
  ];
  for (const [changes, message] of cases) {
    assert.throws(
      () => parse(changes),
      (error: Error) => error instanceof FormatError && error.message === `m/config.json: ${message}`,
      message,
    );
  }
  assert.throws(() => parseConfig('[]', 'm'), /m: config must be a JSON object: got \[\]/);
  assert.throws(() => parseConfig('{"a":1,"a":2}', 'm'), /m: config/);
});

test('architectureOf() gives layers of Gemma 4 that see all the rope of the family where config.json tells of none', () => {
  const { rope_parameters: _, ...config } = families.gemma4_text.config as unknown as Record<string, unknown>;
  const usual = { rope_type: 'proportional', partial_rotary_factor: 0.25, rope_theta: 1e6 };
  const parameters = { full_attention: usual, sliding_attention: { rope_type: 'default', rope_theta: 1e4 } };
  assert.equal(parse({}, config), parse({ rope_parameters: parameters }, config));
});

test('readArchitecture() prefers the ids of generation_config.json that end a text', async () => {
  const encode = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  const folder = memoryFolder({
    'config.json': encode(llama),
    'generation_config.json': encode({ eos_token_id: [7, 8] }),
  });
  assert.equal((await readArchitecture(folder)).eos, [7, 8]);
});

test('frequencies() are powers of theta to 1e-14, and slowed as the scaling says', () => {
  const rope = { theta: 500000, elements: 128, interleaved: false, factor: 1, scaling: { type: 'default' } } as const;
  const plain = frequencies(rope, 4096);
  for (const [i, value] of plain.entries()) {
    assert.ok(Math.abs(value / 500000 ** (-i / 64) - 1) < 1e-14, `${i}: ${value}`);
  }
  const half = frequencies({ ...rope, scaling: { type: 'linear', factor: 2 } }, 4096);
  assert.equal(
    [...half],
    [...plain].map((value) => value / 2),
  );
  const scaling = { type: 'llama3', factor: 8, lowTurns: 1, highTurns: 4, original: 8192 } as const;
  const slowed = frequencies({ ...rope, scaling }, 4096);
  for (const [i, value] of plain.entries()) {
    const turns = (8192 * value) / (2 * Math.PI);
    if (turns > 4) assert.is(slowed[i], value);
    else if (turns < 1) assert.is(slowed[i], value / 8);
    else assert.ok(slowed[i] > value / 8 && slowed[i] < value);
  }
});

const file = randomFile(llama);
const tensors = Object.fromEntries(readSafetensors(file).tensors) as Record<string, Tensor>;
const q = 'model.layers.1.self_attn.q_proj';

test('loadLanguage() names the tensor that is missing, has another shape or dtype, or would be left out', async () => {
  const without = { ...tensors };
  delete without[`${q}.weight`];
  const place = (name: string) => `memory: tensor "${name}": `;
  const inFile = (name: string) => `memory/model.safetensors: tensor "${name}": `;
  const narrow = tensorOf('F32', [144, 63], new Float32Array(144 * 63));
  const eight = rawTensor('I8', [144, 64], 144 * 64);
  const bias = tensorOf('F32', [144], new Float32Array(144));
  const cases: [Record<string, Tensor>, string][] = [
    [without, `${place(`${q}.weight`)}checkpoint must hold the tensor, [144, 64]: it is missing`],
    [
      { ...tensors, [`${q}.weight`]: narrow },
      `${inFile(`${q}.weight`)}shape must be [144, 64], as config.json has it: it is [144, 63]`,
    ],
    [
      { ...tensors, [`${q}.weight`]: eight },
      `${inFile(`${q}.weight`)}dtype must be one of F32, F16, BF16, F8_E4M3: it is I8`,
    ],
    [
      { ...tensors, [`${q}.bias`]: bias },
      `${place(`${q}.bias`)}tensor must belong to the model of config.json: no layer has one of this name`,
    ],
  ];
  for (const [faulty, message] of cases) await refused(modelFolder(llama, safetensors(faulty)), message);
});

test('loadLanguage() refuses a checkpoint whose codes, scales or plain tensors were changed', async () => {
  const { files, header } = await quantized();
  for (const name of [`${q}.weight.packed`, `${q}.weight.scales`, 'model.norm.weight']) {
    const bytes = files.get('model.safetensors')!.slice();
    const { start } = header.tensors.get(name)!;
    bytes[start + 3] ^= 4;
    const actual = crc32(readSafetensors(bytes).tensors.get(name)!.bytes);
    const wanted = crc32(header.tensors.get(name)!.bytes);
    await refused(
      modelFolder(llama, bytes),
      `memory/model.safetensors: tensor "${name}": CRC-32 must be ${hex(wanted)}, as noted when it was written: it is ${hex(actual)}`,
    );
  }
});

test('loadLanguage() refuses a changed header and another version of the format', async () => {
  const { files } = await quantized();
  const text = new TextDecoder('latin1').decode(files.get('model.safetensors')!);
  const change = (from: string, to: string) => {
    assert.ok(text.includes(from) && from.length === to.length);
    return Uint8Array.from(text.replace(from, to), (c) => c.charCodeAt(0));
  };
  await refused(
    modelFolder(llama, change('"higgs.format":"1"', '"higgs.format":"9"')),
    'memory/model.safetensors: higgs.format must be 1, the version this release reads: it is "9"',
  );
  await refused(
    modelFolder(llama, change('\\"seed\\":5', '\\"seed\\":6')),
    'memory/model.safetensors: CRC-32 of the header',
  );
});

test.run();

async function quantized() {
  const output = memoryOutput();
  const higgs = await load();
  await higgs.quantizeCheckpoint(modelFolder(llama, file), output, { grid: 'p2n16', groupSize: 32, seed: 5 });
  return { files: output.files, header: readSafetensors(output.files.get('model.safetensors')!) };
}

async function refused(folder: Parameters<typeof loadLanguage>[0], message: string): Promise<void> {
  const error = await loadLanguage(folder).then(
    () => assert.unreachable(`must be refused: ${message}`),
    (reason: Error) => reason,
  );
  assert.ok((error as Error).message.startsWith(message), (error as Error).message);
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0');
}
