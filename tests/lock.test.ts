// Locks: one process at a time, whatever the other's number, machine or container (Node and what follows it only).

import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LOCK_NAME } from '../src/disk/commit.ts';
import { takeLock } from '../src/disk/lock.ts';
import { stageOutput } from '../src/disk/output.ts';
import { folderOf } from '../src/source/memory.ts';

const test = suite('locks');
let path = '';

test.before.each(() => {
  path = join(mkdtempSync(join(tmpdir(), 'higgs-lock-')), 'some.lock');
});
test.after.each(() => rmSync(join(path, '..'), { recursive: true }));

/** Runs with waits that pass at once, and something that happens in each. */
async function waiting<T>(happens: (ms: number) => void, run: () => Promise<T>): Promise<T> {
  const { setTimeout } = timers;
  timers.setTimeout = (async (ms: number) => happens(ms)) as typeof setTimeout;
  syncBuiltinESMExports();
  try {
    return await run();
  } finally {
    timers.setTimeout = setTimeout;
    syncBuiltinESMExports();
  }
}

const held = (error: Error) => / works on it; if that process is not higgs, remove the file/.test(error.message);

async function refuses(run: () => Promise<unknown>, message: RegExp): Promise<void> {
  const error = await run().then(
    () => undefined,
    (error: Error) => error,
  );
  assert.match(error?.message ?? 'nothing', message);
  assert.ok(held(error!), error!.message);
}

const ownLine = async () => {
  const lock = await takeLock(path, 'works on');
  const line = readFileSync(path, 'utf8');
  await lock.release();
  return line.split(' ') as [host: string, place: string, pid: string, token: string, beats: string];
};

test('a lock is one line, and gone when it is let go', async () => {
  const [, place, pid, token, beats] = await ownLine();
  assert.is(Number(pid), process.pid);
  assert.match(token, /^[0-9a-f]{8}$/);
  assert.is(beats, '0\n');
  if (process.platform === 'linux') {
    assert.ok(place.endsWith(`-${readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')}`), place);
  }
  await (await takeLock(path, 'works on')).release();
});

test('a process that runs here keeps its lock; one that does not loses it', async () => {
  const [host, place] = await ownLine();
  const line = (pid: number) => `${host} ${place} ${pid} 0badf00d 3\n`;
  writeFileSync(path, line(process.ppid));
  await refuses(() => takeLock(path, 'works on'), new RegExp(`process ${process.ppid} works on it`));
  assert.is(readFileSync(path, 'utf8'), line(process.ppid));
  writeFileSync(path, line(999_999_999));
  const lock = await takeLock(path, 'works on');
  assert.ok(await lock.isHeld());
  await lock.release();
});

test('a process of the same number and machine name in another container keeps its lock as long as it renews it', async () => {
  const [host] = await ownLine();
  let beats = 0;
  const beat = () => writeFileSync(path, `${host} another-4026532001 ${process.pid} 0badf00d ${beats++}\n`);
  beat();
  await waiting(beat, () => refuses(() => takeLock(path, 'works on'), new RegExp(`process ${process.pid} on ${host}`)));
  const waits: number[] = [];
  const taken = await waiting(
    (ms) => waits.push(ms),
    () => takeLock(path, 'works on'),
  );
  assert.ok(waits[0] >= 45_000, `${waits}`);
  assert.ok(await taken.isHeld());
  await taken.release();
});

test('a lock that is not written yet is looked at again; one whose process died as it wrote it is taken over', async () => {
  const [host, place] = await ownLine();
  const line = `${host} ${place} ${process.ppid} 0badf00d 0\n`;
  for (const begun of ['', line.slice(0, 9)]) {
    writeFileSync(path, begun);
    await waiting(
      () => writeFileSync(path, line),
      () => refuses(() => takeLock(path, 'works on'), new RegExp(`process ${process.ppid} works`)),
    );
    writeFileSync(path, begun);
    const lock = await waiting(
      () => {},
      () => takeLock(path, 'works on'),
    );
    await lock.release();
  }
});

test('of two processes that take over one lock, one has it', async () => {
  const [host, place] = await ownLine();
  writeFileSync(path, `${host} ${place} 999999999 0badf00d 0\n`);
  const other = `${host} ${place} ${process.ppid} 0badf00d 0\n`;
  await waiting(
    () => writeFileSync(path, other), // the other writes a moment later
    () => refuses(() => takeLock(path, 'works on'), new RegExp(`process ${process.ppid} works`)),
  );
  assert.is(readFileSync(path, 'utf8'), other);
});

test('a lock that cannot be renewed, as on a full disk, stays as it is', async () => {
  const { setInterval } = globalThis;
  let renew = () => {};
  globalThis.setInterval = ((run: () => void) => {
    renew = run;
    return setInterval(() => {}, 1e6);
  }) as typeof setInterval;
  const { writeFile } = promises;
  try {
    const lock = await takeLock(path, 'works on');
    const line = readFileSync(path, 'utf8');
    renew();
    while (readFileSync(path, 'utf8') === line) await new Promise((then) => setTimeout(then, 1));
    assert.is(readFileSync(path, 'utf8'), line.replace(/0\n$/, '1\n'));
    let isTried = false;
    promises.writeFile = async (file, _, options) => {
      await writeFile(file as string, '', options); // as the system opens the file, before it finds no room
      isTried = true;
      throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    syncBuiltinESMExports();
    renew();
    while (!isTried) await new Promise((then) => setTimeout(then, 1));
    assert.ok(await lock.isHeld());
    await lock.release();
  } finally {
    globalThis.setInterval = setInterval;
    promises.writeFile = writeFile;
    syncBuiltinESMExports();
  }
});

test('what a process lost it does not remove, and what cannot be written leaves nothing', async () => {
  const lock = await takeLock(path, 'works on');
  writeFileSync(path, 'elsewhere another 7 0badf00d 0\n');
  assert.is(await lock.isHeld(), false);
  await lock.release();
  assert.is(readFileSync(path, 'utf8'), 'elsewhere another 7 0badf00d 0\n');
  rmSync(path);
  const { writeFile } = promises;
  promises.writeFile = async (file) => {
    await writeFile(file as string, 'half');
    throw Object.assign(new Error('full'), { code: 'ENOSPC' });
  };
  syncBuiltinESMExports();
  try {
    await takeLock(path, 'works on');
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /cannot write .*some\.lock/);
  } finally {
    promises.writeFile = writeFile;
    syncBuiltinESMExports();
  }
  await (await takeLock(path, 'works on')).release();
});

test('a run that lost its output to another removes nothing of it', async () => {
  const directory = join(path, '..');
  const out = join(directory, 'out');
  const input = { folder: Object.assign(folderOf('in', {}), { close: async () => {} }), path: '/in', directory: '/in' };
  for (const end of ['discard', 'leave'] as const) {
    const staging = await stageOutput(out, { ...input, isFile: false, files: async () => [] }, { force: true });
    const other = 'elsewhere another 7 0badf00d 0\n';
    writeFileSync(join(`${out}.partial`, LOCK_NAME), other);
    writeFileSync(join(`${out}.partial`, 'higgs.journal'), 'its own');
    await staging[end]();
    assert.is(readFileSync(join(`${out}.partial`, LOCK_NAME), 'utf8'), other);
    assert.is(readFileSync(join(`${out}.partial`, 'higgs.journal'), 'utf8'), 'its own');
    rmSync(`${out}.partial`, { recursive: true });
  }
});

test.run();
