// Files of sensitivities and plans, read strictly; checkpoints planned for, quantized by a plan, and predicted of.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import {
  type Alphas,
  type BitPlan,
  load,
  predict,
  priorAlphas,
  readAlphas,
  readBitPlan,
  sensitivitiesOf,
  uniformAlphas,
  writeAlphas,
  writeBitPlan,
} from '../src/index.ts';
import { normals } from './bits.ts';
import { memoryFolder, memoryOutput, readSafetensors, safetensors, tensorOf } from './checkpoints.ts';

const higgs = await load(undefined, { grids: largeGrids });

const weight = (rows: number, cols: number, seed: number) => tensorOf('BF16', [rows, cols], normals(rows * cols, seed));
const input = memoryFolder({
  'model.safetensors': safetensors({
    'model.embed_tokens.weight': weight(48, 128, 1),
    'model.layers.0.self_attn.q_proj.weight': weight(128, 128, 2),
    'model.layers.0.mlp.down_proj.weight': weight(128, 344, 3),
    'model.layers.1.self_attn.q_proj.weight': weight(128, 128, 4),
    'model.layers.1.mlp.down_proj.weight': weight(128, 344, 5),
    'model.norm.weight': tensorOf('BF16', [128], normals(128)),
  }),
  'config.json': new TextEncoder().encode('{"model_type":"llama"}'),
});
const tensors = await higgs.planTensors(input);
const prior = priorAlphas(tensors);
const plan = await higgs.planBits(input, prior, { bpw: 3.5 });

const alphas: Alphas = {
  model: { name: 'books-llama', identity: 'abc' },
  estimator: 'noise',
  loss: 'kl',
  base: null,
  settings: { tokens: 4096, seed: 7, text: null },
  tensors: new Map([
    [
      'a.weight',
      {
        alpha: -0.25,
        error: 0.01,
        r2: 0.99,
        shape: [8, 16],
        levels: [{ t2: 0.01, delta: 0.002, error: null, used: true }],
      },
    ],
    ['b.weight', { alpha: 1e-9, error: null, r2: null, shape: null, levels: [] }],
  ]),
};

test('writeAlphas() gives these bytes, and readAlphas() gives back what was written', () => {
  const text = writeAlphas(alphas);
  assert.is(
    text,
    `{
  "higgs.alphas": 1,
  "model": {"name":"books-llama","identity":"abc"},
  "estimator": "noise",
  "loss": "kl",
  "base": null,
  "settings": {"tokens":4096,"seed":7,"text":null},
  "tensors": {
    "a.weight": {"alpha":-0.25,"error":0.01,"r2":0.99,"shape":[8,16],"levels":[{"t2":0.01,"delta":0.002,"error":null,"used":true}]},
    "b.weight": {"alpha":1e-9,"error":null,"r2":null,"shape":null,"levels":[]}
  }
}
`,
  );
  assert.equal(readAlphas(text, 'x'), alphas);
  assert.equal(readAlphas(new TextEncoder().encode(text), 'x'), alphas);
});

test('readAlphas() understands the published form', () => {
  const actual = readAlphas('{"source":"a paper","alpha":{"model.layers.0.mlp.up_proj":0.5,"x.weight":-1}}', 'x');
  assert.equal([actual.estimator, actual.loss], ['a paper', 'perplexity']);
  assert.equal(
    [...actual.tensors].map(([name, { alpha }]) => [name, alpha]),
    [
      ['model.layers.0.mlp.up_proj.weight', 0.5],
      ['x.weight', -1],
    ],
  );
});

const broken = (text: string, from: string, to: string) => {
  assert.ok(text.includes(from), from);
  return text.replace(from, to);
};

test('readAlphas() names what is wrong', () => {
  const text = writeAlphas(alphas);
  const cases: [string, RegExp][] = [
    ['', /^x: alphas must be JSON/],
    ['[]', /^x: alphas must be a JSON object: got \[\]/],
    ['{}', /alphas must have their version as higgs\.alphas: got nothing/],
    [
      broken(text, '"higgs.alphas": 1', '"higgs.alphas": 2'),
      /higgs\.alphas must be 1, the version this release reads: it is 2/,
    ],
    [broken(text, '"kl"', '"loss"'), /loss must be "kl" or "perplexity" or "relative": got "loss"/],
    [broken(text, '"model"', '"modle"'), /alphas must have only known members: got "modle"/],
    [broken(text, '"settings"', '"colour": 1, "settings"'), /alphas must have only known members: got "colour"/],
    [broken(text, '4096', '[4096]'), /settings\["tokens"\] must be a plain value: got \[4096\]/],
    [broken(text, '-0.25', '"-0.25"'), /^x: tensor "a\.weight": alpha must be a number: got "-0\.25"/],
    [broken(text, '-0.25', '1e999'), /alpha must be a finite number: got Infinity/],
    [broken(text, '"error":0.01', '"error":-1'), /error must be a number of at least 0: got -1/],
    [broken(text, '[8,16]', '[8,0]'), /shape\[1\] must be an integer of at least 1: got 0/],
    [broken(text, '"used":true', '"used":1'), /used must be true or false: got 1/],
    [broken(text, '"r2":null', '"r3":null'), /sensitivity must have only known members: got "r3"/],
    [broken(text, '"b.weight"', '"a.weight"'), /must not repeat a key/],
    ['{"alpha":{"a":"1"}}', /tensor "a\.weight": alpha must be a number: got "1"/],
    ['{"alpha":{"a":1,"a.weight":1}}', /tensor "a\.weight": alpha must name a tensor once/],
    [`{"alpha":{"${'a'.repeat(4000)}":"1"}}`, /^x: tensor "a{80}….*": alpha must be a number: got "1"$/],
    ['{"alpha":{},"more":1}', /alphas must have only known members: got "more"/],
  ];
  for (const [content, says] of cases) assert.throws(() => readAlphas(content, 'x'), says);
});

test('readBitPlan() gives back what writeBitPlan() wrote, and names what is wrong', () => {
  const text = writeBitPlan(plan);
  assert.equal(readBitPlan(text, 'x'), plan);
  assert.is(writeBitPlan(readBitPlan(text, 'x')), text);
  const cases: [string, RegExp][] = [
    ['{}', /plan must have its version as higgs\.plan: got nothing/],
    [broken(text, '"higgs.plan": 1', '"higgs.plan": 9'), /higgs\.plan must be 1.*it is 9/],
    [broken(text, '"budget": 3.5', '"budget": "3.5"'), /budget must be a number: got "3\.5"/],
    [broken(text, '"scales": true', '"scales": 1'), /scales must be true or false/],
    [broken(text, '"groupSize":1024', '"groupSize":1000'), /^x: tensor "model.*: groupSize must be a power of two/],
    [broken(text, '"seed":0', '"seed":-1'), /seed must be an integer from 0/],
    [broken(text, '"seed":0', '"seed":"a"'), /seed must be a number: got "a"/],
    [broken(text, ',"seed":0', ''), /seed must be a number: got nothing/],
    [
      broken(text, `"grid":"${plan.tensors[0].grid}"`, '"grid":"p9n9"'),
      /grid must be p<p>n<n> with a supported size, or t<bits> .*: got "p9n9"/,
    ],
    [broken(text, '"tensors"', '"tensor"'), /tensors must be a JSON object: got nothing/],
  ];
  for (const [content, says] of cases) assert.throws(() => readBitPlan(content, 'x'), says);
});

test('planTensors() gives the tensors that would be quantized, embeddings when asked', async () => {
  const names = async (options: Parameters<typeof higgs.planTensors>[1]) =>
    (await higgs.planTensors(input, options)).map(({ name, keep }) => [
      name.replace(/^model\.(layers\.)?|\.weight$/g, ''),
      keep?.name,
    ]);
  const linear = ['0.mlp.down_proj', '0.self_attn.q_proj', '1.mlp.down_proj', '1.self_attn.q_proj'];
  const sorted = (rows: unknown[][]) => rows.map(String).sort();
  assert.equal(
    sorted(await names({})),
    linear.map((name) => `${name},`),
  );
  assert.equal(
    sorted(await names({ embeddings: 'any' })),
    [...linear, 'embed_tokens'].map((name) => `${name},`),
  );
  assert.equal(sorted(await names({ embeddings: 'p1n16', exclude: /down/ })), [
    '0.self_attn.q_proj,',
    '1.self_attn.q_proj,',
    'embed_tokens,p1n16',
  ]);
  assert.equal(
    sorted(
      await names({
        include: /q_proj/g,
        keep: [
          [/1\./g, 'p1n4'],
          [/_/, 'p1n8'],
        ],
      }),
    ),
    ['0.self_attn.q_proj,p1n8', '1.self_attn.q_proj,p1n4'],
  );
  await rejects(
    higgs.planTensors(input, { keep: [[/nothing/, 'p1n4']] }),
    /a pattern to keep must match a tensor before other patterns do: \/nothing\//,
  );
});

test('planBits() for a size takes any that is large enough, and no number that is none', async () => {
  const grids = ['p2n16', 'p2n256'];
  const most = await higgs.planBits(input, prior, { size: Number.MAX_VALUE, grids });
  assert.ok(most.tensors.every(({ grid }) => grid === 'p2n256') && Number.isFinite(most.budget));
  await rejects(higgs.planBits(input, prior, { size: Number.NaN, grids }), /^size must be a finite number: got NaN$/);
});

test('planBits() for a size gives files of at most that size', async () => {
  const bytesOf = async (chosen: BitPlan) => (await higgs.planCheckpoint(input, { plan: chosen })).bytesOut;
  const least = await bytesOf(await higgs.planBits(input, prior, { bpw: 2.2 }));
  for (const size of [60_000, 75_000, 90_000]) {
    const chosen = await higgs.planBits(input, prior, { size, grids: ['p2n16', 'p2n64', 'p2n256', 'p1n256'] });
    const bytes = await bytesOf(chosen);
    assert.ok(bytes <= size && bytes > size - 6000, `${bytes} of ${size}`);
  }
  assert.ok(least < 60_000);
  await rejects(
    higgs.planBits(input, prior, { size: 1000 }),
    /size must be at least \d+ bytes, that of the smallest plan: got 1000/,
  );
});

test('a checkpoint quantized by a plan has its grids, reads back, verifies, and is predicted of', async () => {
  const grids = new Set(plan.tensors.map(({ grid }) => grid));
  assert.ok(grids.size > 1);
  const output = memoryOutput();
  const report = await higgs.quantizeCheckpoint(input, output, { plan });
  assert.equal(
    report.tensors.map(({ name, grid }) => [name, grid]),
    plan.tensors.map(({ name, grid }) => [name, grid]),
  );
  assert.ok(Math.abs(report.bpw - plan.bpw) < 1e-12);
  const { delta, unknown } = report.predicted!;
  assert.ok(Math.abs(delta / plan.predicted - 1) < 0.1, `${delta} measured, ${plan.predicted} planned`);
  assert.equal(unknown, []);
  const config = JSON.parse(new TextDecoder().decode(output.files.get('config.json')));
  assert.equal([config.quantization_config.grid, config.quantization_config.group_size], ['mixed', 1024]);

  const stored = readSafetensors(output.files.get('model.safetensors')!);
  const held = [...stored.tensors.keys()]
    .filter((name) => name.startsWith('higgs.grid.'))
    .map((name) => name.slice(11));
  assert.equal(held.sort(), [...grids].sort());
  const verified = await higgs.verifyCheckpoint(output.folder(), { against: input });
  assert.equal(verified.warnings, []);
  const inspected = await higgs.inspectCheckpoint(output.folder());
  const measured = inspected.tensors.flatMap(({ name, relativeError }) =>
    relativeError === undefined ? [] : [{ name, relativeError }],
  );
  assert.is(predict(measured, sensitivitiesOf(plan)).delta, delta);
  const plain = memoryOutput();
  await higgs.dequantizeCheckpoint(output.folder(), plain);
  assert.equal((await higgs.inspectCheckpoint(plain.folder())).tensors.length, 6);
});

test('a plan as a map of names takes the group size and the signs of the options', async () => {
  const output = memoryOutput();
  const names = ['model.layers.0.self_attn.q_proj.weight', 'model.embed_tokens.weight'];
  const map = new Map([
    [names[0], 'p1n4'],
    [names[1], 'p4n256'],
  ]);
  const report = await higgs.quantizeCheckpoint(input, output, { plan: map, groupSize: 64, seed: 3 });
  assert.equal(report.tensors.map(({ name, grid, groupSize, seed }) => [name, grid, groupSize, seed]).sort(), [
    [names[1], 'p4n256', 64, 3],
    [names[0], 'p1n4', 64, 3],
  ]);
  assert.is(report.predicted, undefined);
  assert.ok(report.passed.some(({ reason }) => reason === 'not in the plan'));
});

test('a plan that is not of the checkpoint is refused, and so are options that it decides', async () => {
  const run = (options: Parameters<typeof higgs.planCheckpoint>[1]) => higgs.planCheckpoint(input, options);
  await rejects(
    run({ plan: new Map([['missing.weight', 'p1n4']]) }),
    /tensor "missing\.weight": tensors of the plan must be in the checkpoint: it is not there/,
  );
  await rejects(run({ plan: new Map([['model.norm.weight', 'p1n4']]) }), /it cannot be quantized \(rank 1\)/);
  await rejects(run({ plan: new Map([['model.norm.weight', 'p7n7']]) }), /grid must be one of those loaded/);
  const [first, ...rest] = plan.tensors;
  await rejects(
    run({ plan: { ...plan, tensors: [{ ...first, shape: [1, 2] }, ...rest] } }),
    /plan must be of this checkpoint: it has \[1, 2\], not \[128, \d+\]/,
  );
  await rejects(run({ plan, grid: 'p1n4' }), /a plan must be the only choice of tensors and grids: got grid too/);
  await rejects(run({ plan, exclude: /x/ }), /got exclude too/);
});

test('predict() adds up α t², and names what it knows nothing of', () => {
  const rows = [
    { name: 'a.weight', relativeError: 0.5 },
    { name: 'b.weight', relativeError: 0.25 },
    { name: 'c.weight', relativeError: 1 },
  ];
  const actual = predict(rows, sensitivitiesOf({ ...alphas, base: 2 }));
  assert.equal([actual.delta, actual.total, actual.unknown, actual.loss], [2.5e-10, 2 + 2.5e-10, ['c.weight'], 'kl']);
  assert.is(predict(rows, sensitivitiesOf(uniformAlphas([]))).delta, 0);
});

async function rejects(promise: Promise<unknown>, says: RegExp): Promise<void> {
  const error = await promise.then(
    () => assert.unreachable('no error'),
    (reason) => reason as Error,
  );
  assert.match((error as Error).message, says);
}

test.run();
