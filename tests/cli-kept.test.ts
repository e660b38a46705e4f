// Sensitivities that plan and quantize measure by themselves, and keep beside the model; what is predicted beside what a text shows
// (Node and what follows it only).

import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readAlphas, writeAlphas } from '../src/index.ts';
import { safetensors } from './checkpoints.ts';
import {
  CLI,
  execute,
  fails,
  folder,
  hashes,
  higgs,
  nothingAt,
  output,
  quantize,
  succeeds,
  temporaryRoot,
} from './command.ts';
import { type Config, configs, randomFile } from './models.ts';

temporaryRoot();

const NAME = 'higgs-alphas.json';
const BOOKS = 'models/books-llama';
const llama = configs.llama;

/** A model of random weights: measuring takes less than a second. */
async function model(config: Config = llama): Promise<string> {
  return folder({ 'model.safetensors': randomFile(config), 'config.json': JSON.stringify(config) });
}

/** A copy of the embedded model. */
async function books(): Promise<string> {
  const path = await folder();
  const names = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
  for (const name of names) await copyFile(join(BOOKS, name), join(path, name));
  return path;
}

/** Without warnings of errors above a grid's, as small groups have them. */
const quiet = (stderr: string) => stderr.replace(/^higgs: warning: .*\n/gm, '');
const plan = (input: string, ...args: string[]) => higgs('plan', input, '--bpw', '4.5', '--threads', '1', ...args);
const measured =
  /^higgs: sensitivities measured in [\d.]+ s \(fisher, 12 sequences of \d+ tokens from the model, 2 draws, seed 0\), /m;

test('quantize --bpw measures sensitivities, keeps them beside the model, and uses them again', async () => {
  const [input, out, again, given] = [await model(), output(), output(), output()];
  const kept = join(input, NAME);
  const first = await succeeds(quantize(input, out, '--bpw', '4.5', '--group', '64'));
  assert.match(first.stderr, measured);
  assert.ok(quiet(first.stderr).endsWith(`, kept in ${kept}\n`), first.stderr);
  assert.match(first.stdout, /\npredicted KL divergence [\d.e-]+ nats\n/);
  nothingAt(`${kept}.partial`, join(out, NAME));

  const second = await succeeds(quantize(input, again, '--bpw', '4.5', '--group', '64', '--json'));
  assert.match(
    quiet(second.stderr),
    /^higgs: sensitivities of .*higgs-alphas\.json \(fisher, 12 sequences [^\n]*\)\n$/,
  );
  assert.equal(await hashes(again), await hashes(out));
  await succeeds(quantize(input, given, '--bpw', '4.5', '--group', '64', '--alphas', kept));
  assert.equal(await hashes(given), await hashes(out));

  const alphas = readAlphas(readFileSync(kept), kept);
  assert.equal([alphas.estimator, alphas.loss, alphas.settings.source], ['fisher', 'kl', 'model']);
  assert.match(String(alphas.settings.files), /^sha256 [0-9a-f]{64}$/);

  const { predicted } = JSON.parse(second.stdout);
  const shown = await succeeds(higgs('predict', out, '--against', input, '--json'));
  assert.equal(JSON.parse(shown.stdout), predicted);
  await succeeds(quantize(input, output(), '--bpw', '4.5', '--dry-run'));
});

test('sensitivities of a model in a cache of others are kept in a cache of our own', async () => {
  const caches = await folder();
  const input = join(caches, 'models--org--small', 'snapshots', 'abc');
  await mkdir(input, { recursive: true });
  const from = await model();
  for (const name of ['config.json', 'model.safetensors']) await copyFile(join(from, name), join(input, name));
  const before = await hashes(input);
  const cache = join(caches, 'own');
  process.env.XDG_CACHE_HOME = cache;
  try {
    const file = join(cache, 'higgs', 'sensitivities', 'models--org--small--abc', NAME);
    assert.ok((await succeeds(plan(input))).stderr.endsWith(`, kept in ${file}\n`));
    assert.match((await succeeds(plan(input))).stderr, /^higgs: sensitivities of /);
    assert.equal(await hashes(input), before);
  } finally {
    delete process.env.XDG_CACHE_HOME;
  }
});

test('kept sensitivities of other weights, another configuration, other settings, or damaged are measured again', async () => {
  const input = await model();
  const kept = join(input, NAME);
  await succeeds(plan(input));
  const whole = readFileSync(kept, 'utf8');
  const other = randomFile(llama, undefined, 2);
  const changes: [change: () => Promise<void>, says: RegExp][] = [
    [
      () => writeFile(kept, whole.slice(0, 515)),
      /not used: .*higgs-alphas\.json: alphas must be JSON: it ends at character 515/,
    ],
    // As it was when tokens were random.
    [
      () => writeFile(kept, whole.replace('"source":"model"', '"text":false')),
      /not used: .*it was measured with other settings/,
    ],
    [() => writeFile(kept, whole.replace('"draws":2', '"draws":3')), /not used: .*it was measured with other settings/],
    // As it was when embeddings and head did not count by rows.
    [
      () => writeFile(kept, whole.replace('"definition":2,', '')),
      /not used: .*it was measured by another release, which defines sensitivity differently/,
    ],
    [
      () =>
        writeFile(
          kept,
          whole.replace(/"alpha":\d/, (text) => `"alpha":${(Number(text.at(-1)) + 1) % 10}`),
        ),
      /not used: .*its checksum is wrong, so it was damaged or changed/,
    ],
    [() => writeFile(kept, whole.replace('"content"', '"contenu"')), /not used: .*its checksum is wrong/],
    [() => writeFile(kept, whole.replace('"files"', '"filet"')), /not used: .*it was measured on other weights/],
    [() => writeFile(kept, `${whole}\n`), /not used: .*its checksum is wrong/],
    [
      () => writeFile(join(input, 'model.safetensors'), other),
      /not used: .*it was measured on other weights or another configuration/,
    ],
    [
      () => writeFile(join(input, 'config.json'), JSON.stringify({ ...llama, rms_norm_eps: 0.01 })),
      /not used: .*it was measured on other weights or another configuration/,
    ],
  ];
  for (const [change, says] of changes) {
    await change();
    const { stderr } = await succeeds(plan(input));
    assert.match(stderr, says);
    assert.match(stderr, measured);
    assert.match((await succeeds(plan(input))).stderr, /^higgs: sensitivities of [^\n]*\n$/);
  }
  assert.is.not(readFileSync(kept, 'utf8'), whole);
});

test('a file of sensitivities that no command kept is left as it is', async () => {
  const input = await model();
  const kept = join(input, NAME);
  await succeeds(plan(input));
  const { settings, ...alphas } = readAlphas(readFileSync(kept), kept);
  const alphasFile = writeAlphas({ ...alphas, settings: { tokens: 7 } });
  await writeFile(kept, alphasFile);
  const { stderr } = await succeeds(plan(input));
  assert.match(stderr, /not used: .*higgs did not write it, so it stays as it is; give it with --alphas\n/);
  assert.match(stderr, /, not kept\n$/);
  assert.is(readFileSync(kept, 'utf8'), alphasFile);
  nothingAt(`${kept}.partial`);
  for (const [other, says] of [
    ['{"a": 1}', /not used: .*alphas must have their version/],
    ['{"higgs.alphas": 2}', /not used: .*higgs\.alphas must be 1/],
  ] as const) {
    await writeFile(kept, other);
    assert.match((await succeeds(plan(input))).stderr, says);
    assert.is(readFileSync(kept, 'utf8'), other);
  }
});

test('where they cannot be kept, a line says so, and the run goes on', async () => {
  const [input, other] = [await model(), await model()];
  await mkdir(join(input, NAME));
  await mkdir(join(input, `${NAME}.partial`));
  const { stdout, stderr } = await succeeds(plan(input, '--json'));
  assert.match(stderr, /^higgs: sensitivities measured in .*, not kept: cannot write .*higgs-alphas\.json.*\n$/);
  assert.is(stdout, (await succeeds(plan(other, '--json'))).stdout);
});

test('Ctrl-C leaves what is measured, and the same command continues it; what is of another run is dropped', async () => {
  const [input, out] = [await books(), output()];
  const kept = join(input, NAME);
  const args = ['quantize', input, '-o', out, '--bpw', '3.25', '--grids', 'p2n16,p2n64,p2n256', '--workers', '1'];
  const interrupted = await execute(process.execPath, [CLI, ...args], async (child) => {
    while (child.exitCode === null && !existsSync(`${kept}.partial`)) await new Promise((then) => setTimeout(then, 5));
    child.kill('SIGINT');
  });
  assert.is(interrupted.code, 130, interrupted.stderr);
  assert.match(
    interrupted.stderr,
    /higgs: interrupted; what is measured is kept in .*\.partial, the same command continues it\n$/,
  );
  nothingAt(kept, out, `${out}.partial`);
  const partial = readFileSync(`${kept}.partial`, 'utf8');
  const results = partial.split('\n').filter((line) => line[9] === '[');
  assert.ok(results.length < 12, `${results.length} sequences`);
  await succeeds(higgs(...args));
  nothingAt(`${kept}.partial`);
  const whole = readFileSync(kept, 'utf8');
  for (const damaged of [partial.slice(0, 300), partial.replace('crc32 ', 'crc32 0')]) {
    await rm(kept);
    await writeFile(`${kept}.partial`, damaged);
    await succeeds(higgs('plan', input, '--bpw', '3.25'));
    assert.is(readFileSync(kept, 'utf8'), whole);
    nothingAt(`${kept}.partial`);
  }
});

test('plan and quantize choose grids of embeddings and head when --embeddings any is given, tied and untied', async () => {
  for (const tied of [true, false]) {
    const [input, out] = [await model({ ...llama, tie_word_embeddings: tied }), output()];
    const args = ['--embeddings', 'any', '--group', '64', '--json'];
    const first = await succeeds(plan(input, ...args));
    const { tensors } = JSON.parse(first.stdout).plan;
    const alphaOf = (name: string) => tensors.find((tensor: { name: string }) => tensor.name === name)?.alpha;
    const { tensors: kept } = readAlphas(readFileSync(join(input, NAME)), NAME);
    for (const name of ['model.embed_tokens.weight', ...(tied ? [] : ['lm_head.weight'])]) {
      assert.is(alphaOf(name), kept.get(name)!.alpha, name);
    }
    assert.is(alphaOf('lm_head.weight') === undefined, tied);
    const { stdout } = await succeeds(quantize(input, out, '--bpw', '4.5', ...args));
    assert.is(JSON.parse(stdout).tensors.length, tensors.length);
  }
});

test('what cannot be measured is told before anything is written, with the ways out', async () => {
  const [input, gemma] = [await model(), await model({ ...llama, architectures: ['GemmaForCausalLM'] } as Config)];
  // A head that the configuration says is the embeddings: it is not measured.
  const headless = await folder({
    'model.safetensors': randomFile({ ...llama, tie_word_embeddings: false }),
    'config.json': JSON.stringify({ ...llama, tie_word_embeddings: true }),
  });
  const single = join(await folder(), 'one.safetensors');
  await copyFile(join(input, 'model.safetensors'), single);
  const existing = await folder({ 'model.safetensors': safetensors({}) });
  const out = output();
  const ways = /sensitivities can be given instead: --alphas FILE, --prior or --uniform\n$/;
  const cases: [string[], number, RegExp][] = [
    [['quantize', gemma, '-o', out, '--bpw', '4.5'], 1, /GemmaForCausalLM/],
    [['plan', gemma, '--bpw', '4.5'], 1, ways],
    [['quantize', single, '-o', `${out}.safetensors`, '--bpw', '4.5'], 1, /model must be a directory, .*--prior/],
    [['plan', headless, '--bpw', '4.5', '--embeddings', 'any'], 1, /"lm_head\.weight" has none.*--alphas/],
    [['plan', input, '--bpw', '1'], 1, /bits per weight must be at least/],
    [['quantize', input, '-o', existing, '--bpw', '4.5'], 1, /it already exists; give --force/],
    [
      ['quantize', input, '-o', out, '--bpw', '4.5', '--dry-run'],
      2,
      /--dry-run needs sensitivities.*--prior.*, which measures them in about \d+ s of computing, \d+ s of reading\n/,
    ],
    [['quantize', input, '-o', out, '--bpw', '4.5', '--memory', '64KB'], 1, /must fit .* of linear memory.*--prior/],
    [['plan', input, '--bpw', '4.5', '--memory', '64KB'], 1, /must fit .* of linear memory.*--prior/],
    [['quantize', input, '-o', out, '--memory', '1GB'], 2, /--memory must come with a budget/],
    [['quantize', input, '-o', out, '--text', 'no-such.txt'], 1, /cannot read no-such\.txt/],
    [['quantize', input, '-o', out, '--text', join(BOOKS, 'valid.txt')], 1, /model must have tokenizer\.json/],
    [['quantize', input, '-o', out, '--context', '20'], 2, /--context must come with --text/],
  ];
  for (const [args, code, says] of cases) assert.match(await fails(higgs(...args), code), says);
  const conflict = await higgs('plan', input, '--bpw', '4.5', '--memory', '1GB', '--prior');
  assert.is(conflict.code, 2);
  assert.match(conflict.stderr, /--memory <size>' cannot be used with/);
  nothingAt(out, `${out}.partial`, `${out}.safetensors`, join(input, NAME), join(gemma, NAME), `${single}.partial`);
  await succeeds(quantize(single, `${out}.safetensors`, '--bpw', '4.5', '--prior'));
});

test('quantize --text and predict --text have predictions beside what the text shows', async () => {
  const [input, out] = [await books(), output()];
  const text = join(await folder({ 'text.txt': readFileSync(join(BOOKS, 'valid.txt')).subarray(0, 3000) }), 'text.txt');
  const run = await succeeds(
    quantize(input, out, '--bpw', '4.1', '--grids', 'p2n64,p2n256,p1n64', '--text', text, '--context', '64', '--json'),
  );
  const { predicted, text: actual } = JSON.parse(run.stdout);
  assert.is(actual.kl.predicted, predicted.delta);
  assert.ok(actual.kl.measured > 0 && actual.kl.measured < 2 * actual.kl.predicted, JSON.stringify(actual));
  const { original, measured: increase, error } = actual.perplexity;
  assert.is(actual.perplexity.predicted, original * Math.exp(predicted.delta));
  assert.ok(Math.abs(increase - original * Math.exp(actual.kl.measured)) < 4 * error, JSON.stringify(actual));

  const choice = ['--text', text, '--context', '64'];
  const again = await succeeds(higgs('predict', out, '--against', input, ...choice, '--json'));
  assert.equal({ ...JSON.parse(again.stdout).text, seconds: 0 }, { ...actual, seconds: 0 });
  const prior = await succeeds(higgs('predict', out, '--against', input, '--prior', ...choice));
  assert.match(
    prior.stdout,
    /\nperplexity +[\d.]+ +[\d.]+ ± [\d.]+\n[^\n]*\n[^\n]*tokens scored[^\n]*\nsensitivities of no unit predict neither\n$/,
  );

  const file = join(await folder(), 'plan.json');
  await succeeds(higgs('plan', input, '--bpw', '4.1', '-o', file));
  const before = await succeeds(higgs('predict', input, '--plan', file, ...choice, '--json'));
  const ahead = JSON.parse(before.stdout).text;
  assert.equal([ahead.perplexity.original, ahead.perplexity.measured, ahead.kl.measured], [original, null, null]);
  assert.match(await fails(higgs('predict', out, '--plan', file, ...choice), 2), /--text must come with --against/);
  assert.match(await fails(higgs('predict', out), 2), /or --against the original that has them/);
});

test.run();
