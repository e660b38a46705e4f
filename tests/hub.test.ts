// Models read from a hub on this machine, whatever happens on the way.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openHub } from '../src/hub/hub.ts';
import { openRemote } from '../src/hub/remote.ts';
import { load } from '../src/index.ts';
import type { Folder } from '../src/source/source.ts';
import { sameBits } from './bits.ts';
import { safetensors, tensorOf } from './checkpoints.ts';
import { commitNamed, type Hub, pointerOf, sha256Of, startHub } from './hub-server.ts';

const test = suite('hub');

const numbers = (count: number) => Array.from({ length: count }, (_, i) => (((i * 7919) % 1009) - 504) / 256);
const weights = safetensors({
  'model.layers.0.mlp.up_proj.weight': tensorOf('F32', [512, 1024], numbers(512 * 1024)),
  'model.norm.weight': tensorOf('F32', [1024], numbers(1024)),
});
const config = new TextEncoder().encode('{"model_type": "llama"}');
const small = {
  'config.json': config,
  'generation_config.json': config,
  'README.md': config,
  'tokenizer.json': config,
};
const [first, second] = [commitNamed('first'), commitNamed('second')];
const repo = () => ({
  commits: {
    [first]: { 'model.safetensors': weights, 'sub/model.safetensors': weights, 'sub/config.json': config, ...small },
    [second]: { 'config.json': config },
  },
  refs: { main: first, 'v 1': second, 'refs/pr/3': second },
});

let hub: Hub;
test.before(async () => {
  hub = await startHub({});
});
test.after(() => hub.close());
test.before.each(() => {
  hub.repos = { 'org/model': repo() };
  hub.asked = [];
  hub.fault = () => undefined;
});

const open = (name = 'hf:org/model', options: Parameters<typeof openHub>[1] = {}) =>
  openHub(name, { endpoint: hub.endpoint, ...options });

test('openHub() reads a model: pages of listings, small files beside one another, large ones from where the hub sends', async () => {
  const folder = await open();
  assert.equal(await folder.list(), [
    'README.md',
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'tokenizer.json',
  ]);
  sameBits(await whole(folder, 'config.json'), config);
  const source = await folder.open('model.safetensors');
  assert.is(source.byteLength, weights.length);
  sameBits(new Uint8Array(await source.slice(1000, 5000)), weights.slice(1000, 5000));
  sameBits(new Uint8Array(await source.slice(0, weights.length)), weights);
  // Once it is known where the bytes are, the hub is not asked again.
  assert.is(hub.asked.filter(({ path, server }) => server === 'hub' && path.includes('model.safetensors')).length, 1);
});

test('openHub() opens revisions, folders and single files', async () => {
  assert.equal(await (await open('hf:org/model/sub')).list(), ['config.json', 'model.safetensors']);
  assert.equal(await (await open(`hf:org/model@${second}`)).list(), ['config.json']);
  assert.equal(await (await open('hf:org/model@refs/pr/3')).list(), ['config.json']);
  assert.equal(await (await open('hf:org/model/sub/model.safetensors')).list(), ['model.safetensors']);
  assert.equal(await (await open(`${hub.endpoint}/org/model/tree/main/sub`)).list(), [
    'config.json',
    'model.safetensors',
  ]);
  await rejects(
    open('hf:org/model@v9'),
    'FileError',
    /^cannot read hf:org\/model@v9: there is no revision v9 \(404\)$/,
  );
  await rejects(open('hf:org/model/nothing'), 'FileError', /there is no folder nothing in it/);
  await rejects(open('hf:org/model/none.gguf'), 'FormatError', /must have the file "none.gguf"/);
});

test('a token goes to the hub, and not to the server that it sends to', async () => {
  hub.repos['org/model'] = { ...repo(), token: 'hf_secret' };
  await rejects(open(), 'FileError', /there is no such model, or it is private: give a token in HF_TOKEN.*\(401\)$/);
  const folder = await open('hf:org/model', { token: 'hf_secret' });
  sameBits(await whole(folder, 'model.safetensors'), weights);
  const { asked } = hub;
  assert.ok(asked.some(({ server }) => server === 'files'));
  for (const { server, authorization } of asked.slice(1))
    assert.is(authorization, server === 'hub' ? 'Bearer hf_secret' : undefined);
  await rejects(open('hf:org/model', { token: 'other' }), 'FileError', /the token that was sent has no access/);
  await rejects(
    open('hf:org/model', { token: 'a\nb' }),
    'RangeError',
    /token must be one word of printable ASCII, at most 1000 characters: got other characters or lengths$/,
  );
});

test('a listing that goes on elsewhere is asked of the hub itself', async () => {
  hub.fault = ({ path }) =>
    path.includes('/tree/') && !path.includes('cursor')
      ? {
          status: 200,
          headers: { 'content-type': 'application/json', link: `<http://evil.test${path}&cursor=0>; rel="next"` },
          body: '[]',
        }
      : undefined;
  const folder = await open('hf:org/model', { token: 'hf_secret' });
  assert.ok((await folder.list()).includes('model.safetensors'));
});

test('a server that is not the hub gets no token, and may be no hub', async () => {
  const folder = await openHub(`${hub.endpoint}/org/model`, { token: 'hf_secret' });
  assert.ok((await folder.list()).includes('model.safetensors'));
  for (const { authorization } of hub.asked) assert.is(authorization, undefined);
});

test('names of a listing that lead out of the folder are left out', async () => {
  const names = ['../x', '/etc/passwd', 'a\\b', '..', 'c:x', 'sub/../../x', 'model.safetensors'];
  const body = JSON.stringify(names.map((path) => ({ type: 'file', path, size: 1, oid: commitNamed('x') })));
  hub.fault = ({ path }) =>
    path.includes('/tree/') ? { status: 200, headers: { 'content-type': 'application/json' }, body } : undefined;
  assert.equal(await (await open()).list(), ['model.safetensors']);
});

test('answers that no hub gives are errors of one line', async () => {
  const answers: [path: string, body: string, name: string, message: RegExp][] = [
    ['/revision/', '{}', 'FormatError', /hub must name the commit: got nothing/],
    ['/revision/', '{"sha": "../../x"}', 'FormatError', /hub must name the commit/],
    ['/revision/', 'null', 'FormatError', /hub must answer like Hugging Face’s/],
    ['/revision/', 'no\u001b[2J', 'FormatError', /hub must answer like Hugging Face’s/],
    ['/tree/', '{}', 'FormatError', /hub must answer like Hugging Face’s/],
    ['/tree/', '[{"type": "file", "path": "\u202ea", "size": -1}]', 'FormatError', /must have the path and size/],
    ['/tree/', '[null, 1, "x"]', 'FormatError', /folder must have files: it is empty/],
  ];
  for (const [part, body, name, message] of answers) {
    hub.fault = ({ path }) =>
      path.includes(part) ? { status: 200, headers: { 'content-type': 'application/json' }, body } : undefined;
    await rejects(open(), name, message);
  }
  hub.fault = () => ({ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' });
  await rejects(open(), 'FileError', /answers with a web page/);
});

test('a listing whose empty pages lead on for ever comes to an end', async () => {
  let pages = 0;
  hub.fault = ({ path }) => {
    if (!path.includes('/tree/')) return undefined;
    const link = `<${hub.endpoint}/api/models/org/model/tree/${first}?cursor=${++pages}>; rel="next"`;
    return { status: 200, headers: { 'content-type': 'application/json', link }, body: '[]' };
  };
  await rejects(open(), 'FormatError', /^hf:org\/model: listing must have at most 1000 pages: it has more$/);
  assert.is(pages, 1000);
});

test('gated models say what is to be done', async () => {
  hub.repos['org/model'] = { ...repo(), token: 'hf_secret', isGated: true };
  const folder = await open();
  await rejects(
    whole(folder, 'model.safetensors'),
    'FileError',
    /accept terms: do so at http.*\/org\/model, then give a token in HF_TOKEN.*\(401\)$/,
  );
  const other = await open('hf:org/model', { token: 'hf_other' });
  await rejects(whole(other, 'config.json'), 'FileError', /accept terms.*the token must be of that account \(403\)$/);
});

test('429 and 5xx are asked again, after the time that the server says', async () => {
  hub.fault = (_, nth) =>
    nth === 0 ? { status: 429, headers: { 'retry-after': '1' } } : nth === 1 ? { status: 503 } : undefined;
  const began = performance.now();
  await open();
  assert.ok(performance.now() - began > 900);
});

test('a file without ranges is read whole', async () => {
  hub.fault = () => ({ noRanges: true });
  const folder = await open();
  const source = await folder.open('model.safetensors');
  sameBits(new Uint8Array(await source.slice(10, 5000)), weights.slice(10, 5000));
});

test('connections that break off twenty times change nothing', async () => {
  let cuts = 0;
  hub.fault = ({ server }) => (server === 'files' && cuts < 20 ? { cutAfter: (cuts++ % 4) * 1000 } : undefined);
  const folder = await open();
  const source = await folder.open('model.safetensors');
  const parts: Uint8Array[] = [];
  const step = Math.ceil(weights.length / 7);
  const starts = Array.from({ length: 7 }, (_, i) => i * step);
  await Promise.all(
    starts.map(async (start, i) => {
      parts[i] = new Uint8Array(await source.slice(start, Math.min(start + step, weights.length)));
    }),
  );
  sameBits(Buffer.concat(parts), weights);
  assert.is(cuts, 20);
});

test('a file that changes is an error: by size, ETag, commit, SHA-256', async () => {
  const other = weights.slice();
  other[weights.length - 1] ^= 1;
  const isFile = (path: string, server: string) => server === 'files' || path.includes('/resolve/');
  const lies: [object, RegExp][] = [
    [{ content: weights.slice(0, -1) }, /must have the \d+ bytes of the listing: the server gives \d+$/],
    [{ content: new TextEncoder().encode(pointerOf(weights)) }, /the server gives a Git LFS pointer/],
    [{ content: other }, /must have the SHA-256 of the hub, [0-9a-f]{64}: it has [0-9a-f]{64}$/],
  ];
  for (const [lie, message] of lies) {
    hub.fault = ({ path, server }) => (isFile(path, server) ? lie : undefined);
    const folder = await open();
    await rejects(whole(folder, 'model.safetensors'), 'FormatError', message);
  }
  let count = 0;
  hub.fault = ({ server }) => (server === 'files' ? { etag: `"${count++}"` } : undefined);
  await rejects(whole(await open(), 'model.safetensors'), 'FormatError', /file must stay as it is while it is read/);
  hub.fault = ({ path }) =>
    path.includes('/resolve/') ? { status: 200, headers: { 'x-repo-commit': second }, body: config } : undefined;
  await rejects(whole(await open(), 'config.json'), 'FormatError', /file must be of commit/);
});

test('where a redirect led may end: the hub is asked again', async () => {
  const folder = await open();
  const source = await folder.open('model.safetensors');
  await source.slice(0, 100);
  let refused = 0;
  hub.fault = ({ server }) => (server === 'files' && refused++ === 0 ? { status: 403 } : undefined);
  sameBits(new Uint8Array(await source.slice(100, 200)), weights.slice(100, 200));
  assert.is(refused, 2);
});

test('higgs.open() takes a name, and writes the bytes that it writes of a directory', async () => {
  const higgs = await load();
  const remote = await openRemote('hf:org/model', { endpoint: hub.endpoint });
  const local = {
    name: 'local',
    list: () => remote.list(),
    open: async (name: string) => {
      const files: Record<string, Uint8Array> = { ...small, 'model.safetensors': weights };
      return files[name].slice().buffer as ArrayBuffer;
    },
  };
  const written = async (folder: Folder) => {
    const files: Record<string, Uint8Array[]> = {};
    await (await higgs.open(folder)).quantize({
      create: async (name) => {
        const parts: Uint8Array[] = [];
        files[name] = parts;
        return { write: async (part) => void parts.push(part.slice()), close: async () => {}, abort: async () => {} };
      },
    });
    return Object.fromEntries(Object.entries(files).map(([name, parts]) => [name, sha256Of(Buffer.concat(parts))]));
  };
  assert.equal(await written(remote), await written(local));
  if ('commit' in remote) assert.equal([...remote.checked()], [['model.safetensors', true]]);
  await rejects(higgs.open('some/path'), 'TypeError', /input must be a folder, .*, or a name such as hf:org\/model/);
});

test.run();

async function whole(folder: Folder, name: string): Promise<Uint8Array> {
  const source = await folder.open(name);
  return new Uint8Array(await source.slice(0, source.byteLength));
}

async function rejects(run: Promise<unknown>, name: string, message: RegExp): Promise<void> {
  const error = await run.then(
    () => assert.unreachable('it did not fail'),
    (error: Error) => error,
  );
  assert.is((error as Error).name, name, String(error));
  assert.match((error as Error).message, message);
}
