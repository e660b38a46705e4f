// Files of a page, as a worker of a browser reads them at once: experts that do not fit memory come from them, with the bits of all in
// memory. Runs in a worker beside the portable tests, with the browser's own Blobs, FileReaderSync and private file system (OPFS).

import * as assert from 'uvu/assert';
import { directoryFolder, type Folder, load, openDirectory } from '../../src/index.ts';
import { estimateMemory } from '../../src/model/model.ts';
import { blobSource, folderOf } from '../../src/source/memory.ts';
import { startThreads } from '../../src/workers/web.ts';
import { workersBy } from '../../web/engine/workers.ts';
import { loadAlone } from '../alone.ts';
import { sameBits } from '../bits.ts';
import { memoryOutput } from '../checkpoints.ts';
import config from '../families/qwen3_moe/config.json';
import logits from '../families/qwen3_moe/logits.safetensors';
import file from '../families/qwen3_moe/model.safetensors';
import { modelFolder } from '../models.ts';
import { referencesOf } from '../references.ts';
import { runQueue, suite } from './uvu.ts';

type Own = Parameters<typeof directoryFolder>[0] & {
  getDirectoryHandle(name: string, options: { create: boolean }): Promise<Own>;
};
// As the page has it: Firefox may wait for ever for a worker that a worker starts.
const start = (url: string, port: MessagePort) => (self as unknown as Worker).postMessage({ url, port }, [port]);
Object.assign(globalThis, { Worker: workersBy(start) });

const test = suite('files in a worker');
const NAME = 'higgs-wasm-tests';
const [{ ids }] = referencesOf(logits);
const context = ids.length;

async function quantized() {
  const output = memoryOutput();
  const input = modelFolder(config, file);
  await (await load()).quantizeCheckpoint(input, output, { grid: 't4', groupSize: 16, embeddings: 't4' });
  return output;
}

/** Runs a model of which half of the experts fit, on one thread and on two. */
async function sameFrom(folder: Folder, whole: Folder): Promise<void> {
  const model = await loadAlone(whole, { context });
  const wanted = await model.forward(ids, { logits: 'all' });
  await model.close();
  const { bytes, experts } = await estimateMemory(folder, { context });
  const memory = bytes - Math.floor(experts.bytes / 2);
  for (const size of [1, 2]) {
    const paged = await loadAlone(folder, { context, memory, threads: await startThreads(size) });
    assert.ok(paged.paging!.slots < experts.count);
    sameBits(await paged.forward(ids, { logits: 'all' }), wanted);
    for (const [i, id] of ids.entries()) await paged.forward([id], { from: i });
    assert.ok(paged.paging!.misses > 0 && paged.paging!.bytesRead > 0);
    await paged.close();
  }
}

/** An empty directory of the private file system. */
async function directory(): Promise<Own> {
  const { storage } = navigator as unknown as { storage: { getDirectory(): Promise<Own> } };
  const root = await (await storage.getDirectory()).getDirectoryHandle(NAME, { create: true });
  for (const name of await directoryFolder(root).list()) await root.removeEntry(name);
  return root;
}

async function write(root: Own, name: string, bytes: Uint8Array): Promise<void> {
  const sink = await directoryFolder(root).create(name);
  await sink.write(bytes);
  await sink.close();
}

// WebKitGTK has the method, and none behind it.
async function handlesWork(root: Own): Promise<boolean> {
  const file = await root.getFileHandle('tried', { create: true });
  const access = await file.createSyncAccessHandle!().catch(() => undefined);
  access?.close();
  await root.removeEntry('tried');
  return access !== undefined;
}

const errorOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => '',
    ({ name, message }) => `${name}: ${message}`,
  );

test('experts are read from Blobs by FileReaderSync', async () => {
  const output = await quantized();
  const blobs = [...output.files].map(([name, bytes]) => [name, blobSource(new Blob([bytes]))]);
  const folder = folderOf('picked', Object.fromEntries(blobs));
  const source = await folder.open('config.json');
  const part = new Uint8Array(source.sliceSync!(1, 5));
  assert.equal(part, output.files.get('config.json')!.slice(1, 5));
  await sameFrom(folder, output.folder());
});

test('experts are read from the private file system, by FileReaderSync and by access handles', async () => {
  const output = await quantized();
  const opened = await directory();
  for (const [name, bytes] of output.files) await write(opened, name, bytes);
  await sameFrom(directoryFolder(opened), output.folder());
  const folder = openDirectory(opened);
  assert.equal(await folder.list(), [...output.files.keys()].sort());
  await sameFrom(folder, output.folder());
  await folder.close();
});

test('openDirectory() gives exactly the bytes asked for, until it is closed', async () => {
  const opened = await directory();
  await write(opened, 'file', Uint8Array.of(0, 1, 2, 3, 4, 5));
  const hasHandles = await handlesWork(opened);
  const folder = openDirectory(opened);
  const [source, again] = [await folder.open('file'), await folder.open('file')];
  assert.is(source.byteLength, 6);
  assert.equal(new Uint8Array(await again.slice(4, 6)), Uint8Array.of(4, 5));
  const spare = new ArrayBuffer(3);
  const filled = source.sliceSync!(1, 4, spare);
  assert.equal(new Uint8Array(filled), Uint8Array.of(1, 2, 3));
  assert.is(filled === spare, hasHandles); // a Blob's reader makes a new buffer
  assert.throws(() => source.sliceSync!(2, 7), /must lie within the 6 bytes/);
  const second = openDirectory(opened); // another reader, of a file that may be locked
  assert.equal(new Uint8Array((await second.open('file')).sliceSync!(0, 2)), Uint8Array.of(0, 1));
  await second.close();
  assert.match(await errorOf(folder.open('none')), /^FormatError: .*folder must have the file "none": it is missing$/);
  await folder.close();
  assert.match(await errorOf(folder.open('file')), /must be open: it is closed$/);
  await opened.removeEntry('file'); // nothing holds it any more
});

test('directoryFolder() writes in place: what is written is there before the file is closed, and extend() goes on behind it', async () => {
  const opened = await directory();
  await write(opened, 'file', Uint8Array.of(9));
  const hasHandles = await handlesWork(opened);
  const folder = directoryFolder(opened);
  const sink = await folder.create('file');
  await sink.write(Uint8Array.of(1, 2, 3));
  const { byteLength } = await openDirectory(opened).open('file');
  assert.is(byteLength, hasHandles ? 3 : 1);
  await sink.abort();
  const more = await folder.extend('file', 2);
  await more.write(Uint8Array.of(7, 8));
  await more.close();
  const source = await folder.open('file');
  assert.equal(new Uint8Array(await source.slice(0, source.byteLength)), Uint8Array.of(1, 2, 7, 8));
  await folder.remove('file');
});

test.run();

const post = (result: unknown) => (globalThis as unknown as { postMessage(result: unknown): void }).postMessage(result);
runQueue().then(post, (error) => post({ error: String(error) }));
