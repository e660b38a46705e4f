// Plans of models with experts: a grid for each or for a stack of them, layers that predict further tokens, and what a release of 671B
// takes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Alphas, type Folder, load, type PlanTensor, priorAlphas, uniformAlphas } from '../src/index.ts';
import { bareAlpha } from '../src/linearity/alphas.ts';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { uniform } from './bits.ts';
import { memoryOutput, readSafetensors, safetensors } from './checkpoints.ts';
import { deepseek, deepseekShapes, config as small } from './deepseek.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';

const test = suite('experts plan');
const higgs = await load();

const [LAYERS, EXPERTS] = [3, 5];
const KINDS: Record<string, number[]> = { up_proj: [48, 64], down_proj: [64, 48] };
const next = uniform(3);
const single: PlanTensor[] = [];
const stacked: PlanTensor[] = [];
const alphas = new Map<string, number>();
for (let layer = 0; layer < LAYERS; layer++) {
  const path = `model.layers.${layer}`;
  const attention = { name: `${path}.self_attn.q_proj.weight`, shape: [64, 64] };
  alphas.set(attention.name, next());
  single.push(attention);
  stacked.push(attention);
  for (const [kind, shape] of Object.entries(KINDS)) {
    const stack = `${path}.mlp.experts.${kind}`;
    let sum = 0;
    for (let e = 0; e < EXPERTS; e++) {
      const name = `${path}.mlp.experts.${e}.${kind}.weight`;
      const alpha = next() ** 4;
      alphas.set(name, alpha);
      sum += alpha;
      single.push({ name, shape });
    }
    alphas.set(stack, sum);
    stacked.push({ name: stack, shape: [EXPERTS, ...shape] });
  }
}
const given: Alphas = {
  ...uniformAlphas(single),
  tensors: new Map([...alphas].map(([name, alpha]) => [name, bareAlpha(alpha)])),
};

test('one grid for a layer’s experts of a kind is the choice for their stack', () => {
  for (const bpw of [2.6, 3.1, 3.9, 4.7]) {
    const plan = higgs.allocate(single, given, { bpw, experts: 'stack' });
    const wanted = higgs.allocate(stacked, given, { bpw });
    assert.equal([plan.bpw, plan.predicted, plan.gap], [wanted.bpw, wanted.predicted, wanted.gap]);
    assert.equal([plan.uniform?.grid, plan.tensors.length], [wanted.uniform?.grid, single.length]);
    for (const { name, grid, alpha } of plan.tensors) {
      const stack = name.replace(/experts\.\d+\.(\w+)\.weight/, 'experts.$1');
      assert.is(grid, wanted.tensors.find((tensor) => tensor.name === stack)!.grid, name);
      assert.is(alpha, alphas.get(name), name);
    }
    const sum = plan.tensors.reduce((total, { predicted }) => total + predicted!, 0);
    assert.ok(Math.abs(sum / plan.predicted - 1) < 1e-12);
    // A grid for each costs no more, and here less.
    const each = higgs.allocate(single, given, { bpw, experts: 'each' });
    assert.equal(each, higgs.allocate(single, given, { bpw }));
    assert.ok(each.predicted < plan.predicted);
  }
});

test('the trade-off of stacks is that of their tensors', () => {
  const actual = higgs.tradeoff(single, given, { experts: 'stack' });
  assert.equal(actual, higgs.tradeoff(stacked, given));
});

test('experts whose grid is given stand apart, and those without a sensitivity are named', () => {
  const grid = higgs.grids.get('p1n256')!;
  const odd = single.map((tensor) => (/0\.mlp\.experts\.2\.up/.test(tensor.name) ? { ...tensor, keep: grid } : tensor));
  const { tensors } = higgs.allocate(odd, given, { bpw: 3.5, experts: 'stack' });
  const grids = new Map(tensors.map(({ name, grid }) => [name, grid]));
  const gridOf = (expert: number) => grids.get(`model.layers.0.mlp.experts.${expert}.up_proj.weight`);
  assert.is(gridOf(2), 'p1n256');
  assert.is(new Set([0, 1, 3, 4].map(gridOf)).size, 1);
  const few = { ...given, tensors: new Map(given.tensors) };
  few.tensors.delete('model.layers.1.mlp.experts.3.down_proj.weight');
  assert.throws(
    () => higgs.allocate(single, few, { bpw: 3.5, experts: 'stack' }),
    /"?model\.layers\.1\.mlp\.experts\.3\.down_proj\.weight"? has none/,
  );
});

test('a tensor that is a stack has no grid for each', () => {
  assert.throws(
    () => higgs.allocate(stacked, given, { bpw: 3.5, experts: 'each' }),
    /^experts must be separate tensors to have grids of their own: .*model\.layers\.0\.mlp\.experts\.up_proj.* is one tensor/,
  );
});

test('a checkpoint is quantized with a grid for a stack', async () => {
  const { config, model } = families.qwen3_moe;
  const checkpoint = await higgs.open(modelFolder(config, model));
  const options = { bpw: 5.5, groupSize: 16, experts: 'stack' } as const;
  const measured = await measureSensitivity(checkpoint.folder, {
    tokens: 16,
    sequences: 2,
    draws: 1,
    source: 'random',
  });
  const report = await checkpoint.quantize(memoryOutput(), { ...options, alphas: measured });
  const grids = new Map<string, Set<string>>();
  for (const { name, grid } of report.tensors) {
    const stack = name.replace(/experts\.\d+/, 'experts');
    grids.set(stack, (grids.get(stack) ?? new Set()).add(grid));
  }
  const stacks = [...grids].filter(([name]) => name.includes('experts'));
  assert.ok(stacks.length > 0 && new Set([...grids.values()].flatMap((stack) => [...stack])).size > 1);
  for (const [name, kinds] of stacks) assert.is(kinds.size, 1, name);
});

const FURTHER = 'model.layers.2.';

test('layers behind the last are planned with what the last layer’s tensors cost; what has no like there stays', async () => {
  const checkpoint = await higgs.open(deepseek().f8);
  const tensors = await checkpoint.planTensors();
  const further = tensors.filter(({ name }) => name.startsWith(FURTHER));
  assert.ok(further.length > 10);
  for (const { name, like } of tensors)
    assert.is(like, name.startsWith(FURTHER) ? name.replace(FURTHER, 'model.layers.1.') : undefined);
  assert.not(further.some(({ name }) => name.includes('eh_proj')));
  const sensitivity = { tokens: 16, sequences: 2, draws: 1, source: 'random' } as const;
  const plan = await checkpoint.planBits(undefined, { bpw: 3.5, sensitivity });
  const alphaOf = new Map(plan.tensors.map(({ name, alpha }) => [name, alpha]));
  for (const { name, like } of further) assert.is(alphaOf.get(name), alphaOf.get(like!), name);
  const planned = await checkpoint.plan({ plan });
  const kept = planned.items.flatMap((item) => (item.kind === 'copy' ? [item.tensor.name] : []));
  assert.ok(kept.includes(`${FURTHER}eh_proj.weight`));
  const embedded = await checkpoint.planTensors({ embeddings: 'any' });
  assert.ok(embedded.some(({ name }) => name === 'lm_head.weight'));
  assert.not(embedded.some(({ name }) => /layers\.2\..*(embed_tokens|head)/.test(name)));
  // A rule of layers takes the last that runs for the last.
  const prior = priorAlphas(tensors).tensors;
  const down = 'mlp.shared_experts.down_proj.weight';
  assert.is(prior.get(`${FURTHER}${down}`)!.alpha, prior.get(`model.layers.1.${down}`)!.alpha);
});

for (const [family, prefix, beside] of [
  ['ernie4_5_moe', 'model.mtp_block.0', 'model.mtp_linear_proj.0.weight'],
  ['qwen3_next', 'mtp.layers.0', 'mtp.fc.weight'],
] as const) {
  test(`layers behind the last may have names of their own: ${family}`, async () => {
    const { config, model } = families[family];
    const tensors = readSafetensors(model).tensors;
    const { num_hidden_layers: layers } = config as { num_hidden_layers?: number };
    const last = `model.layers.${layers! - 1}`;
    const like = new Map([...tensors.keys()].filter((name) => name.startsWith(`${last}.`)).map(behindOf));
    function behindOf(name: string): [string, string] {
      return [name.replace(last, prefix), name];
    }
    const [square] = [...tensors.values()].filter(({ shape }) => shape.length === 2);
    const file = safetensors({
      ...Object.fromEntries(tensors),
      ...Object.fromEntries([...like].map(([name, source]) => [name, tensors.get(source)!])),
      [beside]: square,
    });
    const checkpoint = await higgs.open(modelFolder(config, file));
    const planned = await checkpoint.planTensors();
    const further = planned.filter(({ name }) => like.has(name));
    assert.ok(further.length >= 5, String(further.length));
    for (const tensor of planned) assert.is(tensor.like, like.get(tensor.name), tensor.name);
    const sensitivity = { tokens: 16, sequences: 1, draws: 1, source: 'random' } as const;
    const { tensors: grids } = await checkpoint.planBits(undefined, { bpw: 6, sensitivity });
    const alphaOf = new Map(grids.map(({ name, alpha }) => [name, alpha]));
    for (const { name, like } of further) assert.is(alphaOf.get(name), alphaOf.get(like!), name);
    assert.not(alphaOf.has(beside));
  });
}

// DeepSeek-V3 as it is released, but for its number of layers: headers alone, and a source that has no weights.
const released = {
  ...small,
  ...{ hidden_size: 7168, intermediate_size: 18432, moe_intermediate_size: 2048, vocab_size: 129280 },
  ...{ n_routed_experts: 256, num_experts_per_tok: 8, n_group: 8, topk_group: 4, first_k_dense_replace: 3 },
  ...{ num_attention_heads: 128, num_key_value_heads: 128, q_lora_rank: 1536, kv_lora_rank: 512 },
  ...{ qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, max_position_embeddings: 163840 },
};

function headersOf(layers: number): { folder: Folder; weights: number; experts: number } {
  const config = { ...released, num_hidden_layers: layers, quantization_config: { quant_method: 'fp8' } };
  const { linear, other } = deepseekShapes(config);
  const count = (shape: number[]) => shape.reduce((product, size) => product * size, 1);
  let offset = 0;
  const entry = (dtype: string, shape: number[], width: number) => {
    offset += count(shape) * width;
    return { dtype, shape, data_offsets: [offset - count(shape) * width, offset] };
  };
  const header: Record<string, object> = {};
  for (const [name, shape] of linear) {
    header[name] = entry('F8_E4M3', shape, 1);
    const blocks = shape.map((size) => Math.ceil(size / 128));
    header[`${name}_scale_inv`] = entry('F32', blocks, 4);
  }
  for (const [name, shape] of other) header[name] = entry('BF16', shape, 2);
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  const about = new TextEncoder().encode(JSON.stringify(config));
  const sourceOf = (file: Uint8Array<ArrayBuffer>, byteLength: number) => ({
    byteLength,
    async slice(start: number, end: number) {
      assert.ok(end <= file.length, 'no weights are read');
      return file.slice(start, end).buffer;
    },
  });
  const sources = new Map([
    ['model.safetensors', sourceOf(bytes, bytes.length + offset)],
    ['config.json', sourceOf(about, about.length)],
  ]);
  return {
    folder: {
      name: 'released',
      list: async () => [...sources.keys()],
      open: async (name) => sources.get(name)!,
    },
    weights: [...linear, ...other].reduce((sum, [, shape]) => sum + count(shape), 0),
    experts: 256 * 3 * 7168 * 2048,
  };
}

test('of a release of 671B headers tell the size that it has, and would have', async () => {
  const { folder, weights } = headersOf(61);
  const near = (actual: number, expected: number, label: string) =>
    assert.ok(Math.abs(actual / expected - 1) < 0.003, `${label}: ${actual}, not ${expected}`);
  near(weights, 684.5e9, 'weights'); // 671B, and those that predict further tokens
  const checkpoint = await higgs.open(folder);
  const { bytes, files } = await checkpoint.inspect();
  near(bytes, 688.6e9, 'bytes'); // as the index of the release says
  assert.is(files.length, 1);
  const other = 2 * 2 * 2 * 129280 * 7168; // embedding and head, twice, in BF16
  for (const bits of [2, 3, 4]) {
    const { bytesOut } = await checkpoint.plan({ grid: `t${bits}` });
    near(bytesOut, ((684.5e9 - other / 2) * (bits + 16 / 1024)) / 8 + other, `${bits} bits`);
  }
});

test('a layer of experts must fit one memory, or share slots of it: that is known before a weight is read', async () => {
  const { folder, experts } = headersOf(5);
  const checkpoint = await higgs.open(folder);
  const copyOf = async (grid: string) => higgs.open(await checkpoint.copy({ grid, embeddings: grid }));
  const { bytes, weights, memories, parameters } = await (await copyOf('t2')).runMemory({ context: 4096 });
  assert.ok(memories >= 2 && bytes > weights && parameters > 2 * experts);
  assert.ok(weights > (parameters * 2) / 8 && weights < (parameters * 2.2) / 8, `${weights} for ${parameters}`);
  const refused = /^RangeError: layer 3, experts, must fit 4096 MB of linear memory: it needs (\d+) MB$/;
  for (const [checkpoint, bits] of [
    [await copyOf('t3'), 3],
    [await copyOf('t4'), 4],
    [await higgs.open(folder), 16],
  ] as const) {
    const [, megabytes] = refused.exec(await checkpoint.runMemory({ context: 4096 }).then(String, String))!;
    const least = (experts * bits) / 8 / 2 ** 20;
    assert.ok(Number(megabytes) > least && Number(megabytes) < least * 1.05, `${megabytes} MB at ${bits} bits`);
    if (bits === 16) continue;
    const memory = 6e9;
    const shared = await checkpoint.runMemory({ context: 4096, memory });
    assert.ok(shared.bytes <= memory && shared.experts.resident < shared.experts.count);
    const all = await checkpoint.runMemory({ context: 4096, memory: 1e15 });
    assert.ok(all.bytes > memory && all.experts.resident < all.experts.count);
  }
});

test.run();
