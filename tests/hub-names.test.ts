// Models by their names, in every runtime: what a name is, digests of what streams, and a model of a hub that is a function.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openHub } from '../src/hub/hub.ts';
import { isPlainPart, nameText, readName } from '../src/hub/name.ts';
import { digestInOrder } from '../src/hub/order.ts';
import { startSha256 } from '../src/hub/sha256.ts';
import { load } from '../src/index.ts';
import { sameBits } from './bits.ts';
import { memoryFolder, memoryOutput, safetensors, tensorOf } from './checkpoints.ts';

const test = suite('hub names');

const hex = (bytes: ArrayBuffer) =>
  [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const sha256Of = async (bytes: Uint8Array<ArrayBuffer>) => hex(await crypto.subtle.digest('SHA-256', bytes));

test('readName() reads names and addresses as people paste them', () => {
  const cases: [text: string, ...wanted: (string | undefined)[]][] = [
    ['hf:org/model', 'org/model', 'main', ''],
    ['hf://org/model/', 'org/model', 'main', ''],
    ['hf:org/model@v1.0', 'org/model', 'v1.0', ''],
    ['hf:org/model@v1.0/sub/deep', 'org/model', 'v1.0', 'sub/deep'],
    ['hf:org/model/sub', 'org/model', 'main', 'sub'],
    ['hf:org/model@refs/pr/3/sub', 'org/model', 'refs/pr/3', 'sub'],
    ['hf:org/model@a%2Fb', 'org/model', 'a/b', ''],
    ['hf:org/model/q4.gguf', 'org/model', 'main', '', 'q4.gguf'],
    ['https://hub.test/org/model', 'org/model', 'main', '', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/?a=1#b', 'org/model', 'main', '', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/tree/main', 'org/model', 'main', '', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/tree/v1/sub', 'org/model', 'v1', 'sub', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/tree/refs%2Fpr%2F3', 'org/model', 'refs/pr/3', '', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/blob/main/config.json', 'org/model', 'main', '', undefined, 'https://hub.test'],
    ['https://hub.test/org/model/resolve/main/', 'org/model', 'main', '', undefined, 'https://hub.test'],
    [
      'https://hub.test/org/model/resolve/main/a/x.safetensors',
      'org/model',
      'main',
      'a',
      'x.safetensors',
      'https://hub.test',
    ],
  ];
  for (const [text, repo, revision, folder, file, origin] of cases) {
    const { repo: r, revision: v, folder: f, file: one, origin: o } = readName(text)!;
    assert.equal([r, v, f, one, o], [repo, revision, folder, file, origin], text);
  }
  for (const text of [
    'https://hub.test/',
    'https://hub.test/a/b/c',
    'https://hub.test/datasets/a',
    'https://hub.test/a%/b',
  ])
    assert.is(readName(text), undefined, text);
  for (const text of [
    'hf:',
    'hf:a/../b',
    'hf:a/b/../c',
    'hf:a/b@..',
    'hf:a/b/c%2f..',
    'hf:a/b\u001b[2J',
    `hf:${'a'.repeat(3000)}`,
  ])
    assert.throws(() => readName(text), /^RangeError|name must/, text);
  for (const text of ['hf:org/model', 'hf:org/model@v1/sub', 'hf:org/model@refs/pr/3', 'hf:org/model@a%2Fb/q4.gguf'])
    assert.is(nameText(readName(text)!), text);
});

test('isPlainPart() takes nothing that leads out of a folder', () => {
  for (const part of ['', '.', '..', 'a/b', 'a\\b', 'c:', 'a\0', 'a\n', 'a\u2028', '\udc00a', 'x'.repeat(256)])
    assert.not(isPlainPart(part), part);
  for (const part of ['a', '.gitattributes', 'model-00001-of-00002.safetensors', '模型'])
    assert.ok(isPlainPart(part), part);
});

test('startSha256() is that of the standard, in whatever pieces', async () => {
  const text = (value: string) => new TextEncoder().encode(value);
  const of = (bytes: Uint8Array, piece: number) => {
    const digest = startSha256();
    for (let at = 0; at < bytes.length; at += piece) digest.update(bytes.subarray(at, at + piece));
    return digest.digest('hex');
  };
  assert.is(of(text(''), 1), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  assert.is(of(text('abc'), 1), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  for (const length of [1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7);
    for (const piece of [1, 13, 64, 100]) assert.is(of(bytes, piece), await sha256Of(bytes), `${length} by ${piece}`);
  }
});

test('digestInOrder() takes ranges in about their order, again, and over one another', async () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i * 3);
  const orders = [
    [[0, 100]],
    [
      [0, 10],
      [30, 60],
      [10, 30],
      [60, 100],
    ],
    [
      [60, 100],
      [50, 70],
      [20, 60],
      [0, 25],
    ],
    [
      [0, 10],
      [0, 10],
      [5, 50],
      [40, 45],
      [45, 100],
    ],
  ] as [number, number][][];
  for (const order of orders) {
    const digest = digestInOrder(100, startSha256());
    assert.is(digest.state(), 'none');
    const given = order.map(([start, end]) => digest.take(start, bytes.slice(start, end)));
    assert.equal(given, [...order.slice(1).map(() => undefined), await sha256Of(bytes)]);
    assert.is(digest.state(), 'all');
  }
  const gap = digestInOrder(100, startSha256());
  assert.is(gap.take(0, bytes.slice(0, 10)), undefined);
  assert.is(gap.take(20, bytes.slice(20)), undefined);
  assert.is(gap.state(), 'some');
});

test('openHub() reads a model wherever there is fetch: the bytes that a folder in memory gives', async () => {
  const numbers = Array.from({ length: 768 * 512 }, (_, i) => (((i * 7919) % 1009) - 504) / 256);
  const files: Record<string, Uint8Array<ArrayBuffer>> = {
    'model.safetensors': new Uint8Array(
      safetensors({ 'model.layers.0.mlp.up_proj.weight': tensorOf('F32', [768, 512], numbers) }),
    ),
    'config.json': new TextEncoder().encode('{"model_type": "llama"}'),
  };
  const commit = '0123456789abcdef0123456789abcdef01234567';
  const lfs = async (path: string) => ({
    lfs: { oid: await sha256Of(files[path]), size: files[path].length, pointerSize: 130 },
  });
  const listing = await Promise.all(
    Object.entries(files).map(async ([path, { length }]) => ({
      type: 'file',
      path,
      size: length,
      oid: commit,
      ...(path.endsWith('.safetensors') && (await lfs(path))),
    })),
  );
  const asked: (string | null)[] = [];
  const fetch = async (url: string, init: RequestInit) => {
    const headers = new Headers(init.headers);
    asked.push(headers.get('authorization'));
    const { pathname } = new URL(url);
    if (pathname === '/api/models/org/model/revision/v1') return Response.json({ sha: commit });
    if (pathname === `/api/models/org/model/tree/${commit}`) return Response.json(listing);
    const bytes = files[pathname.slice(`/org/model/resolve/${commit}/`.length)];
    if (!bytes) return new Response('', { status: 404 });
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.get('range') ?? '') ?? [];
    if (first === undefined) return new Response(bytes);
    const range = { 'content-range': `bytes ${first}-${last}/${bytes.length}` };
    return new Response(bytes.slice(Number(first), Number(last) + 1), { status: 206, headers: range });
  };
  const higgs = await load();
  const [wanted, actual] = [memoryOutput(), memoryOutput()];
  await higgs.quantizeCheckpoint(memoryFolder(files), wanted);
  await higgs.quantizeCheckpoint(
    await openHub('hf:org/model@v1', { endpoint: 'http://hub.test', token: 'secret', fetch }),
    actual,
  );
  assert.equal([...actual.files.keys()].sort(), [...wanted.files.keys()].sort());
  for (const [name, bytes] of wanted.files) sameBits(actual.files.get(name)!, bytes, name);
  assert.equal([...new Set(asked)], ['Bearer secret']);
});

test.run();
