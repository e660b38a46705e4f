// Workers and threads: all start or none is left; what is closed or in use says so at once; what a pool is given is checked.

import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadModel, measureSensitivity } from '../src/decoder.ts';
import { type Folder, folderOf, load, memorySink, StateError } from '../src/index.ts';
import { startPool, startThreads } from '../src/workers/node.ts';
import { type Answer, workerPool } from '../src/workers/pool.ts';
import { spawnThread } from '../src/workers/spawn.ts';
import { beginThreads, type ThreadAnswer, threadsOf } from '../src/workers/threads.ts';
import { normals } from './bits.ts';
import { memoryOutput, safetensors, tensorOf } from './checkpoints.ts';
import { configs, modelFolder, randomFile } from './models.ts';

const test = suite('workers');
const run = promisify(execFile);

async function errorOf(run: () => unknown): Promise<Error> {
  try {
    await run();
  } catch (error) {
    return error as Error;
  }
  return assert.unreachable('no error') as never;
}

// Workers of which the k-th does not start, at once or after a while, and how many are running.
function failing(k: number, isLate: boolean) {
  let running = 0;
  let spawned = 0;
  return {
    running: () => running,
    spawn: (answer: (answer: Answer & ThreadAnswer) => void, fail: (reason: Error) => void) => {
      const isBad = ++spawned === k;
      if (isBad && !isLate) throw new Error('EAGAIN');
      running++;
      setTimeout(() => (isBad ? fail(new Error('EAGAIN')) : answer({ ready: true, result: true } as never)));
      return { post: () => {}, hold: () => {}, release: () => {}, terminate: () => running-- };
    },
  };
}

for (const isLate of [false, true]) {
  for (const k of [1, 3, 5]) {
    const when = `when worker ${k} of 5 ${isLate ? 'fails while it starts' : 'cannot be made'}`;
    const started = isLate ? 4 : k - 1;

    test(`workerPool() ends all and says how many there were ${when}`, async () => {
      const { spawn, running } = failing(k, isLate);
      const { name, message } = await errorOf(() => workerPool(5, spawn, new Uint8Array(8)));
      assert.is(name, 'RangeError');
      const says = `size must be a number of workers that the system can start: ${started} of 5 started (EAGAIN)`;
      assert.is(message, says);
      assert.is(running(), 0);
    });

    test(`threadsOf() ends all and says how many there were ${when}`, async () => {
      const { spawn, running } = failing(k, isLate);
      const { message } = await errorOf(() => threadsOf(6, spawn));
      const says = `size must be a number of threads that the system can start: ${started} of 5 started (EAGAIN)`;
      assert.is(message, says);
      assert.is(running(), 0);
    });

    test(`beginThreads() tells who starts a model that not all are there ${when}`, async () => {
      const { spawn, running } = failing(k, isLate);
      const threads = beginThreads(6, spawn);
      const { message } = await errorOf(() => threads.start((index) => index));
      const says = `size must be a number of threads that the system can start: ${started} of 5 started (EAGAIN)`;
      assert.is(message, says);
      assert.is(running(), 0);
    });
  }
}

test('start() of threads that are closed as they start says so, whatever ended them', async () => {
  for (const isReady of [false, true]) {
    let ends = () => {};
    const threads = beginThreads(2, (answer, fail) => {
      if (isReady) answer({ ready: true });
      ends = () => fail(new Error('a thread ended early with code 1'));
      return { post: () => {}, hold: () => {}, release: () => {}, terminate: () => ends() };
    });
    const started = errorOf(() => threads.start((index) => index));
    await threads.close();
    assert.is((await started).message, 'threads must be open: it is closed');
  }
});

// Root is under no limit of processes: then another user is, who may not read what is here.
if (process.platform === 'linux') {
  for (const [start, label] of [
    ['startPool(400)', '400'],
    ['startThreads(401)', '400'],
  ]) {
    test(`${start} ends the process with an error when the system starts fewer`, async () => {
      const place = mkdtempSync(join(tmpdir(), 'higgs-workers-'));
      try {
        const file = join(place, 'workers.mjs');
        copyFileSync('build/workers-node.js', file);
        for (const path of [place, file]) chmodSync(path, 0o755);
        const isRoot = process.getuid?.() === 0;
        const other = isRoot ? ['setpriv', '--reuid=65534', '--clear-groups'] : [];
        const limit = 20 + (isRoot ? 0 : threadsOfUser());
        const [program, ...args] = [
          ...other,
          'prlimit',
          `--nproc=${limit}`,
          process.execPath,
          '--input-type=module',
          '-e',
        ];
        const code = `import * as workers from ${JSON.stringify(file)}; await workers.${start};`;
        const error = (await errorOf(() => run(program, [...args, code], { timeout: 60_000, cwd: '/' }))) as Error & {
          code: number;
          stderr: string;
        };
        assert.is(error.code, 1, error.stderr);
        const says = new RegExp(
          `RangeError.*size must be a number of \\w+ that the system can start: \\d+ of ${label} started`,
        );
        assert.match(error.stderr, says);
      } finally {
        rmSync(place, { recursive: true });
      }
    });
  }
}

test('run() of a pool that is closed says so, and so do jobs under way', async () => {
  const pool = await startPool(1);
  const lost = errorOf(() => pool.run({ kind: 'ready' }));
  await pool.close();
  for (const error of [await lost, await errorOf(() => pool.run({ kind: 'ready' }))]) {
    assert.instance(error, StateError);
    assert.is(error.message, 'pool must be open: it is closed');
  }
  await pool.close();
});

const tiny = modelFolder(configs.llama, randomFile(configs.llama));

test('loadModel() refuses threads of another model at once, which goes on', async () => {
  const threads = await startThreads(2);
  const model = await loadModel(tiny, { threads });
  for (const run of [loadModel, measureSensitivity]) {
    const error = await errorOf(() => run(tiny, { threads }));
    assert.instance(error, StateError);
    assert.is(error.message, 'threads must be free: a model has them');
  }
  assert.is((await model.logits([1, 2, 3])).length, 361);
  await model.close();
  assert.is((await errorOf(() => loadModel(tiny, { threads }))).message, 'threads must be open: it is closed');
});

test('loadModel() takes threads that are on their way, or waits for their end', async () => {
  const model = await loadModel(tiny, { threads: beginThreads(3, spawnThread) });
  const alone = await loadModel(tiny, {});
  assert.equal(await model.logits([1, 2, 3]), await alone.logits([1, 2, 3]));
  await Promise.all([model.close(), alone.close()]);
  const threads = beginThreads(3, spawnThread);
  await threads.close();
  assert.is((await errorOf(() => loadModel(tiny, { threads }))).message, 'threads must be open: it is closed');
});

test('loadModel() refuses threads that another load has, and leaves them to it', async () => {
  const threads = await startThreads(2);
  const first = loadModel(tiny, { threads });
  assert.instance(await errorOf(() => loadModel(tiny, { threads })), StateError);
  const model = await first;
  assert.is((await model.logits([1])).length, 361);
  await model.close();
});

test('loadModel() ends its threads when an option is wrong', async () => {
  const threads = await startThreads(2);
  const error = await errorOf(() => loadModel(tiny, { threads, contxt: 5 } as object));
  assert.match(error.message, /^options must have only known members, context, .*: got "contxt"$/);
  assert.instance(await errorOf(async () => threads.take()), StateError);
});

test('startPool() and startThreads() have a limit, told before anything starts', async () => {
  for (const start of [startPool, startThreads]) {
    assert.is((await errorOf(() => start(1e9))).message, 'size must be an integer from 1 to 1024: got 1000000000');
  }
});

test('a closed model, folder or sink says that it is closed', async () => {
  const model = await loadModel(tiny);
  await model.close();
  const sink = memorySink();
  await sink.close();
  for (const [label, run] of [
    ['model', () => model.logits([1])],
    ['sink', () => sink.write(new Uint8Array(1))],
  ] as const) {
    const error = await errorOf(run);
    assert.instance(error, StateError);
    assert.is(error.message, `${label} must be open: it is closed`);
  }
});

test('quantizeCheckpoint() takes sources over shared memory, with a pool and without', async () => {
  const higgs = await load();
  const name = 'model.layers.0.self_attn.q_proj.weight';
  const file = safetensors({ [name]: tensorOf('F32', [64, 64], normals(64 * 64)) });
  const shared = new SharedArrayBuffer(file.length);
  new Uint8Array(shared).set(file);
  const written = async (input: Folder, pool?: Awaited<ReturnType<typeof startPool>>) => {
    const output = memoryOutput();
    await higgs.quantizeCheckpoint(input, output, { ...(pool && { pool }) });
    return output.files.get('model.safetensors')!;
  };
  const wanted = await written(folderOf('x', { 'model.safetensors': file.buffer }));
  const input = folderOf('x', { 'model.safetensors': shared as unknown as ArrayBuffer });
  const pool = await startPool(2);
  try {
    assert.equal(await written(input), wanted);
    assert.equal(await written(input, pool), wanted);
  } finally {
    await pool.close();
  }
});

test('run() refuses jobs whose arrays are not those of the matrix', async () => {
  const pool = await startPool(1);
  const grid = (await load()).grids.get('p1n16')!;
  const matrix = { rows: 2, cols: 64, grid, groupSize: 64, seed: 0 };
  const codes = { packed: new Uint8Array(64), scales: new Uint16Array(1) };
  const error = await errorOf(() => pool.run({ kind: 'dequantize', matrix, codes, dtype: 'F32', firstRow: 0 }));
  assert.is(error.message, 'job.codes.scales must have 2 elements: got 1');
  await pool.close();
});

test.run();

function threadsOfUser(): number {
  const uids = execFileSync('ps', ['-eLo', 'uid'], { encoding: 'utf8' }).split('\n');
  return uids.filter((uid) => uid.trim() === String(process.getuid?.())).length;
}
