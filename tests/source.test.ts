// Sources and sinks: in memory, and files in a temporary directory (Node, Deno, Bun only).

import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { FormatError } from '../src/errors.ts';
import { directoryFolder } from '../src/source/directory.ts';
import { createFile, FileError, fileError, openFile, openFolder } from '../src/source/file.ts';
import { blobSource, folderOf, memorySink } from '../src/source/memory.ts';
import { HANDLE_LIMIT } from '../src/source/system.ts';

let directory = '';
test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'higgs-source-'));
});
test.after(() => rm(directory, { recursive: true, force: true }));

const bytesOf = (...bytes: number[]) => new Uint8Array(bytes);
const pathOf = (name: string) => join(directory, name);

async function errorOf(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => assert.unreachable('no error') as never,
    (error) => error,
  );
}

async function refused(promise: Promise<unknown>, message: string | RegExp, code?: string): Promise<void> {
  const error = await errorOf(promise);
  assert.instance(error, FileError);
  assert.is((error as FileError).code, code);
  if (typeof message === 'string') assert.is(error.message, message);
  else assert.match(error.message, message);
}

// --- memory

test('folderOf() lists by code unit and opens by name', async () => {
  const folder = folderOf('here', { b: bytesOf(1).buffer, B: bytesOf(2).buffer, 'a.10': bytesOf(3).buffer });
  assert.equal(await folder.list(), ['B', 'a.10', 'b']);
  assert.equal(new Uint8Array(await (await folder.open('B')).slice(0, 1)), bytesOf(2));
  for (const name of ['c', 'constructor', '__proto__']) {
    const error = await errorOf(folder.open(name));
    assert.instance(error, FormatError);
    assert.is(error.message, `here: folder must have the file "${name}": it is missing`);
  }
  assert.equal(await folderOf('m', new Map([['x', new ArrayBuffer(1)]])).list(), ['x']);
});

test('memorySink() copies what is written', async () => {
  const sink = memorySink();
  const piece = bytesOf(1, 2);
  await sink.write(piece);
  piece.fill(9);
  await sink.write(bytesOf(3));
  assert.equal(sink.bytes(), bytesOf(1, 2, 3));
  await sink.close();
  assert.match((await errorOf(sink.write(piece))).message, /closed/);
});

test('blobSource() slices a Blob', async () => {
  const source = blobSource(new Blob([bytesOf(1, 2, 3, 4)]));
  assert.is(source.sliceSync, undefined); // nothing reads a Blob at once here
  assert.is(source.byteLength, 4);
  assert.equal(new Uint8Array(await source.slice(1, 3)), bytesOf(2, 3));
});

// --- files to read

test('openFile() gives exactly the bytes asked for', async () => {
  await writeFile(pathOf('read'), bytesOf(0, 1, 2, 3, 4, 5));
  const source = await openFile(pathOf('read'));
  assert.is(source.byteLength, 6);
  const [a, b] = await Promise.all([source.slice(4, 6), source.slice(0, 3)]);
  assert.equal([new Uint8Array(a), new Uint8Array(b)], [bytesOf(4, 5), bytesOf(0, 1, 2)]);
  assert.is((await source.slice(6, 6)).byteLength, 0);
  for (const [start, end] of [
    [0, 7],
    [-1, 2],
    [2, 1],
    [0, 0.5],
  ]) {
    assert.instance(await errorOf(Promise.resolve(source.slice(start, end))), RangeError);
  }
  assert.equal(new Uint8Array(source.sliceSync!(1, 5)), bytesOf(1, 2, 3, 4));
  assert.throws(() => source.sliceSync!(2, 7), /must lie within the 6 bytes/);
  assert.throws(() => source.sliceSync!(5, 2), /must lie within the 6 bytes/);
  const spare = new ArrayBuffer(4);
  assert.is(source.sliceSync!(2, 6, spare), spare);
  assert.equal(new Uint8Array(spare), bytesOf(2, 3, 4, 5));
  assert.is.not(source.sliceSync!(2, 5, spare), spare); // of another size
  for (const shared of [false, true]) {
    const memory = new Uint8Array(new WebAssembly.Memory({ initial: 1, maximum: 1, shared }).buffer);
    assert.is(source.sliceInto!(1, 5, memory.subarray(8, 12)), 4);
    assert.equal(memory.slice(7, 13), bytesOf(0, 1, 2, 3, 4, 0));
    assert.throws(() => source.sliceInto!(2, 7, memory.subarray(0, 5)), /must lie within the 6 bytes/);
    assert.throws(() => source.sliceInto!(2, 6, memory.subarray(0, 3)), /^to must have 4 bytes: it has 3$/);
    assert.is(await source.sliceIntoLater!(2, 6, memory.subarray(8, 12)), 4);
    assert.equal(memory.slice(7, 13), bytesOf(0, 2, 3, 4, 5, 0));
    for (const [end, length, message] of [
      [7, 5, /must lie within the 6 bytes/],
      [6, 3, /^to must have 4 bytes: it has 3$/],
    ] as const) {
      assert.match((await errorOf(source.sliceIntoLater!(2, end, memory.subarray(0, length)))).message, message);
    }
  }
  const last = new Uint8Array(6);
  const [count] = await Promise.all([source.sliceIntoLater!(0, 6, last), source.close()]); // which waits for it
  assert.is(count, 6);
  assert.equal(last, bytesOf(0, 1, 2, 3, 4, 5));
  assert.match((await errorOf(source.sliceIntoLater!(0, 1, new Uint8Array(1)))).message, /must be open: it is closed$/);
  assert.throws(() => source.sliceSync!(0, 1), /must be open: it is closed$/);
  assert.throws(() => source.sliceInto!(0, 1, new Uint8Array(1)), /must be open: it is closed$/);
});

test('openFile() says in one line why a file cannot be read', async () => {
  await refused(
    openFile(pathOf('none')),
    `cannot read ${pathOf('none')}: no such file or directory (ENOENT)`,
    'ENOENT',
  );
  await refused(openFile(directory), `cannot read ${directory}: it is a directory (EISDIR)`, 'EISDIR');
  await writeFile(pathOf('plain'), '');
  await refused(openFile(pathOf('plain/x')), /a part of the path is not a directory \(ENOTDIR\)$/, 'ENOTDIR');
});

test('openFile() does not wait at a pipe', async () => {
  if (process.platform === 'win32') return;
  execFileSync('mkfifo', [pathOf('pipe')]);
  await refused(openFile(pathOf('pipe')), `cannot read ${pathOf('pipe')}: it is a pipe, not a regular file`);
});

test('openFile() says when the file has shrunk', async () => {
  await writeFile(pathOf('shrinks'), new Uint8Array(100));
  const source = await openFile(pathOf('shrinks'));
  await truncate(pathOf('shrinks'), 40);
  await refused(
    Promise.resolve(source.slice(10, 90)),
    `cannot read ${pathOf('shrinks')}: it had 100 bytes and has shrunk to 40`,
  );
  assert.throws(() => source.sliceSync!(10, 90), /: it had 100 bytes and has shrunk to 40$/);
  assert.throws(() => source.sliceInto!(10, 90, new Uint8Array(80)), /: it had 100 bytes and has shrunk to 40$/);
  await refused(source.sliceIntoLater!(10, 90, new Uint8Array(80)), /: it had 100 bytes and has shrunk to 40$/);
  await source.close();
});

// --- files to write

test('createFile() writes in order, also when writes are not awaited', async () => {
  const sink = await createFile(pathOf('write'));
  const writes = [sink.write(bytesOf(1, 2)), sink.write(bytesOf()), sink.write(bytesOf(3))];
  await sink.close();
  await Promise.all(writes);
  assert.equal(new Uint8Array(await readFile(pathOf('write'))), bytesOf(1, 2, 3));
  assert.is((await errorOf(sink.write(bytesOf(4)))).message, `file ${pathOf('write')} must be open: it is closed`);
  await sink.close();
  await sink.abort();
});

test('createFile() never overwrites', async () => {
  await writeFile(pathOf('there'), 'x');
  await refused(createFile(pathOf('there')), `cannot write ${pathOf('there')}: it exists already (EEXIST)`, 'EEXIST');
  assert.is(await readFile(pathOf('there'), 'utf8'), 'x');
  await refused(
    createFile(pathOf('no/where')),
    `cannot write ${pathOf('no/where')}: no such file or directory (ENOENT)`,
    'ENOENT',
  );
});

test('createFile() goes on at `append` and drops what follows', async () => {
  const first = await createFile(pathOf('resumed'));
  await first.write(bytesOf(1, 2, 3, 4, 5));
  await first.abort();
  assert.equal(new Uint8Array(await readFile(pathOf('resumed'))), bytesOf(1, 2, 3, 4, 5));
  const second = await createFile(pathOf('resumed'), { append: 2 });
  await second.write(bytesOf(9));
  await second.close();
  assert.equal(new Uint8Array(await readFile(pathOf('resumed'))), bytesOf(1, 2, 9));
  await refused(
    createFile(pathOf('resumed'), { append: 4 }),
    `cannot write ${pathOf('resumed')}: it must still have its first 4 bytes: it has 3`,
  );
  await refused(createFile(pathOf('absent'), { append: 0 }), /no such file or directory \(ENOENT\)$/, 'ENOENT');
});

test('fileError() says in one line that the disk is full', () => {
  const system = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  const error = fileError('write', 'out/model.safetensors', system) as FileError;
  assert.is(error.message, 'cannot write out/model.safetensors: no space left on device (ENOSPC)');
  assert.equal([error.path, error.code], ['out/model.safetensors', 'ENOSPC']);
});

test('fileError() words codes it does not know by the system, and leaves other errors alone', () => {
  const system = Object.assign(new Error('EWHAT: something odd, write'), { code: 'EWHAT' });
  assert.is((fileError('write', 'p', system) as Error).message, 'cannot write p: something odd (EWHAT)');
  for (const error of [
    new RangeError('x'),
    new FileError('read', 'p', 'EIO', 'x'),
    Object.assign(new Error(), { code: 'ERR_X' }),
    'text',
    null,
  ]) {
    assert.is(fileError('write', 'p', error), error);
  }
});

// --- folders

test('openFolder() lists files and links to files, sorted', async () => {
  const folder = pathOf('folder');
  await mkdir(join(folder, 'inner'), { recursive: true });
  await writeFile(join(folder, 'b'), 'b');
  await writeFile(join(folder, 'A'), 'A');
  await symlink('b', join(folder, 'linked'));
  await symlink('nowhere', join(folder, 'broken'));
  await symlink('loop', join(folder, 'loop'));
  await symlink('inner', join(folder, 'linked-directory'));
  const opened = await openFolder(folder);
  assert.is(opened.name, folder);
  assert.equal(await opened.list(), ['A', 'b', 'linked']);
  const source = await opened.open('linked');
  assert.equal(new Uint8Array(await source.slice(0, source.byteLength)), new Uint8Array([0x62]));
  for (const name of ['none', '../folder/b', '..', '.', '', 'inner/x', 'a\0']) {
    assert.instance(await errorOf(opened.open(name)), FormatError, name);
  }
  await refused(opened.open('inner'), /it is a directory \(EISDIR\)$/, 'EISDIR');
  await refused(opened.open('broken'), /no such file or directory \(ENOENT\)$/, 'ENOENT');
  await opened.close();
  assert.match((await errorOf(Promise.resolve(source.slice(0, 1)))).message, /^folder .* must be open: it is closed$/);
  await refused(openFolder(join(folder, 'b')), `cannot read ${join(folder, 'b')}: it is not a directory`);
  await refused(openFolder(join(folder, 'none')), /no such file or directory \(ENOENT\)$/, 'ENOENT');
});

test('openFolder() reads hundreds of files with a bounded number of handles', async () => {
  const folder = pathOf('many');
  await mkdir(folder);
  const names = Array.from({ length: 100 }, (_, i) => `f${i}`);
  for (const [i, name] of names.entries()) await writeFile(join(folder, name), bytesOf(i, i + 1));
  const opened = await openFolder(folder);
  const sources = await Promise.all(names.map((name) => opened.open(name)));
  const handles = async () => (process.platform === 'linux' ? (await readdir('/proc/self/fd')).length : 0);
  const before = await handles();
  for (let round = 0; round < 3; round++) {
    const read = await Promise.all(sources.map(async (source) => new Uint8Array(await source.slice(round % 2, 2))));
    for (const [i, bytes] of read.entries()) assert.equal(bytes, round % 2 ? bytesOf(i + 1) : bytesOf(i, i + 1));
  }
  for (const [i, source] of sources.entries()) {
    assert.equal(new Uint8Array(source.sliceSync!(0, 2)), bytesOf(i, i + 1));
    const to = new Uint8Array(2);
    source.sliceInto!(0, 2, to);
    assert.equal(to, bytesOf(i, i + 1));
  }
  assert.ok((await handles()) <= before + 2 * HANDLE_LIMIT);
  await writeFile(join(folder, 'f0'), 'longer');
  await refused(Promise.resolve(sources[0].slice(0, 1)), /it had 2 bytes and now has 6$/);
  assert.throws(() => sources[0].sliceSync!(0, 1), /^cannot use .*f0: it was changed since it was opened$/);
  await opened.close();
  assert.ok((await handles()) <= before);
  assert.throws(() => sources[1].sliceSync!(0, 1), /^folder .* must be open: it is closed$/);
});

test('directoryFolder() tells that an access handle takes no more, and lets go of its file', async () => {
  let [takes, closed] = [3, 0];
  const access = {
    getSize: () => 0,
    read: () => 0,
    write: (bytes: Uint8Array) => {
      const count = Math.min(takes, bytes.length);
      takes -= count;
      return count;
    },
    truncate() {},
    flush() {
      throw new DOMException('the disk is full', 'QuotaExceededError');
    },
    close() {
      closed++;
    },
  };
  const handle = {
    name: 'private',
    async *values() {},
    getFileHandle: async () => ({ createSyncAccessHandle: async () => access }),
    removeEntry: async () => {},
  } as unknown as Parameters<typeof directoryFolder>[0];
  const sink = await directoryFolder(handle).create('a');
  await sink.write(bytesOf(1, 2));
  await refused(sink.write(bytesOf(3, 4)), /private\/a.*no room for 1 of 2 bytes/);
  await refused(sink.close(), /private\/a.*the disk is full/, 'QuotaExceededError');
  assert.is(closed, 1);
});

test('openCheckpoint() reads a directory of links, as in a Hugging Face cache', async () => {
  const folder = pathOf('snapshot');
  await mkdir(folder);
  const header = new TextEncoder().encode('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}');
  await writeFile(pathOf('blob'), [
    new Uint8Array(new BigUint64Array([BigInt(header.length)]).buffer),
    header,
    bytesOf(7),
  ]);
  await symlink(pathOf('blob'), join(folder, 'model.safetensors'));
  const opened = await openFolder(`${folder}/`);
  const checkpoint = await openCheckpoint(opened);
  const a = checkpoint.get('a')!;
  assert.equal(new Uint8Array(await a.read()), bytesOf(7));
  assert.is(a.file, `${folder}/model.safetensors`);
  await opened.close();
});

test.run();
