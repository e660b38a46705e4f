// Mixed bits on the command line: plan, predict, and quantize by a plan or a budget; the published figures, where the published
// coefficients are at hand (Node and what follows it only).

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BitPlan, type Grid, load, type PlanTensor, priorAlphas, readAlphas } from '../src/index.ts';
import { createFolder, openFolder } from '../src/source/file.ts';
import { GRID_NAMES } from '../src/terminal/usage.ts';
import { normals } from './bits.ts';
import { safetensors, tensorOf } from './checkpoints.ts';
import { fails, folder, hashes, higgs, nothingAt, output, quantize, read, succeeds, temporaryRoot } from './command.ts';

temporaryRoot();

const weight = (rows: number, cols: number, seed: number) => tensorOf('BF16', [rows, cols], normals(rows * cols, seed));
const names = ['0.self_attn.q_proj', '0.mlp.up_proj', '1.self_attn.q_proj', '1.mlp.down_proj'].map(
  (name) => `model.layers.${name}.weight`,
);
const checkpoint = () =>
  folder({
    'model.safetensors': safetensors({
      'model.embed_tokens.weight': weight(64, 128, 9),
      ...Object.fromEntries(names.map((name, i) => [name, weight(128, 256, i)])),
    }),
    'config.json': '{"model_type": "llama"}',
  });

const alphas = JSON.stringify({
  source: 'test',
  alpha: Object.fromEntries(names.map((name, i) => [name, [0.5, -1, 0.1, 8][i]])),
});
const json = async (...args: string[]) => JSON.parse((await succeeds(higgs(...args, '--json'))).stdout);

test('plan, quantize by the plan, verify, predict', async () => {
  const [input, out, restored, files] = [
    await checkpoint(),
    output(),
    output(),
    await folder({ 'alphas.json': alphas }),
  ];
  const [file, svg, from] = [join(files, 'plan.json'), join(files, 'plot.svg'), join(files, 'alphas.json')];
  const { plan, tradeoff, bytesOut } = await json(
    'plan',
    input,
    '--bpw',
    '3.3',
    '--alphas',
    from,
    '-o',
    file,
    '--plot',
    svg,
  );
  assert.ok(plan.bpw <= 3.3 && plan.predicted < plan.uniform.predicted && plan.gap === 0);
  assert.ok(tradeoff.hull.length > 5 && tradeoff.exact.length > 5 && tradeoff.uniform.length === GRID_NAMES.length);
  const drawing = readFileSync(svg, 'utf8');
  assert.match(drawing, /^<svg xmlns[\s\S]*bits per weight[\s\S]*this plan: 3\.\d\d[\s\S]*<\/svg>\n$/);
  assert.not.match(drawing, /NaN|undefined|Infinity/);

  const report = await json('quantize', input, '-o', out, '--plan', file);
  assert.equal(
    report.tensors.map(({ name, grid }: { name: string; grid: string }) => [name, grid]),
    plan.tensors.map(({ name, grid }: { name: string; grid: string }) => [name, grid]),
  );
  assert.is(report.bytesOut, bytesOut);
  assert.ok(Math.abs(report.predicted.delta / plan.predicted - 1) < 0.1);
  await succeeds(higgs('verify', out, '--against', input));
  await succeeds(higgs('dequantize', out, '-o', restored));
  assert.is(read(restored).tensors.size, 5);

  assert.is((await json('predict', input, '--plan', file)).delta, plan.predicted);
  assert.is((await json('predict', out, '--plan', file)).delta, report.predicted.delta);
  assert.is((await json('predict', out, '--alphas', from)).delta, report.predicted.delta);
  const text = (await succeeds(higgs('predict', out, '--plan', file))).stdout;
  assert.match(text, /predicted perplexity \+0\.\d+\n$/);

  // The budget at once is the plan and the run.
  const direct = output();
  await succeeds(quantize(input, direct, '--bpw', '3.3', '--alphas', from));
  assert.equal(await hashes(direct), await hashes(out));
});

test('plan shows experts that have one grid as one, and tells of layers that do not run', async () => {
  const expert = (layer: number, e: number) => `model.layers.${layer}.mlp.experts.${e}.up_proj.weight`;
  const experts = [0, 1, 2].flatMap((layer) => [0, 1, 2].map((e) => expert(layer, e)));
  const input = await folder({
    'model.safetensors': safetensors(Object.fromEntries(experts.map((name, i) => [name, weight(64, 128, i)]))),
    'config.json': '{"model_type": "deepseek_v3", "num_hidden_layers": 2}',
  });
  const values = Object.fromEntries(experts.slice(0, 6).map((name, i) => [name, i + 1]));
  const alphas = join(
    await folder({ 'alphas.json': JSON.stringify({ source: 'test', alpha: values }) }),
    'alphas.json',
  );
  const args = ['plan', input, '--bpw', '3.3', '--alphas', alphas];
  const { stdout } = await succeeds(higgs(...args, '--experts', 'stack', '--all'));
  const rows = stdout.split('\n').filter((line) => line.startsWith('model.layers.'));
  assert.equal(
    rows.map((row) => [row.split(/\s+/)[0], row.split(/\s+/)[3]]),
    [
      ['model.layers.0.mlp.experts.*.up_proj.weight', '6.00'],
      ['model.layers.1.mlp.experts.*.up_proj.weight', '15.0'],
      ['model.layers.2.mlp.experts.*.up_proj.weight', '15.0'],
    ],
  );
  const note = '3 tensors of layers behind the last, which do not run, count as the like ones of the last layer';
  assert.ok(stdout.includes(note));
  const { plan } = await json(...args, '--experts', 'stack');
  assert.equal(
    plan.tensors.map(({ name }: { name: string }) => name),
    experts,
  );
  assert.is((await succeeds(higgs(...args, '--all'))).stdout.match(/experts\.\d/g)?.length, 9);
});

test('plan prints tensors, totals, the best single grid and the trade-off', async () => {
  const input = await checkpoint();
  const { stdout } = await succeeds(
    higgs('plan', input, '--bpw', '3.5', '--prior', '--embeddings', 'p1n16', '--keep', '0\\.mlp=p1n8', '--all'),
  );
  assert.match(stdout, /^tensor +grid +bpw +α +predicted\n/);
  assert.match(stdout, /embed_tokens\.weight +p1n16 +4\.13 +\? +\?\n/);
  assert.match(stdout, /0\.mlp\.up_proj\.weight +p1n8 +3\.06 /);
  assert.match(
    stdout,
    /of 3\.5 bits per weight, predicted loss .*\(a prior, not a measurement.*: no plan predicts less\n/,
  );
  assert.match(stdout, /1 tensors? of no known sensitivity/);
  assert.match(stdout, /\S+ for all: 3\.\d+ bits per weight, predicted .* × as much\n/);
  assert.match(stdout, /\n bpw +predicted +one grid +predicted +×\n/);
  assert.not.match(stdout, /undefined|NaN|\[object/);
});

test('plan shows layers and kinds; a budget above the largest grid is said', async () => {
  const input = await checkpoint();
  const args = ['plan', input, '--uniform', '--grids', 'p2n16,p2n64'];
  const { stdout } = await succeeds(higgs(...args, '--bpw', '2.6'));
  assert.match(stdout, /^layer +(\S+_proj +)*\S+_proj\n─+/);
  assert.not.match(stdout, /α/);
  const { stderr } = await succeeds(higgs(...args, '--size', '2.5GB'));
  assert.match(
    stderr,
    /^higgs: warning: --size 2\.50 GB is more than the largest grid needs: all weights have 3 bits, 3\.\d\d with scales, in files of [\d.]+ kB\n$/,
  );
  assert.is((await succeeds(higgs(...args, '--bpw', '2.6'))).stderr, '');
});

test('--size is kept, by plan and by quantize', async () => {
  const [input, out] = [await checkpoint(), output()];
  await succeeds(
    quantize(input, out, '--size', '75kB', '--uniform', '--grids', 'p2n16,p2n64,p2n256', '--embeddings', 'any'),
  );
  const bytes = readFileSync(join(out, 'model.safetensors')).length;
  assert.ok(bytes <= 75_000 && bytes > 65_000, `${bytes} bytes`);
  assert.match(await fails(higgs('plan', input, '--size', '10kB', '--uniform')), /size must be at least \d+ bytes/);
});

test('a run by a plan that was aborted goes on with the same plan alone, to the same bytes', async () => {
  const [input, out, whole] = [await openFolder(await checkpoint()), output(), output()];
  const library = await load();
  const options = { bpw: 3.3, grids: ['p2n16', 'p2n64', 'p2n256'] };
  const plan = await library.planBits(input, priorAlphas(await library.planTensors(input)), options);
  // Tensors of one shape with each other's grids: every size is the same.
  const [from, to] = [plan.tensors[0], plan.tensors.find(({ grid }) => grid !== plan.tensors[0].grid)!];
  const swap = new Map([
    [from.name, to.grid],
    [to.name, from.grid],
  ]);
  const swapped = {
    ...plan,
    tensors: plan.tensors.map((tensor) => ({ ...tensor, grid: swap.get(tensor.name) ?? tensor.grid })),
  };

  async function run(path: string, chosen: BitPlan, signal?: AbortController): Promise<void> {
    const target = await createFolder(path, { resume: true });
    try {
      await library.quantizeCheckpoint(input, target, {
        plan: chosen,
        resume: { identity: 'x' },
        ...(signal && { signal: signal.signal }),
        onProgress: ({ weightsDone }) => weightsDone > 128 * 256 && signal?.abort(new Error('enough')),
      });
    } finally {
      await target.close();
    }
  }
  const messageOf = (promise: Promise<void>) => promise.then(String, (error: Error) => error.message);
  assert.is(await messageOf(run(out, plan, new AbortController())), 'enough');
  assert.ok(existsSync(join(out, 'higgs.journal')));
  assert.match(await messageOf(run(out, swapped)), /an interrupted run had other options or another input/);
  await run(out, plan);
  await run(whole, plan);
  assert.equal(await hashes(out), await hashes(whole));
  await input.close();
});

test('wrong command lines and files are named', async () => {
  const [input, files] = [
    await checkpoint(),
    await folder({ 'bad.json': '{"higgs.plan": 3}', 'few.json': '{"alpha": {}}' }),
  ];
  const out = output();
  const bad = join(files, 'bad.json');
  const cases: [string[], number, RegExp][] = [
    [['plan', input, '--prior'], 2, /--bpw or --size must be given/],
    [['plan', input, '--bpw', '3'], 1, /sensitivities can be given instead: --alphas FILE, --prior or --uniform/],
    [['quantize', input, '-o', out, '--bpw', '3'], 1, /sensitivities can be given instead/],
    [['quantize', input, '-o', out, '--prior'], 2, /--prior must come with a budget/],
    [['quantize', input, '-o', out, '--min-bits', '3'], 2, /--min-bits must come with a budget/],
    [['quantize', input, '-o', out, '--experts', 'stack'], 2, /--experts must come with a budget/],
    [['quantize', input, '-o', out, '--bpw', '3', '--grid', 'p1n4'], 2, /--bpw and --size choose grids/],
    [['quantize', input, '-o', out, '--plan', bad, '--exclude', 'x'], 2, /--plan must come without --exclude/],
    [['quantize', input, '-o', out, '--embeddings', 'any'], 2, /--embeddings any must come with a budget/],
    [['quantize', input, '-o', out, '--plan', bad], 1, /bad\.json: higgs\.plan must be 1/],
    [['quantize', input, '-o', out, '--plan', join(files, 'none.json')], 1, /none\.json/],
    [
      ['plan', input, '--bpw', '3', '--alphas', join(files, 'few.json')],
      1,
      /tensors whose grid is free must have a sensitivity/,
    ],
    [['plan', input, '--bpw', '1', '--prior'], 1, /bits per weight must be at least 2\.\d+/],
    [['plan', input, '--bpw', '3', '--prior', '--keep', 'zzz=p1n4'], 1, /a pattern to keep must match a tensor/],
    [['predict', input, '--prior'], 2, /--plan must be given/],
  ];
  for (const [args, code, says] of cases) assert.match(await fails(higgs(...args), code), says);
  nothingAt(out, `${out}.partial`);
});

// --- published figures

const PUBLISHED = '../shared/data/alphas_llama31_8b.json';
const MSE: Readonly<Record<string, number>> = {
  p2n16: 0.1075996,
  p2n64: 0.0296062,
  p2n256: 0.007751,
  p1n256: 4.1185e-5,
};

if (existsSync(PUBLISHED)) {
  test('allocate() of Llama-3.1-8B predicts the published figures', async () => {
    const library = await load();
    const sensitivities = readAlphas(readFileSync(PUBLISHED), PUBLISHED);
    const sizes: Readonly<Record<string, [number, number]>> = {
      q: [4096, 4096],
      k: [1024, 4096],
      v: [1024, 4096],
      o: [4096, 4096],
      gate: [14336, 4096],
      up: [14336, 4096],
      down: [4096, 14336],
    };
    const tensors = [...sensitivities.tensors.keys()].map(
      (name): PlanTensor => ({ name, shape: sizes[/(\w+)_proj/.exec(name)![1]] }),
    );
    assert.is(tensors.length, 224);
    const grids = Object.keys(MSE).map((name): Grid => ({ ...library.grids.get(name)!, mse: MSE[name] }));
    const plan = (bpw: number, count: number) =>
      library.allocate(tensors, sensitivities, { bpw, grids: grids.slice(0, count), scales: false });
    const figures = [2.5, 3, 3.25, 3.5].map((bpw) => plan(bpw, 3));
    assert.equal(
      figures.map(({ predicted }) => predicted.toFixed(4)),
      ['2.7873', '1.4706', '1.1061', '0.8810'],
    );
    assert.equal(
      [3, 4].map((bpw) => plan(bpw, 3).uniform!.predicted.toFixed(4)),
      ['2.0802', '0.5446'],
    );
    assert.equal(
      [4, 4.25].map((bpw) => plan(bpw, 4).predicted.toFixed(4)),
      ['0.4053', '0.3000'],
    );
    assert.ok(figures.every(({ gap, bpw, budget }) => gap === 0 && bpw <= budget));
  });
} else console.log(`published figures: skipped, ${PUBLISHED} is not there`);

test.run();
