// Plans for llama-quantize: its mixtures are as its dry run has them (tests/gguf/mixtures.py), a plan is the best of all choices that fit,
// and its file names every tensor once.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOnce } from '../src/checkpoint/checkpoint.ts';
import { parseGgufHeader } from '../src/checkpoint/gguf/header.ts';
import { type Alphas, uniformAlphas } from '../src/index.ts';
import { layOutGguf } from '../src/interop/gguf/export.ts';
import { importanceFile } from '../src/interop/gguf/imatrix.ts';
import { type MixtureName, mixtureOf } from '../src/interop/gguf/mixtures.ts';
import { type GgufPlanOptions, planGguf, typeFile } from '../src/interop/gguf/plan.ts';
import { fitting, TYPES } from '../src/interop/gguf/types.ts';
import { memoryFolder, safetensors, tensorOf } from './checkpoints.ts';
import mixtures from './gguf/mixtures.json';

const test = suite('plan gguf');

for (const [name, { columns, types, ...model }] of Object.entries(mixtures)) {
  test(`a mixture has the types that llama-quantize gives it: ${name}`, () => {
    const tensors = Object.entries(columns).map(([name, cols]) => ({ name, cols: Number(cols) }));
    for (const [mixture, wanted] of Object.entries(types)) {
      const own = mixtureOf(mixture as MixtureName, tensors, { architecture: 'llama', ...model });
      assert.equal(own.map(({ name }) => name).join(' '), wanted, mixture);
    }
  });
}

test('a type that does not fit has another in its place', () => {
  assert.is(fitting('q4_K', 512).name, 'q4_K');
  assert.is(fitting('q4_K', 96).name, 'q5_0');
  assert.is(fitting('iq3_s', 96).name, 'iq4_nl');
  assert.is(fitting('q8_0', 96).name, 'q8_0');
  assert.is(fitting('q6_K', 100).name, 'f16');
});

const DIM = 256;
const shapes: Readonly<Record<string, number[]>> = {
  'model.embed_tokens.weight': [32, DIM],
  ...{ 'model.norm.weight': [DIM], 'model.layers.0.input_layernorm.weight': [DIM] },
  'model.layers.0.post_attention_layernorm.weight': [DIM],
  ...Object.fromEntries(['q', 'k', 'v', 'o'].map((x) => [`model.layers.0.self_attn.${x}_proj.weight`, [DIM, DIM]])),
  ...{ 'model.layers.0.mlp.gate_proj.weight': [96, DIM], 'model.layers.0.mlp.up_proj.weight': [96, DIM] },
  'model.layers.0.mlp.down_proj.weight': [DIM, 96],
};

async function layout() {
  const config = {
    ...{ model_type: 'llama', hidden_size: DIM, intermediate_size: 96, num_hidden_layers: 1, num_attention_heads: 2 },
    ...{ rms_norm_eps: 1e-5, max_position_embeddings: 64, tie_word_embeddings: true, vocab_size: 32 },
  };
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return [name, tensorOf('F32', shape, new Float32Array(count))];
  });
  const folder = memoryFolder({
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'model.safetensors': safetensors(Object.fromEntries(tensors)),
  });
  return layOutGguf(await openOnce(folder), { dtype: 'F16' });
}

const ALPHAS = [3, 0.1, 0.2, 5, 1, 0.5, 0.4, 2];

function alphas(): Alphas {
  const names = Object.keys(shapes).filter((name) => shapes[name].length > 1);
  const bare = uniformAlphas(names.map((name) => ({ name, shape: shapes[name] })));
  return { ...bare, tensors: new Map([...bare.tensors].map(([name, own], i) => [name, { ...own, alpha: ALPHAS[i] }])) };
}

const plan = async (options: Partial<GgufPlanOptions> = {}, given = alphas()) =>
  planGguf(await layout(), given, { budget: { bpw: 5 }, weighted: 'none', ...options });

test('a plan is the best of all choices within its budget', async () => {
  const types = ['q3_K', 'q5_K', 'q4_0', 'q8_0'];
  const { tensors, predicted, gap, bpw } = await plan({ types });
  assert.is(gap, 0);
  assert.ok(bpw <= 5);
  let best = Number.POSITIVE_INFINITY;
  const choose = (at: number, bits: number, loss: number): void => {
    if (at === tensors.length) {
      if (bits <= 5 * total) best = Math.min(best, loss);
      return;
    }
    const { shape, alpha } = tensors[at];
    const weights = shape[0] * shape[1];
    for (const name of types) {
      const type = TYPES.get(name)!;
      if (shape[1] % type.weights !== 0) continue;
      choose(at + 1, bits + (weights / type.weights) * type.bytes * 8, loss + alpha! * type.plain!);
    }
  };
  const total = tensors.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0);
  choose(0, 0, 0);
  assert.ok(Math.abs(predicted / best - 1) < 1e-9, `${predicted}, not ${best}`);
});

test('a budget in bytes counts the whole file, padding and header along', async () => {
  const { bytes } = await plan({ budget: { bpw: 6 } });
  const same = await plan({ budget: { size: bytes } });
  assert.ok(same.bytes <= bytes && same.predicted <= (await plan({ budget: { bpw: 6 } })).predicted);
  const less = await plan({ budget: { size: bytes - 1 } });
  assert.ok(less.bytes < bytes);
});

test('a plan of no more bytes is never predicted more than a mixture', async () => {
  const { mixtures } = await plan();
  assert.is(mixtures.length, 11);
  for (const { name, plan, predicted } of mixtures) assert.ok(plan === null || plan <= predicted, name);
});

test('the file has a pattern for each tensor, which matches it alone', async () => {
  const found = await plan();
  const lines = typeFile(found).trimEnd().split('\n');
  assert.is(lines.length, found.tensors.length);
  for (const [i, line] of lines.entries()) {
    const [pattern, type] = line.split('=');
    assert.is(type, found.tensors[i].type);
    const matched = found.tensors.filter(({ name }) => new RegExp(pattern).test(name));
    assert.equal(
      matched.map(({ name }) => name),
      [found.tensors[i].name],
    );
  }
});

test('few bits come with an importance matrix alone', async () => {
  const { tensors } = await plan({ budget: { bpw: 3.2 }, weighted: 'layers' });
  assert.ok(tensors.some(({ type }) => type.startsWith('iq2') || type === 'iq3_xxs'));
  const refused = (options: Partial<GgufPlanOptions>) =>
    plan(options).then(
      () => 'planned',
      ({ message }) => message,
    );
  assert.is(
    await refused({ types: ['iq2_xs'] }),
    'type iq2_xs must come with an importance matrix: llama-quantize refuses it without',
  );
  assert.match(await refused({ types: ['q9'] }), /^types must be among q2_K, q3_K, .*: got q9$/);
  assert.match(
    await refused({ budget: { bpw: 2 } }),
    /^bits per weight must be at least [\d.]+, those of the smallest plan: got 2$/,
  );
  assert.match(
    await refused({ budget: { size: 100 } }),
    /^size must be at least \d+ bytes, that of the smallest plan: got 100$/,
  );
});

test('embeddings, and weights that a matrix leaves out, have errors and types as without one', async () => {
  const [embedding, gate, down] = ['token_embd.weight', 'blk.0.ffn_gate.weight', 'blk.0.ffn_down.weight'];
  const weighted = new Set([gate, down]);
  const types = ['iq2_xs', 'q3_K', 'q4_0', 'q6_K'];
  const { tensors, isWeighted } = await plan({ weighted, types, budget: { bpw: 4 } });
  assert.is(isWeighted, true);
  for (const { name, type, alpha, predicted } of tensors) {
    const { plain, weighted: own } = TYPES.get(type)!;
    assert.is(predicted, alpha! * (weighted.has(name) ? own : plain!), name);
  }
  const layers = await plan({ weighted: 'layers', types: ['iq2_xs', 'q6_K'], budget: { bpw: 7 } });
  assert.is(layers.tensors.find(({ name }) => name === embedding)!.type, 'q6_K');
});

test('an importance matrix has squares of inputs by column, and how many inputs there were', async () => {
  const { tensors } = await layout();
  const targets = tensors.map(({ target }) => target);
  const [q, up] = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.0.mlp.up_proj.weight'];
  const known = new Map([
    [q, Float64Array.from({ length: DIM }, (_, i) => i / 4)],
    [up, new Float64Array(DIM)],
    // Of embeddings none is written, and none of another length.
    ['model.embed_tokens.weight', new Float64Array(DIM).fill(1)],
    ['model.layers.0.self_attn.k_proj.weight', new Float64Array(DIM - 1).fill(1)],
  ]);
  const squares = { tokens: 16, sequences: 3, of: async (name: string) => known.get(name) };
  const { bytes, names } = await importanceFile(targets, squares, 'samples');
  assert.equal([...names], ['blk.0.attn_q.weight', 'blk.0.ffn_up.weight']);
  const { pairs, tensors: found } = parseGgufHeader(bytes, 'imatrix.gguf', bytes.length)!;
  assert.is(pairs.get('general.type'), 'imatrix');
  assert.equal(pairs.get('imatrix.datasets'), ['samples']);
  assert.equal([pairs.get('imatrix.chunk_count'), pairs.get('imatrix.chunk_size')], [3, 16]);
  const floatsOf = (name: string) => {
    const { start, end } = found.find((tensor) => tensor.name === name)!;
    return [...new Float32Array(bytes.slice(start, end).buffer)];
  };
  assert.equal(floatsOf('blk.0.attn_q.weight.in_sum2'), [...known.get(q)!]);
  assert.equal(floatsOf('blk.0.attn_q.weight.counts'), [48]);
  assert.equal(floatsOf('blk.0.ffn_up.weight.counts'), [0]);
});

test('weights of no known sensitivity have six bits, and are not in the prediction', async () => {
  const all = alphas();
  const some = new Map([...all.tensors].filter(([name]) => !name.includes('embed')));
  const { tensors } = await plan({}, { ...all, tensors: some });
  const embedding = tensors.find(({ name }) => name === 'token_embd.weight')!;
  assert.equal([embedding.type, embedding.alpha, embedding.predicted], ['q6_K', null, null]);
});

test.run();
