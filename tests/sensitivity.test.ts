// Sensitivities: the two estimators against each other and the oracle, their statistics, and that nothing depends on threads or
// interruptions.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fieldsOf } from '../src/families/config.ts';
import { architectureOf } from '../src/families/family.ts';
import { load } from '../src/index.ts';
import { type Alphas, readAlphas, writeAlphas } from '../src/linearity/alphas.ts';
import { fillNormals, uniformStream } from '../src/numerics/stream.ts';
import { estimateSensitivity } from '../src/sensitivity/cost.ts';
import { measureSensitivity, type SensitivityOptions } from '../src/sensitivity/measure.ts';
import { measuredNames, measuredOf } from '../src/sensitivity/program/measured.ts';
import { taskOf, wordsOfTask } from '../src/sensitivity/program/task.ts';
import { fitLevels } from '../src/sensitivity/results/fit.ts';
import { openSession, openSubject, planSession, survey } from '../src/sensitivity/session.ts';
import { randomSequences, sequencesChecksum, textSequences } from '../src/sensitivity/tokens.ts';
import { sealLine } from '../src/source/lines.ts';
import { folderOf } from '../src/source/memory.ts';
import { startThreads } from '../src/workers/node.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { families } from './families/index.ts';
import { type Config, configs, modelFolder, randomFile, randomIds, shapesOf } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('sensitivity');
const FOLDER = 'models/books-llama';
const names = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
const books = memoryFolder(
  Object.fromEntries(names.map((name) => [name, new Uint8Array(readFileSync(`${FOLDER}/${name}`))])),
);
const llama = configs.llama;
const tiny = modelFolder(llama, randomFile(llama));
const few = { tokens: 24, sequences: 2 };

test('uniformStream() is in [0, 1), with the mean and variance of uniform numbers; other seeds are other streams', () => {
  const next = uniformStream(1, 2, 3, 4);
  const values = Array.from({ length: 20000 }, next);
  assert.ok(values.every((value) => value >= 0 && value < 1));
  const { mean, variance } = momentsOf(values);
  assert.ok(Math.abs(mean - 0.5) < 0.01 && Math.abs(variance - 1 / 12) < 0.003, `${mean} ${variance}`);
  const firsts = [0, 1, 2, 3].map((i) => {
    const seeds: [number, number, number, number] = [1, 2, 3, 4];
    seeds[i]++;
    return uniformStream(...seeds)();
  });
  assert.is(new Set([...firsts, values[0]]).size, 5);
});

test('fillNormals() fills any length with N(0, 1)', () => {
  const values = new Float32Array(20001);
  fillNormals(values, 5, 6, 7, 8);
  const { mean, variance } = momentsOf([...values]);
  assert.ok(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.03, `${mean} ${variance}`);
  const beyond = values.filter((value) => Math.abs(value) > 2).length / values.length;
  assert.ok(Math.abs(beyond - 0.0455) < 0.006, `${beyond}`);
  assert.is.not(values.at(-1), 0);
});

test('taskOf() reads what wordsOfTask() wrote, and what was left out as nothing', () => {
  const draw = { kind: 'draw', block: 3, place: 6, stream: 1027, seed: 4294967295, sequence: 65535, draw: 2 } as const;
  const perturb = { kind: 'perturb', block: 3, place: 6, scale: -0.1 } as const;
  for (const task of [draw, perturb]) assert.equal(taskOf(Int32Array.from(wordsOfTask(task))), task);
  const block = taskOf(Int32Array.from(wordsOfTask({ kind: 'block', block: 1 })));
  assert.equal(block, { kind: 'block', block: 1, save: false, perturbed: -1 });
});

test('fitLevels() is least squares through the origin, with the standard error of clusters', () => {
  const t2 = [0.01, 0.02, 0.04];
  const { alpha, error, r2, levels } = fitLevels(t2, [t2.map((x) => 3 * x), t2.map((x) => 5 * x)]);
  assert.ok(Math.abs(alpha - 4) < 1e-12 && Math.abs(error! - 1) < 1e-12 && Math.abs(r2! - 1) < 1e-12);
  assert.equal(
    levels.map(({ used }) => used),
    [true, true, true],
  );
  assert.is(fitLevels(t2, [t2]).error, null);
  assert.is(fitLevels([0.1], [[0.2]]).r2, null);
});

test('fitLevels() leaves out levels that are not linear any more', () => {
  const t2 = [0.01, 0.02, 0.04, 0.08];
  const bent = (factor: number) => t2.map((x) => factor * (x + 8 * x * x * x * 40));
  const { alpha, levels, r2 } = fitLevels(t2, [bent(2), bent(2.02)]);
  assert.equal(
    levels.map(({ used }) => used),
    [true, true, false, false],
  );
  assert.ok(Math.abs(alpha / 2.2 - 1) < 0.1 && r2! > 0.99 && r2! < 1);
});

test('sequences are seeded; windows of a text lie apart and know what comes next', () => {
  const config = { vocabSize: 100, bos: 1 } as Parameters<typeof textSequences>[0];
  const random = randomSequences(config, 3, 50, 7);
  assert.equal(random, randomSequences(config, 3, 50, 7));
  assert.ok(random.every(({ ids }) => ids.every((id) => Number.isInteger(id) && id >= 0 && id < 100)));
  assert.is.not(sequencesChecksum(random), sequencesChecksum(randomSequences(config, 3, 50, 8)));
  const text = Array.from({ length: 95 }, (_, i) => i);
  const windows = textSequences(config, text, 3, 20);
  assert.equal(
    windows.map(({ ids, targets }) => [ids[0], ids[1], ids.length, targets![0], targets!.length]),
    [
      [1, 0, 20, 0, 20],
      [1, 37, 20, 37, 20],
      [1, 75, 20, 75, 20],
    ],
  );
  assert.is(textSequences(config, text, 100, 20).length, 4);
  const [bare] = textSequences({ ...config, bos: undefined }, text, 1, 20);
  assert.equal([bare.ids.at(-1), bare.targets![0], bare.targets!.at(-1)], [19, 1, 20]);
  assert.throws(() => textSequences(config, text, 1, 96), /text must have a window of 96 tokens: it has 95/);
});

for (const estimator of ['fisher', 'noise'] as const) {
  for (const [name, config] of Object.entries(configs)) {
    test(`${estimator}: the file is the same for any number of threads, and resumed after any step: ${name}`, async () => {
      const folder = modelFolder(config, randomFile(config));
      const options = { estimator, ...few, levels: [0.01, 0.03], seed: 3 };
      const partials: string[] = [];
      const onPartial = (partial: string) => partials.push(partial);
      const wanted = await fileOf(folder, { ...options, onPartial });
      const read = readAlphas(wanted, 'alphas.json');
      const beside = estimator === 'noise' ? 0 : config.tie_word_embeddings ? 1 : 2; // embeddings and head
      assert.is(read.tensors.size, config.num_hidden_layers * 7 + beside);
      assert.is(writeAlphas(read), wanted);
      assert.is(await fileOf(folder, { ...options, threads: await startThreads(2) }), wanted);
      assert.is(partials.length, 1 + (estimator === 'fisher' ? 2 : 4), 'sampled ids, then the results');
      for (const partial of [partials[0], partials.at(-2), partials.at(-1)]) {
        assert.is(await fileOf(folder, { ...options, partial: partial! }), wanted);
      }
      assert.is.not(await fileOf(folder, { ...options, seed: 4 }), wanted);
    });
  }
}

for (const name of ['gpt_oss', 'gemma4_text', 'gemma4_experts']) {
  test(`fisher: the file is the same for any number of threads: ${name}`, async () => {
    const folder = modelFolder(families[name].config, families[name].model);
    const options = { estimator: 'fisher', ...few, seed: 3 } as const;
    const wanted = await fileOf(folder, options);
    for (const [, { alpha }] of readAlphas(wanted, 'alphas.json').tensors) assert.ok(alpha > 0);
    for (const count of [2, 3])
      assert.is(await fileOf(folder, { ...options, threads: await startThreads(count) }), wanted);
  });
}

test('noise: the KL of a perturbed matrix is that of the oracle', async () => {
  for (const config of [llama, configs.qwen3]) {
    const file = randomFile(config);
    const folder = modelFolder(config, file);
    const options = { estimator: 'noise', tokens: 11, draws: 1, threads: 1 } as const;
    const { measuring, run, close } = await openSession(planSession(await openSubject(folder), options), undefined, {});
    const { state, workspace, floats, doubles, ints } = measuring;
    const ids = randomIds(11, config.vocab_size, 5);
    ints.set(ids, state.ids / 4);
    run({ kind: 'embed' });
    for (const block of state.blocks.keys()) run({ kind: 'block', block, save: true });
    run({ kind: 'keep', count: 11 });
    const tensors = new Map(tensorsOf(file));
    const clean = oracleOf(config, tensors).logits(ids);
    const measured = measuredOf(state);
    for (const name of ['0.self_attn.v_proj', '1.self_attn.q_proj', '1.mlp.down_proj', '0.mlp.gate_proj'].map(
      (path) => `model.layers.${path}.weight`,
    )) {
      const { block, place } = measured.find(({ linear }) => linear.name === name)!;
      run({ kind: 'draw', block, place, seed: 1 });
      run({ kind: 'perturb', block, place, scale: 0.02 });
      run({ kind: 'restore', block });
      run({ kind: 'block', block, perturbed: place });
      for (let next = block + 1; next < state.blocks.length; next++) run({ kind: 'block', block: next });
      run({ kind: 'compare', count: 11 });
      const tensor = tensors.get(name)!;
      const index = workspace.noise!.weights / 4;
      const noised = floats.slice(index, index + tensor.length);
      assert.ok(noised.some((value, i) => value !== tensor[i]));
      const rows = oracleOf(config, new Map([...tensors, [name, noised]])).logits(ids);
      for (const [t, row] of rows.entries()) {
        const wanted = divergence(clean[t], row);
        const actual = doubles[workspace.sums / 8 + t];
        assert.ok(Math.abs(actual - wanted) < 1e-3 * wanted + 1e-9, `${name}, token ${t}: ${actual} is not ${wanted}`);
      }
    }
    await close();
  }
});

test('fisher: labels are drawn with the probabilities of the model', async () => {
  const draws = 4000;
  const options = { estimator: 'fisher', tokens: 3, draws, threads: 1 } as const;
  const config: Config = { ...llama, vocab_size: 9 };
  const file = randomFile(config);
  const planned = planSession(await openSubject(modelFolder(config, file)), options);
  const { measuring, run, close } = await openSession(planned, undefined, {});
  const { state, workspace, ints } = measuring;
  const ids = [3, 7, 1];
  ints.set(ids, state.ids / 4);
  run({ kind: 'embed' });
  for (const block of state.blocks.keys()) run({ kind: 'block', block, save: true });
  run({ kind: 'labels', count: 3, seed: 2 });
  const logits = oracleOf(config, tensorsOf(file)).logits(ids);
  for (const t of ids.keys()) {
    const p = softmax(logits[t]);
    const counts = new Float64Array(9);
    for (let draw = 0; draw < draws; draw++) counts[ints[workspace.fisher!.labels / 4 + draw * 3 + t]]++;
    // χ² of 8 degrees of freedom: 26.1 at 0.1 %.
    const chi = p.reduce((sum, share, i) => sum + (counts[i] - draws * share) ** 2 / (draws * share), 0);
    assert.ok(chi < 26.1, `token ${t}: χ² is ${chi}`);
  }
  await close();
});

test('survey() gives the squared norms of the weights', async () => {
  const options = { estimator: 'fisher', tokens: 4, draws: 1, threads: 1 } as const;
  const session = await openSession(planSession(await openSubject(tiny), options), undefined, {});
  const tensors = tensorsOf(randomFile(llama));
  const { norms } = await survey(session, 'a model');
  const names = measuredNames(architectureOf(fieldsOf(JSON.stringify(llama), 'llama')), 'fisher');
  assert.is(norms.length, names.length);
  for (const [i, name] of names.entries()) {
    const norm = norms[i];
    const values = tensors.get(name)!;
    const wanted = Array.from(values).reduce((sum, value) => sum + value * value, 0);
    assert.ok(Math.abs(norm / wanted - 1) < 1e-12);
  }
  await session.close();
});

test('both estimators agree on the embedded model within their standard errors, rank correlation 0.95', async () => {
  const noise = await measureSensitivity(books, { estimator: 'noise', tokens: 64, sequences: 3, levels: [1 / 64] });
  const fisher = await measureSensitivity(books, { tokens: 64, sequences: 12, draws: 1 });
  const pairs = [...noise.tensors].map(([name, actual]) => [actual, fisher.tensors.get(name)!] as const);
  assert.is(pairs.length, 42);
  const ranks = [0, 1].map((i) => ranksOf(pairs.map((pair) => pair[i].alpha)));
  const squares = ranks[0].reduce((sum, rank, i) => sum + (rank - ranks[1][i]) ** 2, 0);
  const correlation = 1 - (6 * squares) / (42 * (42 * 42 - 1));
  assert.ok(correlation >= 0.95, `rank correlation is ${correlation}`);
  // Errors from three sequences are rough: Student's t with two degrees of freedom has tails.
  const apart = pairs.map(([a, b]) => Math.abs(a.alpha - b.alpha) / Math.hypot(a.error!, b.error!));
  const median = apart.sort((a, b) => a - b)[21];
  assert.ok(median < 1.2, `${median} standard errors apart`);
  assert.ok(apart[39] < 5, `${apart[39]} standard errors apart`);
  const [a, b] = [0, 1].map((i) => pairs.reduce((sum, pair) => sum + pair[i].alpha, 0));
  assert.ok(Math.abs(a / b - 1) < 0.15, `Σα are ${a} and ${b}`);
});

test('what was measured on is noted: the model’s own tokens by default, random ones, or a text', async () => {
  const text = readFileSync(`${FOLDER}/valid.txt`, 'utf8').slice(0, 2000);
  const files: string[] = [];
  for (const [options, source] of [
    [{}, 'model'],
    [{ source: 'random' }, 'random'],
    [{ text }, 'text'],
  ] as const) {
    const alphas = await measureSensitivity(books, { ...few, ...options });
    assert.is(alphas.settings.source, source);
    files.push(JSON.stringify([...alphas.tensors]));
  }
  assert.is(new Set(files).size, 3);
  const partials: string[] = [];
  await measureSensitivity(tiny, { ...few, source: 'random', onPartial: (partial) => partials.push(partial) });
  const reason = await measureSensitivity(tiny, { ...few, partial: partials[0] }).catch((error) => error);
  assert.match(reason.message, /must be of the same model and settings/);
});

test('of a text both estimators give perplexity and its increase', async () => {
  const text = readFileSync(`${FOLDER}/valid.txt`, 'utf8');
  const bos = { ...(await measureSensitivity(books, { text, tokens: 32, sequences: 2, draws: 1 })) };
  assert.is(bos.loss, 'perplexity');
  assert.ok(bos.base! > 10 && bos.base! < 200, `${bos.base}`);
  const options = { text, tokens: 32, sequences: 2, levels: [1 / 64] };
  const noise = await measureSensitivity(books, { estimator: 'noise', ...options });
  assert.ok(Math.abs(noise.base! / bos.base! - 1) < 1e-5, `${noise.base} is not ${bos.base}`);
  const name = 'model.layers.0.mlp.down_proj.weight';
  const [a, b] = [bos, noise].map(({ tensors }) => tensors.get(name)!.alpha);
  assert.ok(a / b > 0.4 && a / b < 2.5, `${a} and ${b}`);
});

test('measureSensitivity() refuses what it cannot measure', async () => {
  const refused = async (run: Promise<unknown>, name: string, message: RegExp) => {
    const error: Error = await run.then(
      () => assert.unreachable(`must be refused: ${message}`),
      (reason) => reason,
    );
    assert.is(error.name, name, error.message);
    assert.match(error.message, message);
  };
  const higgs = await load();
  const output = memoryOutput();
  await higgs.quantizeCheckpoint(tiny, output, { grid: 'p2n64', groupSize: 64 });
  const quantized = measureSensitivity(output.folder(), few);
  await refused(
    quantized,
    'UnsupportedError',
    /q_proj\.weight.*must be the original’s, as sensitivity is of those: they are quantized/,
  );
  const bad: [SensitivityOptions, RegExp][] = [
    [{ tokens: 513 }, /^tokens must be an integer from 2 to 512: got 513$/],
    [{ sequences: 0 }, /^sequences must be an integer from 1 to 65535: got 0$/],
    [{ draws: 1.5 }, /^draws must be an integer/],
    [{ seed: -1 }, /^seed must be an integer/],
    [{ levels: [0.1, 0.1] }, /^levels must be ascending numbers between 0 and 4: got \[0.1, 0.1\]$/],
    [{ levels: [] }, /^levels must be/],
    [{ source: 'books' as 'random' }, /^source must be "model" or "random": got "books"$/],
    [{ source: 'model', text: 'A text.' }, /^source must be left out where there is a text: got "model"$/],
    [{ estimator: 'hessian' as 'noise' }, /^estimator must be "fisher" or "noise": got "hessian"$/],
  ];
  for (const [options, message] of bad) await refused(measureSensitivity(tiny, options), 'RangeError', message);
  await refused(measureSensitivity(books, { text: 'Short.' }), 'RangeError', /^text must have a window of 128 tokens/);
  await refused(measureSensitivity(tiny, { ...few, text: 'No tokenizer.' }), 'FileError', /tokenizer\.json/);
});

test('measureSensitivity() stops at an abort, and refuses what another run had done', async () => {
  const controller = new AbortController();
  const partials: string[] = [];
  const run = measureSensitivity(tiny, {
    ...few,
    signal: controller.signal,
    onPartial: (partial) => {
      partials.push(partial);
      controller.abort();
    },
  });
  const error = await run.catch((reason) => reason);
  assert.is(error.name, 'AbortError');
  assert.is(partials.length, 1);
  const other = await measureSensitivity(tiny, { ...few, seed: 1, onPartial: (partial) => partials.push(partial) });
  assert.is(other.settings.seed, 1);
  const wrong: [string, RegExp][] = [
    [partials[1], /must be of the same model and settings/],
    [partials[0].replace('"seed\\":0', '"seed\\":1'), /begin with a line whose seal holds/],
    ['', /begin with a line whose seal holds/],
    ['{"higgs.sensitivity":2}', /begin with a line whose seal holds/],
    [textOf([{ 'higgs.sensitivity': 2, key: 'x' }]), /must be of version 4: got 2/],
    [textOf([[]]), /begin with a line whose seal holds/],
  ];
  for (const [partial, message] of wrong) {
    const reason = await measureSensitivity(tiny, { ...few, partial }).catch((found) => found);
    assert.is(reason.name, 'FormatError');
    assert.match(reason.message, message);
  }
});

// Lines as openPartial() writes them.
function textOf(values: readonly unknown[]): string {
  let seal = 0;
  return values
    .map((value) => {
      const line = sealLine(value, seal);
      seal = line.seal;
      return new TextDecoder().decode(line.bytes);
    })
    .join('');
}

for (const estimator of ['fisher', 'noise'] as const) {
  test(`${estimator}: a partial with any byte changed is refused, or gone on with from its last good line to the same file`, async () => {
    const options = { ...few, estimator, levels: [0.01] };
    const partials: string[] = [];
    const wanted = await fileOf(tiny, { ...options, onPartial: (partial) => partials.push(partial) });
    const whole = new TextEncoder().encode(partials.at(-1));
    const lines = partials.at(-1)!.split('\n');
    const starts = lines.map((_, i) => new TextEncoder().encode(lines.slice(0, i).join('\n')).length + (i > 0 ? 1 : 0));
    for (const [i, start] of starts.slice(0, -1).entries()) {
      for (const offset of [start, start + 7, start + 8, start + 12, starts[i + 1] - 2, starts[i + 1] - 1]) {
        const damaged = whole.slice();
        damaged[offset] ^= 1;
        const actual = await fileOf(tiny, { ...options, partial: new TextDecoder().decode(damaged) }).catch(
          (error) => error,
        );
        if (i === 0) assert.is(actual.reason, 'partial', `byte ${offset}: ${actual}`);
        else assert.is(actual, wanted, `byte ${offset} of line ${i}`);
      }
    }
  });
}

test('a partial whose lines hold but are of another hand is gone on with up to them', async () => {
  const partials: string[] = [];
  const wanted = await fileOf(tiny, { ...few, onPartial: (partial) => partials.push(partial) });
  const values = partials
    .at(-1)!
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line.slice(9)));
  const [opening, sampled, first, second] = values;
  const changed = [
    [opening, sampled, first, second, second],
    [opening, sampled, first.slice(1)],
    [opening, sampled, first.map(String)],
    [opening, { ...sampled, sampled: 1 }, first],
    [opening, { ...sampled, ids: sampled.ids.map((ids: number[]) => ids.map(() => 1e9)) }],
    [opening, null, first],
    [opening, { sampled: 0, ids: 'x' }],
  ];
  for (const lines of changed) assert.is(await fileOf(tiny, { ...few, partial: textOf(lines) }), wanted);
});

test('measureSensitivity() refuses weights that are not finite, which would give no sensitivities', async () => {
  const config: Config = { ...llama, num_hidden_layers: 1 };
  const file = randomFile(config, ['F32']);
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  const [start] = header['model.layers.0.mlp.up_proj.weight'].data_offsets;
  file.set([0, 0, 0xc0, 0x7f], 8 + length + start);
  for (const estimator of ['fisher', 'noise'] as const) {
    const reason = await measureSensitivity(modelFolder(config, file), { ...few, estimator }).catch((error) => error);
    assert.is(reason.name, 'FormatError');
    assert.match(
      reason.message,
      /: tensor "model\.layers\.0\.mlp\.up_proj\.weight": weights must be finite: some are NaN or infinite$/,
    );
  }
});

test('measureSensitivity() tells of its progress', async () => {
  for (const estimator of ['fisher', 'noise'] as const) {
    const counts: number[] = [];
    let total = 0;
    await measureSensitivity(tiny, {
      ...{ ...few, estimator, levels: [0.01] },
      onProgress: (progress) => {
        counts.push(progress.done);
        total = progress.total;
      },
    });
    assert.is(counts.at(-1), total);
    assert.ok(counts.every((done, i) => done >= (counts[i - 1] ?? 0)));
  }
});

test('estimateSensitivity() counts what would be measured', async () => {
  for (const estimator of ['fisher', 'noise'] as const) {
    const cost = await estimateSensitivity(tiny, { estimator, tokens: 16 });
    assert.equal([cost.matrices, cost.threads, cost.tokens], [14, 1, 16]);
    const { hidden_size: dim, intermediate_size: wide, head_dim: size } = llama;
    assert.is(cost.weights, 2 * (dim * size * (2 * 6 + 2 * 2) + 3 * dim * wide));
    assert.ok(cost.seconds > 0 && cost.bytes > cost.weights * 2);
    assert.ok(cost.readSeconds > 0 && cost.bytesRead === 0 && cost.copySeconds === 0);
    const random = await estimateSensitivity(tiny, { estimator, tokens: 16, source: 'random' });
    assert.equal([cost.source, random.source], ['model', 'random']);
    assert.ok(random.bytes < cost.bytes);
  }
});

test('of a model above 4 GB what is read and made counts apart, from few reads and one matrix of the copy', async () => {
  const config: Config = {
    ...llama,
    ...{ hidden_size: 2048, intermediate_size: 8192, num_hidden_layers: 36, head_dim: 128 },
    ...{ num_attention_heads: 16, num_key_value_heads: 16, max_position_embeddings: 64 },
  };
  const { folder, bytesRead } = zerosOf(config);
  const settings = { tokens: 16, sequences: 2, draws: 1 } as const;
  const random = await estimateSensitivity(folder, { ...settings, source: 'random' });
  const [weights, read] = [36 * (4 * 2048 * 2048 + 3 * 2048 * 8192), bytesRead()];
  assert.is(random.weights, weights);
  assert.equal([random.copyBytes, random.copySeconds], [0, 0]);
  // Once to look at it, then to and fro for each sequence, but for the ends.
  assert.ok(random.bytesRead > 4.99 * weights * 2 && random.bytesRead < 5.05 * weights * 2, String(random.bytesRead));
  assert.ok(random.readSeconds > 0 && read < 80e6, `${read} bytes are read`);
  const checkpoint = await (await load()).open(folder);
  const asked: string[] = [];
  const copy = (grid: string) => {
    asked.push(grid);
    return checkpoint.copy({ grid, embeddings: grid });
  };
  const sampled = await estimateSensitivity(folder, { ...settings, copy });
  assert.equal(asked, ['t4']);
  assert.ok(sampled.copyBytes > weights / 2 && sampled.copySeconds > 0);
  // Alone, nobody can make one.
  assert.is((await estimateSensitivity(folder, settings)).copySeconds, 0);
});

test.run();

/** A checkpoint in BF16 whose weights are zeros, which nobody holds. */
function zerosOf(config: Config) {
  let [offset, bytesRead] = [0, 0];
  const header: Record<string, object> = {};
  for (const [name, shape] of shapesOf(config)) {
    const start = offset;
    offset += 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'BF16', shape, data_offsets: [start, offset] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  const model = {
    byteLength: head.length + offset,
    slice(start: number, end: number) {
      const bytes = new Uint8Array(end - start);
      bytes.set(head.subarray(start, end));
      bytesRead += end - start;
      return bytes.buffer;
    },
  };
  const about = new TextEncoder().encode(JSON.stringify(config)).buffer;
  return {
    folder: folderOf('zeros', { 'config.json': about, 'model.safetensors': model }),
    bytesRead: () => bytesRead,
  };
}

async function fileOf(folder: Parameters<typeof measureSensitivity>[0], options: SensitivityOptions): Promise<string> {
  const alphas: Alphas = await measureSensitivity(folder, options);
  return writeAlphas(alphas);
}

function momentsOf(values: readonly number[]): { mean: number; variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
}

function softmax(row: Float64Array): Float64Array {
  const most = row.reduce((a, b) => Math.max(a, b));
  const powers = row.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

function divergence(clean: Float64Array, noised: Float64Array): number {
  const [p, q] = [softmax(clean), softmax(noised)];
  return p.reduce((sum, share, i) => sum + share * Math.log(share / q[i]), 0);
}

function ranksOf(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const ranks: number[] = [];
  for (const [rank, i] of order.entries()) ranks[i] = rank;
  return ranks;
}
