// The command line on models by name: quantize streams, pull fills the cache that Python shares, list and remove tell of it and clean it.

import { spawnSync } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { normals, sameBits } from './bits.ts';
import { safetensors, tensorOf } from './checkpoints.ts';
import {
  CLI,
  type Done,
  execute,
  fails,
  folder,
  hashes,
  nothingAt,
  output,
  smallFiles,
  succeeds,
  temporaryRoot,
} from './command.ts';
import { commitNamed, gitOid, type Hub, sha256Of, startHub } from './hub-server.ts';
import { configs, randomFile } from './models.ts';

temporaryRoot();

const large = safetensors({
  'model.layers.0.mlp.up_proj.weight': tensorOf('BF16', [1536, 1024], normals(1536 * 1024, 1)),
  'model.layers.0.mlp.down_proj.weight': tensorOf('BF16', [1024, 1536], normals(1536 * 1024, 2)),
  'model.norm.weight': tensorOf('BF16', [1024], normals(1024, 3)),
});
const text = (value: string) => new TextEncoder().encode(value);
const [commit, later] = [commitNamed('one'), commitNamed('two')];
const files: Record<string, Uint8Array> = {
  'model.safetensors': large,
  'config.json': text('{"model_type": "llama"}'),
  'tokenizer.json': text('{"version": "1.0"}'),
  'README.md': text('# A model'),
};
const more = { 'pytorch_model.bin': text('pickled'), 'onnx/model.onnx': text('graph') };

let hub: Hub;
let cache = '';
test.before(async () => {
  hub = await startHub({});
});
test.after(() => hub.close());
test.before.each(async () => {
  hub.repos = { 'org/model': { commits: { [commit]: { ...files, ...more } }, refs: { main: commit } } };
  hub.asked = [];
  hub.fault = () => undefined;
  cache = await folder();
});

const environment = (extra: Record<string, string> = {}) => ({
  HF_ENDPOINT: hub.endpoint,
  HF_HUB_CACHE: join(cache, 'hub'),
  HF_HOME: cache,
  HIGGS_HOME: join(cache, 'higgs'),
  HF_TOKEN: '',
  HF_HUB_OFFLINE: '',
  ...extra,
});
// By env(1), for a child has the environment of its parent.
const run = (
  args: string[],
  extra: Record<string, string> = {},
  during?: Parameters<typeof execute>[2],
): Promise<Done> =>
  execute(
    'env',
    [...Object.entries(environment(extra)).map(([key, value]) => `${key}=${value}`), process.execPath, CLI, ...args],
    during,
  );
const quantize = (name: string, out: string, ...args: string[]) =>
  run(['quantize', name, '-o', out, '--workers', '1', '--bits', '2', ...args]);
const snapshot = (of = commit) => join(cache, 'hub/models--org--model/snapshots', of);
// All but the card, which says where the original is from.
async function contents(path: string): Promise<Record<string, string>> {
  const { 'README.md': _, ...others } = await hashes(path);
  return others;
}

const blobs = () => readdirSync(join(cache, 'hub/models--org--model/blobs')).sort();

/** Bytes of all ranges that were asked for. */
const bytesAsked = () =>
  hub.asked
    .map(({ range }) => /^bytes=(\d+)-(\d+)$/.exec(range ?? ''))
    .reduce((sum, actual) => sum + (actual ? Number(actual[2]) - Number(actual[1]) + 1 : 0), 0);

let wanted: Promise<Record<string, string>> | undefined;
/** What quantizing the files from a directory gives. */
function local(): Promise<Record<string, string>> {
  wanted ??= (async () => {
    const out = output();
    await succeeds(quantize(await folder(files), out));
    return contents(out);
  })();
  return wanted;
}

test('quantize streams from the hub: the same bytes, nothing else on the disk, digests checked', async () => {
  const out = output();
  let cuts = 0;
  hub.fault = ({ server }) => (server === 'files' && cuts < 20 ? { cutAfter: (cuts++ % 3) * 100_000 } : undefined);
  const { stderr } = await succeeds(quantize('hf:org/model', out));
  assert.equal(await contents(out), await local());
  assert.is(cuts, 20);
  assert.match(stderr, /the SHA-256 of one file of hf:org\/model at commit [0-9a-f]{12} is right/);
  assert.equal(readdirSync(cache), []);
});

test('parts stream their own tensors alone, and merge to the same bytes', async () => {
  const out = output();
  hub.asked = [];
  for (const part of ['1/2', '2/2']) {
    const before = bytesAsked();
    await succeeds(quantize('hf:org/model', out, '--part', part));
    const read = bytesAsked() - before;
    assert.ok(read < 0.55 * large.length, `${read} of ${large.length} bytes`);
  }
  await succeeds(run(['merge', out]));
  assert.equal(await contents(out), await local());
});

test('an address of the hub is a name, a pasted page too', async () => {
  const out = output();
  await succeeds(quantize(`${hub.endpoint}/org/model/blob/main/config.json`, out));
  assert.equal(await contents(out), await local());
});

test('an interrupted run goes on by --resume, and says what it could not check', async () => {
  const out = output();
  const half = Math.floor(large.length / 2) + 100_000;
  hub.fault = ({ range }) => (Number(/\d+/.exec(range ?? '')?.[0]) > half ? { status: 403 } : undefined);
  const first = await quantize('hf:org/model', out);
  assert.is(first.code, 1);
  assert.match(first.stderr, /what is done is kept in .*run again with --resume/);
  hub.fault = () => undefined;
  hub.asked = [];
  const { stderr } = await succeeds(quantize('hf:org/model', out, '--resume'));
  assert.equal(await contents(out), await local());
  assert.match(stderr, /the SHA-256 of model\.safetensors .* was not checked: not all bytes were read/);
  const read = bytesAsked();
  assert.ok(read < large.length, `${read} bytes read`);
});

test('--resume refuses when the revision is another commit now', async () => {
  const out = output();
  hub.fault = ({ range }) => (Number(/\d+/.exec(range ?? '')?.[0]) > 1_000_000 ? { status: 403 } : undefined);
  await quantize('hf:org/model', out);
  hub.fault = () => undefined;
  hub.repos['org/model'] = { commits: { [later]: files }, refs: { main: later } };
  assert.match(await fails(quantize('hf:org/model', out, '--resume')), /journal|another input|input/);
});

test('a file whose bytes are not those of its digest is refused, and leaves no output', async () => {
  const out = output();
  const other = large.slice();
  other[other.length - 1] ^= 1;
  hub.fault = ({ server }) => (server === 'files' ? { content: other } : undefined);
  assert.match(await fails(quantize('hf:org/model', out)), /model\.safetensors: file must have the SHA-256 of the hub/);
  nothingAt(out, `${out}.partial`);
});

test('inspect, plan and dequantize take names; a bare name is told of hf:', async () => {
  const { stdout } = await succeeds(run(['inspect', 'hf:org/model', '--json']));
  assert.is(JSON.parse(stdout).tensors.length, 3);
  assert.match(
    await fails(run(['inspect', 'org/model'])),
    /no such file or directory; if you mean the model on the hub, give hf:org\/model$/m,
  );
  assert.match(
    await fails(run(['inspect', 'hf:org/none'])),
    /cannot read hf:org\/none: there is no such model, or it is private/,
  );
  assert.match(await fails(run(['inspect', 'hf:../x'])), /name must be hf:org\/model/);
});

test('a file of weights is a name, too', async () => {
  const out = `${output()}.safetensors`;
  await succeeds(quantize('hf:org/model/model.safetensors', out));
  const { stdout } = await succeeds(run(['verify', out, '--against', 'hf:org/model', '--json']));
  assert.is(JSON.parse(stdout).tensors.length, 2);
});

test('a model in GGUF is read by the name of its file, or of the folder that has no other', async () => {
  const gguf = { 'llama.gguf': readFileSync('tests/gguf/llama.gguf') };
  hub.repos['org/gguf'] = { commits: { [commit]: gguf }, refs: { main: commit } };
  const [there, here] = [output(), output()];
  await succeeds(quantize('hf:org/gguf/llama.gguf', there, '--group', '32'));
  await succeeds(quantize('tests/gguf/llama.gguf', here, '--group', '32'));
  assert.equal(await contents(there), await contents(here));
  await succeeds(run(['pull', 'hf:org/gguf']));
  const inspected = async (extra: Record<string, string>) =>
    JSON.parse((await succeeds(run(['inspect', 'hf:org/gguf', '--json'], extra))).stdout).tensors;
  assert.equal(await inspected({ HF_HUB_OFFLINE: '1' }), await inspected({}));
});

test('models by name run, are measured, and leave their sensitivities in HIGGS_HOME', async () => {
  const config = configs.llama;
  const tiny = { 'model.safetensors': randomFile(config), 'config.json': text(JSON.stringify(config)) };
  const names = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
  const books = Object.fromEntries(names.map((name) => [name, readFileSync(join('models/books-llama', name))]));
  hub.repos['org/tiny'] = { commits: { [commit]: tiny }, refs: { main: commit } };
  hub.repos['org/books'] = { commits: { [commit]: books }, refs: { main: commit } };
  const [first, again, here] = [output(), output(), output()];
  const budget = ['--workers', '1', '--bpw', '4.5', '--group', '64'];
  const { stderr } = await succeeds(run(['quantize', 'hf:org/tiny', '-o', first, ...budget]));
  const kept = join(cache, 'higgs/kept/org--tiny/higgs-alphas.json');
  assert.ok(stderr.includes(`kept in ${kept}`), stderr);
  const second = await succeeds(run(['quantize', 'hf:org/tiny', '-o', again, ...budget]));
  assert.ok(second.stderr.includes(`sensitivities of ${kept}`), second.stderr);
  await succeeds(run(['quantize', await folder(tiny), '-o', here, ...budget]));
  for (const copy of [first, again]) assert.equal(await contents(copy), await contents(here));
  const generate = async (name: string) =>
    (await succeeds(run(['generate', name, '-p', 'Once', '-n', '5', '--temperature', '0', '--threads', '1']))).stdout;
  assert.is(await generate('hf:org/books'), await generate('models/books-llama'));
});

test('pull fills the cache as Python has it, and quantize reads it there', async () => {
  const { stdout } = await succeeds(run(['pull', 'hf:org/model']));
  assert.ok(stdout.startsWith(`${snapshot()}\n4 files`), stdout);
  assert.match(stdout, /2 files? left at the hub|1 file left at the hub/);
  assert.equal(readdirSync(snapshot()).sort(), Object.keys(files).sort());
  for (const [name, bytes] of Object.entries(files)) {
    sameBits(readFileSync(join(snapshot(), name)), bytes);
    const digest = name.endsWith('.safetensors') ? sha256Of(bytes) : gitOid(bytes);
    assert.is(readlinkSync(join(snapshot(), name)), `../../blobs/${digest}`);
  }
  assert.is(readFileSync(join(cache, 'hub/models--org--model/refs/main'), 'utf8'), commit);
  assert.not(blobs().some((name) => name.includes('incomplete')));
  hub.asked = [];
  const [out, offline, away] = [output(), output(), output()];
  await succeeds(quantize('hf:org/model', out));
  assert.not(hub.asked.some(({ path }) => path.includes('/resolve/')));
  hub.asked = [];
  await succeeds(
    run(['quantize', 'hf:org/model', '-o', offline, '--workers', '1', '--bits', '2'], { HF_HUB_OFFLINE: '1' }),
  );
  assert.equal(hub.asked, []);
  const { stderr } = await succeeds(
    run(['quantize', 'hf:org/model', '-o', away, '--workers', '1', '--bits', '2'], {
      HF_ENDPOINT: 'http://127.0.0.1:9',
    }),
  );
  assert.match(stderr, /no answer.*; using the copy in the cache/);
  for (const copy of [out, offline, away]) assert.equal(await contents(copy), await local());
  assert.match(
    await fails(run(['inspect', 'hf:org/other'], { HF_HUB_OFFLINE: '1' })),
    /HF_HUB_OFFLINE is set, and the cache has no copy/,
  );
});

test('pull leaves alone what another client is writing of the same file', async () => {
  const foreign = join(cache, 'hub/models--org--model/blobs', `${sha256Of(large)}.incomplete`);
  await mkdir(dirname(foreign), { recursive: true });
  await writeFile(foreign, 'other bytes');
  await succeeds(run(['pull', 'hf:org/model']));
  sameBits(readFileSync(join(snapshot(), 'model.safetensors')), large);
  assert.is(readFileSync(foreign, 'utf8'), 'other bytes');
});

test('pull goes on where it was cut off, and refuses what is not right', async () => {
  hub.fault = ({ range }) => (Number(/\d+/.exec(range ?? '')?.[0]) >= 4 << 20 ? { status: 403 } : undefined);
  assert.match(await fails(run(['pull', 'hf:org/model'])), /\(403\)/);
  const incomplete = `${sha256Of(large)}.higgs.incomplete`;
  assert.is(lstatSync(join(cache, 'hub/models--org--model/blobs', incomplete)).size, 4 << 20);
  nothingAt(join(cache, 'hub/models--org--model/refs/main'));
  hub.fault = () => undefined;
  hub.asked = [];
  await succeeds(run(['pull', 'hf:org/model']));
  assert.not(hub.asked.some(({ server, range }) => server === 'files' && range?.startsWith('bytes=0-4')));
  sameBits(readFileSync(join(snapshot(), 'model.safetensors')), large);

  await rm(join(cache, 'hub'), { recursive: true });
  hub.fault = ({ path }) =>
    path.includes('/resolve/') && path.endsWith('config.json')
      ? { content: text('{"model_type": "llamA"}') }
      : undefined;
  assert.match(await fails(run(['pull', 'hf:org/model'])), /config\.json: file must have the digest of the hub/);
  nothingAt(join(snapshot(), 'config.json'));
});

test('pull --all takes every file; a token from its file goes to the hub only', async () => {
  hub.repos['org/model'].token = 'hf_secret';
  await writeFile(join(cache, 'token'), 'hf_secret\n');
  await succeeds(run(['pull', 'hf:org/model', '--all']));
  sameBits(readFileSync(join(snapshot(), 'onnx/model.onnx')), more['onnx/model.onnx']);
  for (const { server, authorization } of hub.asked)
    assert.is(authorization, server === 'hub' ? 'Bearer hf_secret' : undefined);
  hub.repos['org/model'].isGated = true;
  await rm(join(cache, 'hub'), { recursive: true });
  const refused = await run(['pull', 'hf:org/model'], { HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' });
  assert.match(refused.stderr, /its owners ask you to accept terms: do so at .*\/org\/model, then give a token/);
  assert.not.match(refused.stderr, /hf_secret/);
});

test('list and remove tell sizes, and remove what nothing else needs', async () => {
  const repo = hub.repos['org/model'];
  await succeeds(run(['pull', 'hf:org/model']));
  repo.commits[later] = { ...files, 'config.json': text('{"model_type": "qwen2"}') };
  repo.refs.main = later;
  await succeeds(run(['pull', 'hf:org/model']));
  const place = await folder();
  await succeeds(quantize(await folder(smallFiles()), join(place, 'small')));
  const models = async (...args: string[]) =>
    JSON.parse((await succeeds(run(['list', ...args, '--json']))).stdout).models;
  const [original, quantized] = await models(place).then((all: { kind: string }[]) =>
    ['original', 'quantized'].map((kind) => all.find((each) => each.kind === kind)),
  );
  assert.is((original as never as { name: string }).name, 'hf:org/model');
  assert.equal(
    (original as never as { revisions: { commit: string }[] }).revisions.map((each) => each.commit).sort(),
    [commit, later].sort(),
  );
  assert.is((quantized as never as { path: string }).path, join(place, 'small'));
  assert.match((await succeeds(run(['list', place]))).stdout, /quantized, \d\.\d\d bits per weight/);

  const answer = await succeeds(run(['remove', `hf:org/model@${commit.slice(0, 8)}`, '--dry-run']));
  assert.match(answer.stdout, /23 B would be freed$/m);
  assert.ok(existsSync(snapshot()));
  await succeeds(run(['remove', `hf:org/model@${commit.slice(0, 8)}`]));
  nothingAt(snapshot());
  for (const name of readdirSync(snapshot(later))) assert.ok(existsSync(join(snapshot(later), name)), name);
  assert.not(blobs().includes(gitOid(files['config.json'])));
  await succeeds(run(['remove', 'hf:org/model']));
  nothingAt(join(cache, 'hub/models--org--model'));
  assert.match(await fails(run(['remove', 'hf:org/model'])), /the cache has no such model/);

  await writeFile(join(place, 'small/diary.doc'), 'mine');
  assert.match(await fails(run(['remove', join(place, 'small')])), /it holds diary\.doc, which higgs did not write/);
  await rm(join(place, 'small/diary.doc'));
  await succeeds(run(['remove', join(place, 'small')]));
  nothingAt(join(place, 'small'));
  assert.match(await fails(run(['remove', place])), /it is not a quantized model/);
});

test('links in the cache that lead elsewhere are not removed with it', async () => {
  const elsewhere = await folder({ 'model.safetensors': 'mine' });
  await mkdir(snapshot(), { recursive: true });
  await symlink(join(elsewhere, 'model.safetensors'), join(snapshot(), 'model.safetensors'));
  await symlink(elsewhere, join(snapshot(), 'folder'));
  await succeeds(run(['remove', 'hf:org/model']));
  assert.ok(existsSync(join(elsewhere, 'model.safetensors')));
});

// The Python client itself, where there is one.
const python = process.env.PYTHON ?? 'python3';
const hasClient = spawnSync(python, ['-c', 'import huggingface_hub']).status === 0;
if (hasClient) {
  const client = (code: string, extra: Record<string, string> = {}) =>
    execute('env', [
      ...Object.entries(environment({ ...extra, HF_HUB_DISABLE_XET: '1' })).map(([key, value]) => `${key}=${value}`),
      ...[python, '-c', `from huggingface_hub import snapshot_download\n${code}`],
    ]);

  test('what pull downloads the Python client finds, and the other way round', async () => {
    await succeeds(run(['pull', 'hf:org/model']));
    const { stdout } = await succeeds(client(`print(snapshot_download('org/model', local_files_only=True))`));
    assert.is(stdout.trim(), snapshot());
    await rm(join(cache, 'hub'), { recursive: true });
    await succeeds(client(`snapshot_download('org/model')`));
    hub.asked = [];
    const done = JSON.parse((await succeeds(run(['pull', 'hf:org/model', '--json']))).stdout);
    assert.is(done.downloaded, 0);
    assert.not(hub.asked.some(({ path }) => path.includes('/resolve/')));
    const out = output();
    await succeeds(
      run(['quantize', 'hf:org/model', '-o', out, '--workers', '1', '--bits', '2'], { HF_HUB_OFFLINE: '1' }),
    );
    assert.equal(await contents(out), await local());
  });
} else console.log(`the cache is not compared with Python's: ${python} has no huggingface_hub`);

test.run();
