// Models with experts and with latent attention: how their tensors may stand, memories, sequences that share a cache, what quantizing
// leaves as it is.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fieldsOf } from '../src/families/config.ts';
import { architectureOf } from '../src/families/family.ts';
import { load } from '../src/index.ts';
import { linearsOf } from '../src/model/blocks/blocks.ts';
import { type LanguageModel, loadLanguage, type ModelOptions } from '../src/model/model.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import type { Folder } from '../src/source/source.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { memoryFolder, memoryOutput, readSafetensors, safetensors, type Tensor } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { logitsOf, referencesOf } from './references.ts';

const test = suite('experts');
const NAMES = ['deepseek_v2', 'deepseek_v3', 'gemma4_experts', 'glm4_moe', 'mixtral', 'qwen2_moe', 'qwen3_moe'];

const idsOf = (name: string) => referencesOf(families[name].logits)[0].ids;
const folderOf = (name: string) => modelFolder(families[name].config, families[name].model);

function tensorsOf(name: string): Record<string, Tensor> {
  return Object.fromEntries(readSafetensors(families[name].model).tensors);
}

async function logits(folder: Folder, ids: readonly number[], options: ModelOptions = {}): Promise<Float32Array> {
  const model = await loadAlone(folder, { context: ids.length, ...options });
  const all = await model.forward(ids, { logits: 'all' });
  await model.close();
  return all;
}

/** A checkpoint with its experts stacked, or one by one. */
function restacked(tensors: Record<string, Tensor>): Record<string, Tensor> {
  const result: Record<string, Tensor> = {};
  const groups = new Map<string, Tensor[]>();
  for (const [name, tensor] of Object.entries(tensors)) {
    const match = /^(.*?)(\.mlp|\.block_sparse_moe|)\.experts\.(\d+)\.(\w+)\.weight$/.exec(name);
    const stack = /^(.*)\.experts\.(gate_up_proj|down_proj)$/.exec(name);
    if (match) {
      const role = { w1: 'gate', w3: 'up', w2: 'down', gate_proj: 'gate', up_proj: 'up', down_proj: 'down' }[match[4]]!;
      const path = match[1] + match[2].replace('block_sparse_moe', 'mlp');
      const key = `${path}.experts.${role === 'down' ? 'down_proj' : 'gate_up_proj'}`;
      const place = role === 'down' ? Number(match[3]) : 2 * Number(match[3]) + (role === 'up' ? 1 : 0);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key)![place] = tensor;
    } else if (stack) {
      const [experts, rows, cols] = tensor.shape;
      const roles = stack[2] === 'down_proj' ? ['down_proj'] : ['gate_proj', 'up_proj'];
      const bytes = tensor.bytes.length / experts / roles.length;
      for (let i = 0; i < experts * roles.length; i++) {
        const path = `${stack[1]}.experts.${Math.floor(i / roles.length)}.${roles[i % roles.length]}.weight`;
        const part = tensor.bytes.slice(i * bytes, (i + 1) * bytes);
        result[path] = { ...tensor, shape: [rows / roles.length, cols], bytes: part };
      }
    } else result[name.replace('block_sparse_moe.gate', 'mlp.gate')] = tensor;
  }
  for (const [name, parts] of groups) {
    const [rows, cols] = parts[0].shape;
    const perExpert = name.endsWith('down_proj') ? 1 : 2;
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.length, 0));
    let offset = 0;
    for (const part of parts) {
      bytes.set(part.bytes, offset);
      offset += part.bytes.length;
    }
    result[name] = { ...parts[0], shape: [parts.length / perExpert, perExpert * rows, cols], bytes };
  }
  return result;
}

async function quantized(folder: Folder): Promise<Folder> {
  const output = memoryOutput();
  await (await load()).quantizeCheckpoint(folder, output, { grid: 't4', groupSize: 16, embeddings: 't4' });
  return output.folder();
}

for (const name of NAMES) {
  test(`experts stacked and one by one give the same bits, also quantized: ${name}`, async () => {
    const folder = folderOf(name);
    const other = modelFolder(families[name].config, safetensors(restacked(tensorsOf(name))));
    sameBits(await logits(other, idsOf(name)), await logits(folder, idsOf(name)));
    sameBits(await logits(await quantized(other), idsOf(name)), await logits(await quantized(folder), idsOf(name)));
  });

  test(`several memories give the bits of one: ${name}`, async () => {
    for (const folder of [folderOf(name), await quantized(folderOf(name))]) {
      const whole = await loadLanguage(folder, { context: 40 });
      const { bytes } = whole.memory;
      await whole.close();
      const wanted = await logits(folder, idsOf(name));
      sameBits(await logits(folder, idsOf(name), { memoryLimit: bytes - 1 }), wanted);
    }
  });

  test(`sequences that go together have the bits that they have alone, forked and cut short: ${name}`, async () => {
    const folder = await quantized(folderOf(name));
    const ids = idsOf(name);
    const [first, second, third] = [ids, [...ids.slice(0, 21), ...ids.slice(3, 15)], ids.slice(7, 30)];
    const wanted = [];
    for (const own of [first, second, third]) wanted.push(await lastOf(folder, own));
    const model = await loadLanguage(folder, { context: 40, cacheTokens: 120 });
    const actual = await Promise.all([first, third].map((own) => run(model, own)));
    actual.push(await run(model, second)); // begins as the first does
    sameBits(actual[0], wanted[0]);
    sameBits(actual[1], wanted[2]);
    sameBits(actual[2], wanted[1]);
    const sequence = await model.open({ capacity: 40 });
    await sequence.extend(first);
    sequence.truncate(21);
    sameBits(await sequence.extend(second.slice(21)), wanted[1]);
    await model.close();
  });
}

async function lastOf(folder: Folder, ids: readonly number[]): Promise<Float32Array> {
  const model = await loadLanguage(folder, { context: 40 });
  const row = await run(model, ids);
  await model.close();
  return row;
}

// In two calls, so that others' tokens come between.
async function run(model: LanguageModel, ids: readonly number[]): Promise<Float32Array> {
  const sequence = await model.open({ capacity: ids.length, ids });
  const held = sequence.ids.length;
  const middle = Math.max(held, 9);
  if (middle > held) await sequence.extend(ids.slice(held, middle));
  const row = await sequence.extend(ids.slice(middle));
  sequence.close();
  return row;
}

// What the releases' files say, but for what no family reads.
const RELEASES: Record<string, { config: object; experts: number; dense: number; weights: number }> = {
  'Qwen3-30B-A3B': {
    config: {
      ...{
        architectures: ['Qwen3MoeForCausalLM'],
        attention_bias: false,
        bos_token_id: 151643,
        decoder_sparse_step: 1,
      },
      ...{ eos_token_id: 151645, head_dim: 128, hidden_act: 'silu', hidden_size: 2048, intermediate_size: 6144 },
      ...{ max_position_embeddings: 40960, max_window_layers: 48, mlp_only_layers: [], model_type: 'qwen3_moe' },
      ...{ moe_intermediate_size: 768, norm_topk_prob: true, num_attention_heads: 32, num_experts: 128 },
      ...{
        num_experts_per_tok: 8,
        num_hidden_layers: 48,
        num_key_value_heads: 4,
        rms_norm_eps: 1e-6,
        rope_scaling: null,
      },
      ...{ rope_theta: 1000000, sliding_window: null, tie_word_embeddings: false, torch_dtype: 'bfloat16' },
      ...{ use_sliding_window: false, vocab_size: 151936 },
    },
    ...{ experts: 48, dense: 0, weights: 30.5e9 },
  },
  'Mixtral-8x7B': {
    config: {
      ...{
        architectures: ['MixtralForCausalLM'],
        bos_token_id: 1,
        eos_token_id: 2,
        hidden_act: 'silu',
        hidden_size: 4096,
      },
      ...{ intermediate_size: 14336, max_position_embeddings: 32768, model_type: 'mixtral', num_attention_heads: 32 },
      ...{ num_experts_per_tok: 2, num_hidden_layers: 32, num_key_value_heads: 8, num_local_experts: 8 },
      ...{ rms_norm_eps: 1e-5, rope_theta: 1e6, sliding_window: null, tie_word_embeddings: false, vocab_size: 32000 },
    },
    ...{ experts: 32, dense: 0, weights: 46.7e9 },
  },
  'DeepSeek-V2-Lite': {
    config: {
      ...{
        architectures: ['DeepseekV2ForCausalLM'],
        attention_bias: false,
        bos_token_id: 100000,
        eos_token_id: 100001,
      },
      ...{
        first_k_dense_replace: 1,
        hidden_act: 'silu',
        hidden_size: 2048,
        intermediate_size: 10944,
        kv_lora_rank: 512,
      },
      ...{ max_position_embeddings: 163840, model_type: 'deepseek_v2', moe_intermediate_size: 1408, moe_layer_freq: 1 },
      ...{ n_group: 1, n_routed_experts: 64, n_shared_experts: 2, norm_topk_prob: false, num_attention_heads: 16 },
      ...{ num_experts_per_tok: 6, num_hidden_layers: 27, num_key_value_heads: 16, q_lora_rank: null },
      ...{
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        rms_norm_eps: 1e-6,
        rope_theta: 10000,
        routed_scaling_factor: 1,
      },
      rope_scaling: {
        ...{ beta_fast: 32, beta_slow: 1, factor: 40, mscale: 707 / 1000, mscale_all_dim: 707 / 1000 },
        ...{ original_max_position_embeddings: 4096, type: 'yarn' },
      },
      ...{ scoring_func: 'softmax', tie_word_embeddings: false, topk_group: 1, topk_method: 'greedy', v_head_dim: 128 },
      vocab_size: 102400,
    },
    ...{ experts: 26, dense: 1, weights: 15.7e9 },
  },
  'Kimi-K2': {
    config: {
      ...{
        architectures: ['DeepseekV3ForCausalLM'],
        attention_bias: false,
        bos_token_id: 163584,
        eos_token_id: 163585,
      },
      ...{
        first_k_dense_replace: 1,
        hidden_act: 'silu',
        hidden_size: 7168,
        intermediate_size: 18432,
        kv_lora_rank: 512,
      },
      ...{ max_position_embeddings: 131072, model_type: 'kimi_k2', moe_intermediate_size: 2048, moe_layer_freq: 1 },
      ...{ n_group: 1, n_routed_experts: 384, n_shared_experts: 1, norm_topk_prob: true, num_attention_heads: 64 },
      ...{ num_experts_per_tok: 8, num_hidden_layers: 61, num_key_value_heads: 64, num_nextn_predict_layers: 0 },
      ...{ q_lora_rank: 1536, qk_nope_head_dim: 128, qk_rope_head_dim: 64, rms_norm_eps: 1e-6, rope_theta: 50000 },
      rope_scaling: {
        ...{ beta_fast: 1, beta_slow: 1, factor: 32, mscale: 1, mscale_all_dim: 1 },
        ...{ original_max_position_embeddings: 4096, type: 'yarn' },
      },
      ...{ routed_scaling_factor: 2.827, scoring_func: 'sigmoid', tie_word_embeddings: false, topk_group: 1 },
      ...{ topk_method: 'noaux_tc', v_head_dim: 128, vocab_size: 163840 },
    },
    ...{ experts: 60, dense: 1, weights: 1026e9 },
  },
  'GLM-4.5-Air': {
    config: {
      ...{ architectures: ['Glm4MoeForCausalLM'], attention_bias: true, eos_token_id: [151329, 151336, 151338] },
      ...{ first_k_dense_replace: 1, head_dim: 128, hidden_act: 'silu', hidden_size: 4096, intermediate_size: 10944 },
      ...{ max_position_embeddings: 131072, model_type: 'glm4_moe', moe_intermediate_size: 1408, n_group: 1 },
      ...{ n_routed_experts: 128, n_shared_experts: 1, norm_topk_prob: true, num_attention_heads: 96 },
      ...{ num_experts_per_tok: 8, num_hidden_layers: 46, num_key_value_heads: 8, num_nextn_predict_layers: 1 },
      ...{ partial_rotary_factor: 0.5, rms_norm_eps: 1e-5, rope_scaling: null, rope_theta: 1000000 },
      ...{
        routed_scaling_factor: 1,
        tie_word_embeddings: false,
        topk_group: 1,
        use_qk_norm: false,
        vocab_size: 151552,
      },
    },
    ...{ experts: 45, dense: 1, weights: 106.8e9 },
  },
};

for (const [name, { config, experts, dense, weights }] of Object.entries(RELEASES)) {
  test(`config.json of a release is read: ${name}`, () => {
    const { layers, embedding, head } = architectureOf(fieldsOf(JSON.stringify(config), name));
    const blocks = layers.flat();
    assert.is(blocks.filter(({ kind }) => kind === 'experts').length, experts);
    assert.is(blocks.filter(({ kind }) => kind === 'feedForward').length, dense);
    const linears = [embedding, head, ...blocks.flatMap(linearsOf)];
    const count = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
    assert.ok(Math.abs(count / weights - 1) < 0.01, `${count} weights, not ${weights}`);
  });
}

test('quantizing leaves routers, corrections and gates of shared experts as they are', async () => {
  for (const name of NAMES) {
    const report = await (await load()).quantizeCheckpoint(folderOf(name), memoryOutput(), { groupSize: 16 });
    const names = report.tensors.map((tensor) => tensor.name);
    assert.ok(names.some((key) => /experts?[._]/.test(key)));
    assert.equal(
      names.filter((key) => /\.gate\.|router|shared_expert_gate|correction|norm/.test(key)),
      [],
    );
  }
});

test('layers behind the last are kept by quantizing and left out by running', async () => {
  const { config } = families.deepseek_v3;
  const tensors = tensorsOf('deepseek_v3');
  const { num_hidden_layers: last } = config as unknown as { num_hidden_layers: number };
  const further = Object.entries(tensors).flatMap(([key, tensor]): [string, Tensor][] =>
    key.startsWith('model.layers.0.') ? [[key.replace('.0.', `.${last}.`), tensor]] : [],
  );
  const path = `model.layers.${last}`;
  const more = [
    [`${path}.eh_proj.weight`, 'lm_head.weight'] as const,
    [`${path}.shared_head.head.weight`, 'lm_head.weight'] as const,
  ];
  const all = { ...tensors, ...Object.fromEntries(further) };
  for (const [key, as] of more) all[key] = tensors[as] ?? tensors['model.embed_tokens.weight'];
  const folder = modelFolder(config, safetensors(all));
  const reference = referencesOf(families.deepseek_v3.logits)[0];
  sameBits(await logitsOf(folder, reference), await logitsOf(folderOf('deepseek_v3'), reference));
  const output = memoryOutput();
  const report = await (await load()).quantizeCheckpoint(folder, output, { groupSize: 16 });
  const names = report.tensors.map(({ name }) => name);
  assert.ok(names.includes(`${path}.eh_proj.weight`));
  assert.not(names.includes(`${path}.shared_head.head.weight`));
  sameBits(
    await logits(output.folder(), reference.ids),
    await logits(await quantizedPlain('deepseek_v3'), reference.ids),
  );
});

async function quantizedPlain(name: string): Promise<Folder> {
  const output = memoryOutput();
  await (await load()).quantizeCheckpoint(folderOf(name), output, { groupSize: 16 });
  return output.folder();
}

test('a stack is refused that has another shape, or whose checksum does not hold', async () => {
  const tensors = tensorsOf('qwen3_moe');
  const name = Object.keys(tensors).find((key) => key.endsWith('experts.down_proj'))!;
  const [experts, rows, cols] = tensors[name].shape;
  const wrong = { ...tensors, [name]: { ...tensors[name], shape: [experts, cols, rows] } };
  const message = await logits(modelFolder(families.qwen3_moe.config, safetensors(wrong)), [1]).then(
    () => '',
    (error: Error) => error.message,
  );
  assert.match(message, `shape must be [${experts}, ${rows}, ${cols}], as config.json has it`);
  const output = memoryOutput();
  await (await load()).quantizeCheckpoint(folderOf('qwen3_moe'), output, { grid: 'p1n16', groupSize: 16 });
  const [[file, bytes]] = output.files;
  const { start, bytes: packed } = readSafetensors(bytes).tensors.get(`${name}.packed`)!;
  for (const place of [start, start + packed.length - 1]) {
    const faulty = bytes.slice();
    faulty[place] ^= 1;
    const folder = memoryFolder({ ...Object.fromEntries(output.files), [file]: faulty });
    const actual = await logits(folder, [1]).then(
      () => '',
      (error: Error) => error.message,
    );
    assert.match(actual, `${name}.packed": CRC-32 must be`);
  }
});

for (const name of ['mixtral', 'qwen2_moe', 'deepseek_v3', 'gemma4_experts']) {
  test(`sensitivities of a stack are the sums of its experts', and unreached ones have their layer's mean: ${name}`, async () => {
    const stackedOf = async (stacked: boolean, tokens: number) => {
      const entries = tensorsOf(name);
      const isStacked = Object.keys(entries).some((tensor) => /experts\.(gate_up|down)_proj$/.test(tensor));
      const tensors = isStacked === stacked ? entries : restacked(entries);
      const folder = modelFolder(families[name].config, safetensors(tensors));
      return measureSensitivity(folder, { estimator: 'fisher', source: 'random', sequences: 1, draws: 2, tokens });
    };
    const [each, stack] = [await stackedOf(false, 3), await stackedOf(true, 3)];
    assert.ok(Number(each.settings.unreached) > 0);
    assert.is(stack.settings.unreached, each.settings.unreached);
    for (const [tensor, { alpha, shape }] of stack.tensors) {
      assert.ok(alpha > 0, tensor);
      const match = /^(.*?)(?:\.mlp)?\.experts\.(gate_up|down)_proj$/.exec(tensor);
      if (!match) continue;
      assert.is(shape!.length, 3);
      const parts = [...each.tensors].filter(([part]) => {
        const role = match[2] === 'down' ? /(down_proj|w2)\.weight$/ : /(gate_proj|up_proj|w1|w3)\.weight$/;
        return part.startsWith(`${match[1]}.`) && /\.experts\./.test(part) && role.test(part);
      });
      const sum = parts.reduce((total, [, part]) => total + part.alpha, 0);
      assert.ok(Math.abs(alpha / sum - 1) < 1e-4, `${tensor}: ${alpha} is not ${sum}`);
    }
  });
}

test.run();
