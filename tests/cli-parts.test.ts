// Parts of a checkpoint by the command line: the bytes of one run, whatever happens to the tasks (Node and what follows it only).

import { readFileSync, writeFileSync } from 'node:fs';
import promises, { cp, readdir, rm } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { partFrom } from '../src/cli/common/part.ts';
import { stagePart } from '../src/disk/parts.ts';
import { readSealed, sealLine } from '../src/source/lines.ts';
import { normals } from './bits.ts';
import { readSafetensors, safetensors, tensorOf } from './checkpoints.ts';
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
  smallFiles,
  succeeds,
  temporaryRoot,
  weight,
} from './command.ts';

temporaryRoot();

const BOOKS = 'models/books-llama';

// Grids that differ in speed, tensors that differ in size, several output files.
const MIXED = ['--bpw', '3', '--uniform', '--group', '64', '--max-shard-size', '20kB'];
let whole: Promise<{ input: string; expected: Record<string, string> }> | undefined;
function mixed() {
  whole ??= (async () => {
    const tensors = Object.fromEntries(
      Array.from({ length: 9 }, (_, i) => [`model.layers.${i}.mlp.up_proj.weight`, weight(32 + 16 * i, 64, i + 1)]),
    );
    const all = {
      'model.embed_tokens.weight': weight(64, 64, 20),
      ...tensors,
      'model.norm.weight': tensorOf('BF16', [7], normals(7)),
    };
    const input = await folder({ ...smallFiles(), 'model.safetensors': safetensors(all, { format: 'pt' }) });
    const out = output();
    await succeeds(quantize(input, out, ...MIXED));
    return { input, expected: await hashes(out) };
  })();
  return whole;
}

const partOf = (input: string, out: string, part: string, ...more: string[]) =>
  quantize(input, out, ...MIXED, '--part', part, ...more);

/** Both halves of the checkpoint. */
async function halves(): Promise<{ input: string; out: string; expected: Record<string, string> }> {
  const { input, expected } = await mixed();
  const out = output();
  for (const part of ['1/2', '2/2']) await succeeds(partOf(input, out, part));
  return { input, out, expected };
}

/** The directory of a part. */
async function directoryOf(out: string, part: number): Promise<string> {
  const name = (await readdir(`${out}.parts`)).find((each) => each.startsWith(`part-${part}-of-`));
  return join(`${out}.parts`, name!);
}

for (const count of [1, 3, 8, 30]) {
  test(`higgs merge gives the bytes of one run when ${count} tasks wrote parts, some of them empty`, async () => {
    const { input, expected } = await mixed();
    const out = output();
    for (let part = count; part >= 1; part--) await succeeds(partOf(input, out, `${part}/${count}`));
    await succeeds(higgs('merge', out));
    assert.equal(await hashes(out), expected);
    nothingAt(`${out}.partial`);
    await succeeds(higgs('verify', out, '--against', input));
  });
}

test('a part that runs twice at once, and again, is one part', async () => {
  const { input, expected } = await mixed();
  const out = output();
  const runs = ['1/2', '2/2', '2/2', '2/2'].map((part) => succeeds(partOf(input, out, part, '--resume')));
  await Promise.all(runs);
  const again = await succeeds(partOf(input, out, '2/2', '--resume', '--json'));
  assert.equal(JSON.parse(again.stdout), { part: 2, parts: 2, done: true });
  await succeeds(higgs('merge', out));
  assert.equal(await hashes(out), expected);
});

test('a part or a merge that is run again after the merge ends well, and writes nothing', async () => {
  const { input, out, expected } = await halves();
  await succeeds(higgs('merge', out));
  const merged = `the output is complete already: ${out}\n`;
  for (const more of [[], ['--resume']]) {
    assert.is((await succeeds(higgs('merge', out, ...more))).stdout, merged);
    const part = await succeeds(partOf(input, out, '2/2', ...more));
    assert.is(part.stdout, `part 2 of 2: ${merged}`);
  }
  assert.equal(JSON.parse((await succeeds(higgs('merge', out, '--json'))).stdout), { done: true });
  await rm(`${out}.parts`, { recursive: true });
  await succeeds(partOf(input, out, '1/2', '--resume'));
  nothingAt(`${out}.parts`);
  assert.equal(await hashes(out), expected);
});

test('a part or a merge refuses an output that is of another plan, or was changed', async () => {
  const { input, out } = await halves();
  await succeeds(quantize(input, out, ...MIXED, '--seed', '7'));
  assert.match(await fails(higgs('merge', out, '--resume')), /it already exists; give --force to replace it/);
  assert.match(await fails(partOf(input, out, '2/2')), /it already exists, of another plan; give --force/);
  await succeeds(higgs('merge', out, '--force'));
  const other = await folder();
  await cp(input, other, { recursive: true });
  const bytes = readFileSync(join(other, 'model.safetensors'));
  bytes.subarray(-400, -100).fill(0);
  writeFileSync(join(other, 'model.safetensors'), bytes);
  const second = output();
  await succeeds(quantize(other, second, ...MIXED));
  await cp(`${out}.parts`, `${second}.parts`, { recursive: true });
  assert.match(await fails(higgs('merge', second)), /it already exists; give --force to replace it/);
});

test('a part refuses an output that was made of another input with the same headers', async () => {
  const { input, out } = await halves();
  await succeeds(higgs('merge', out));
  const other = await folder();
  await cp(input, other, { recursive: true });
  const bytes = readFileSync(join(other, 'model.safetensors'));
  bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 4096);
  writeFileSync(join(other, 'model.safetensors'), bytes);
  assert.match(
    await fails(partOf(other, out, '1/2', '--resume')),
    /it already exists, and .*part-1-of-2\.[0-9a-f]{8} was made of another input, or of one that was changed since; give --force/,
  );
});

test('a run whose directory another takes for dead, before a lock is in it, makes another one', async () => {
  const out = output();
  const { writeFile } = promises;
  let taken = 0;
  promises.writeFile = async (path, ...rest) => {
    if (String(path).endsWith('higgs.lock') && taken++ === 0) await rm(dirname(String(path)), { recursive: true });
    return writeFile(path, ...rest);
  };
  syncBuiltinESMExports();
  try {
    const identity = { version: '1', part: 1, parts: 2, layout: '', scaleSearch: false, input: '' };
    const attempt = await stagePart(out, identity, {});
    assert.is(taken, 2);
    assert.equal(await readdir(attempt!.path), ['higgs.lock']);
    await attempt!.discard();
  } finally {
    promises.writeFile = writeFile;
    syncBuiltinESMExports();
  }
});

test('higgs quantize --part refuses words that match no tensor', async () => {
  const { input } = await mixed();
  const out = output();
  const { code, stderr } = await quantize(input, out, '--part', '1/2', '--include', 'nothing');
  assert.is(code, 2, stderr);
  assert.match(stderr, /--include must match a tensor/);
  nothingAt(`${out}.parts`);
});

test('higgs merge names parts that are missing, and writes nothing', async () => {
  const { input } = await mixed();
  const out = output();
  for (const part of [1, 3, 5]) await succeeds(partOf(input, out, `${part}/5`));
  assert.match(await fails(higgs('merge', out)), /parts 2,4 of 5 must be there/);
  nothingAt(out, `${out}.partial`);
  assert.match(await fails(higgs('merge', output())), /no part of it is there/);
});

test('higgs merge says which part has another plan, input or release, and why', async () => {
  const { input, out } = await halves();
  const third = output();
  for (const part of ['1/3', '2/3']) await succeeds(partOf(input, third, part));
  await succeeds(partOf(input, third, '3/3', '--seed', '7'));
  assert.match(await fails(higgs('merge', third)), /part 3 has another plan/);
  const refused = await fails(partOf(input, third, '3/3'));
  assert.match(refused, /it has another plan.*--force/);
  await succeeds(partOf(input, third, '3/3', '--force'));
  await succeeds(higgs('merge', third));

  const other = await folder();
  await cp(input, other, { recursive: true });
  const bytes = readFileSync(join(other, 'model.safetensors'));
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(join(other, 'model.safetensors'), bytes);
  assert.match(await fails(partOf(other, out, '2/2')), /it was made of another input/);

  const path = join(await directoryOf(out, 2), 'higgs.part');
  const note = readSealed(readFileSync(path))[0].value as object;
  writeFileSync(path, sealLine({ ...note, version: '0.0.9' }).bytes);
  assert.match(await fails(higgs('merge', out)), /part 2 was made by version 0\.0\.9, not /);
  writeFileSync(path, sealLine({ ...note, scaleSearch: true }).bytes);
  assert.match(await fails(higgs('merge', out)), /part 2 was made with a search for scales/);
  nothingAt(out, `${out}.partial`);
});

test('higgs merge notices every byte that is changed in a part, and names part and file; or the result has the same bytes', async () => {
  const { input, out, expected } = await halves();
  let noticed = 0;
  for (const part of [1, 2]) {
    const directory = await directoryOf(out, part);
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      const bytes = readFileSync(path);
      for (const share of [0, 0.5, 1]) {
        const changed = Uint8Array.from(bytes);
        changed[Math.floor(share * (bytes.length - 1))] ^= 4;
        writeFileSync(path, changed);
        const done = await higgs('merge', out);
        if (done.code === 0) {
          assert.equal(await hashes(out), expected, `${path} ${share}`);
          await rm(out, { recursive: true });
        } else {
          noticed++;
          assert.match(done.stderr, new RegExp(`^higgs: .*part-?\\s?${part}`), `${path} ${share}`);
          nothingAt(out, `${out}.partial`);
        }
      }
      writeFileSync(path, bytes);
      await rm(path);
      const message = await fails(higgs('merge', out));
      assert.match(
        message,
        name === 'higgs.part' ? /part \d of 2 must be there|no part of it is complete/ : new RegExp(name),
        message,
      );
      writeFileSync(path, bytes);
    }
  }
  assert.ok(noticed >= 12, `${noticed}`);
  const directory = await directoryOf(out, 2);
  const [file] = (await readdir(directory)).filter((name) => name.endsWith('.safetensors'));
  const bytes = readFileSync(join(directory, file));
  bytes[bytes.length >> 1] ^= 1;
  writeFileSync(join(directory, file), bytes);
  await fails(higgs('merge', out));
  await succeeds(partOf(input, out, '2/2', '--force'));
  await succeeds(higgs('merge', out));
  assert.equal(await hashes(out), expected);
});

test('higgs merge notices errors of weights that were changed', async () => {
  const { out } = await halves();
  const directory = await directoryOf(out, 2);
  const name = (await readdir(directory)).find((each) => each.endsWith('.safetensors'))!;
  const bytes = readFileSync(join(directory, name));
  const { tensors } = readSafetensors(bytes);
  const [, errors] = [...tensors].find(([each]) => each.startsWith('higgs.errors.'))!;
  bytes[errors.start] ^= 1;
  writeFileSync(join(directory, name), bytes);
  assert.match(await fails(higgs('merge', out)), new RegExp(`part 2 is damaged: .*${name}.*CRC-32`));
  nothingAt(out, `${out}.partial`);
});

// Windows has no such limit.
(process.platform === 'win32' ? test.skip : test)(
  'higgs merge takes more parts than the system lets it open at once',
  async () => {
    const { input, expected } = await mixed();
    const out = output();
    for (let part = 1; part <= 24; part++) await succeeds(partOf(input, out, `${part}/24`));
    const merge = (files: number) =>
      execute('sh', ['-c', `ulimit -n ${files}; exec "$@"`, 'sh', process.execPath, CLI, 'merge', out]);
    await succeeds(merge(60));
    assert.equal(await hashes(out), expected);
  },
);

test('higgs quantize --part refuses what a part cannot do', async () => {
  const { input } = await mixed();
  const out = output();
  const refuses = async (pattern: RegExp, ...args: string[]) => {
    const { code, stderr } = await quantize(input, out, ...args);
    assert.is(code, 2, stderr);
    assert.match(stderr, pattern);
  };
  for (const part of ['0/3', '4/3', '3', 'x', '1/5000']) await refuses(/--part must/, '--part', part);
  await refuses(/--part must come without --refine/, '--part', '1/2', '--refine');
  await refuses(/--text must come without --part/, '--part', '1/2', '--text', 'x');
  await refuses(/--output must be a directory/, '--part', '1/2', '-o', `${out}.safetensors`);
  const unmeasured = await quantize(BOOKS, out, '--part', '1/2', '--bpw', '3');
  assert.is(unmeasured.code, 2, unmeasured.stderr);
  assert.match(unmeasured.stderr, /--part needs sensitivities/);
  nothingAt(out, `${out}.parts`);
});

test('higgs quantize --part --dry-run and higgs plan --parts show what a share is', async () => {
  const { input } = await mixed();
  const rows = JSON.parse((await succeeds(higgs('plan', input, ...MIXED, '--parts', '3', '--json'))).stdout).parts;
  assert.is(rows.length, 3);
  assert.is(
    rows.reduce((sum: number, row: { tensors: number }) => sum + row.tensors, 0),
    11,
  );
  const dry = await succeeds(partOf(input, output(), '2/3', '--dry-run', '--json'));
  const { tensors, passed } = JSON.parse(dry.stdout);
  assert.is(tensors.length + passed.length, rows[1].tensors);
});

// --- sensitivities

const FEW = ['--tokens', '16', '--draws', '1', '--threads', '1'];
const measures: Record<string, string[]> = {
  'tokens of the model': ['--sequences', '5'],
  'random tokens': ['--sequences', '4', '--source', 'random'],
  'a text': ['--sequences', '5', '--text', `${BOOKS}/MODEL_CARD.md`],
  noise: ['--sequences', '2', '--estimator', 'noise', '--levels', '0.01'],
};

for (const [label, args] of Object.entries(measures)) {
  test(`higgs merge gives the file of one run when tasks measured ${label}, some of them nothing`, async () => {
    const [local, out] = [output(), output()];
    const measure = (to: string, ...more: string[]) => higgs('sensitivity', BOOKS, '-o', to, ...FEW, ...args, ...more);
    await succeeds(measure(local));
    const count = label === 'a text' ? 8 : 3;
    for (let part = count; part >= 1; part--) await succeeds(measure(out, '--part', `${part}/${count}`));
    await succeeds(measure(out, '--part', `1/${count}`));
    await succeeds(higgs('merge', out));
    assert.is(readFileSync(out, 'utf8'), readFileSync(local, 'utf8'));
    // As a scheduler does that runs a task twice.
    assert.is((await succeeds(higgs('merge', out))).stdout, `the output is complete already: ${out}\n`);
    writeFileSync(out, readFileSync(out, 'utf8').replace(/\d/, '7'));
    assert.match(await fails(higgs('merge', out)), /--force/);
  });
}

test('higgs merge says which part of sensitivities is missing, damaged, of other settings or another release', async () => {
  const out = output();
  const measure = (part: string, ...more: string[]) =>
    succeeds(
      higgs('sensitivity', BOOKS, '-o', out, ...FEW, '--sequences', '3', '--source', 'random', '--part', part, ...more),
    );
  for (const part of ['1/3', '3/3']) await measure(part);
  assert.match(await fails(higgs('merge', out)), /all 3 parts must be given: 2 is missing/);
  await measure('2/3', '--seed', '7');
  assert.match(await fails(higgs('merge', out)), /part-2-of-3\.json is of another model, or of other settings/);
  await measure('2/3', '--force');
  const path = join(`${out}.parts`, 'part-3-of-3.json');
  const content = readFileSync(path);
  for (const share of [0.001, 0.5, 0.999]) {
    const changed = Uint8Array.from(content);
    changed[Math.floor(share * content.length)] ^= 1;
    writeFileSync(path, changed);
    assert.match(await fails(higgs('merge', out)), /part-3-of-3\.json (is damaged|must )/, `${share}`);
  }
  const [opening, ...results] = readSealed(content).map(({ value }) => value);
  const others: [change: object, says: RegExp][] = [
    [{ version: '0.0.9' }, /part-3-of-3\.json was made by version "0\.0\.9", not /],
    // As it was when embeddings and head did not count by rows.
    [{ 'higgs.sensitivity.part': 1 }, /part-3-of-3\.json must be a part of version 2: got 1/],
  ];
  for (const [change, says] of others) {
    let seal = 0;
    const bytes = [{ ...(opening as object), ...change }, ...results].map((line) => {
      const sealed = sealLine(line, seal);
      seal = sealed.seal;
      return sealed.bytes;
    });
    writeFileSync(path, Buffer.concat(bytes));
    assert.match(await fails(higgs('merge', out)), says);
  }
  nothingAt(out);
});

test('--part without an index is what the scheduler says', () => {
  const from = (env: Record<string, string>, count?: number) =>
    partFrom({ part: count === undefined ? true : { count } }, env);
  const slurm = (id: string, more: Record<string, string> = {}) => ({ SLURM_ARRAY_TASK_ID: id, ...more });
  assert.equal(
    from(slurm('5', { SLURM_ARRAY_TASK_COUNT: '8', SLURM_ARRAY_TASK_MIN: '0', SLURM_ARRAY_TASK_MAX: '7' })),
    { index: 6, count: 8 },
  );
  assert.equal(
    from(slurm('5', { SLURM_ARRAY_TASK_COUNT: '8', SLURM_ARRAY_TASK_MIN: '1', SLURM_ARRAY_TASK_MAX: '8' })),
    { index: 5, count: 8 },
  );
  assert.equal(
    from(
      slurm('9', {
        SLURM_ARRAY_TASK_COUNT: '3',
        SLURM_ARRAY_TASK_MIN: '5',
        SLURM_ARRAY_TASK_MAX: '9',
        SLURM_ARRAY_TASK_STEP: '2',
      }),
    ),
    { index: 3, count: 3 },
  );
  assert.equal(
    from(slurm('7', { SLURM_ARRAY_TASK_COUNT: '2', SLURM_ARRAY_TASK_MIN: '3', SLURM_ARRAY_TASK_MAX: '7' }), 8),
    { index: 7, count: 8 },
  );
  assert.equal(from({ JOB_COMPLETION_INDEX: '0' }, 8), { index: 1, count: 8 });
  assert.equal(from({ AWS_BATCH_JOB_ARRAY_INDEX: '7', AWS_BATCH_JOB_ARRAY_SIZE: '8' }), { index: 8, count: 8 });
  const refuses = (env: Record<string, string>, message: RegExp, count?: number) =>
    assert.throws(
      () => from(env, count),
      (error: Error) => error.name === 'UsageError' && message.test(error.message),
    );
  refuses({}, /no scheduler numbers this task/);
  refuses({ JOB_COMPLETION_INDEX: '3' }, /such as --part 8/);
  refuses(
    slurm('7', { SLURM_ARRAY_TASK_COUNT: '2', SLURM_ARRAY_TASK_MIN: '3', SLURM_ARRAY_TASK_MAX: '7' }),
    /this array have gaps/,
  );
  refuses(slurm('0'), /from 1 to 8/, 8);
  refuses({ JOB_COMPLETION_INDEX: 'x' }, /must be a number/, 8);
});

test.run();
