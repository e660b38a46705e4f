// higgs run: a name is enough. What is missing is fetched and quantized once; the second start asks nobody.

import { existsSync, readdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CLI, type Done, execute, folder, succeeds, temporaryRoot } from './command.ts';
import { commitNamed, type Hub, startHub } from './hub-server.ts';
import { configs, randomFile } from './models.ts';
import { byteLevelContent } from './tokenizers.ts';

temporaryRoot();

const text = (value: string) => new TextEncoder().encode(value);
const config = { ...configs.llama, vocab_size: 267, bos_token_id: 264, eos_token_id: 265 };
const files: Record<string, Uint8Array> = {
  'config.json': text(JSON.stringify(config)),
  'model.safetensors': randomFile(config, ['BF16']),
  'tokenizer.json': text(JSON.stringify(byteLevelContent())),
};
const template = '{% for message in messages %}{{ message.content }}{% endfor %}';
const commit = commitNamed('one');

let hub: Hub;
let home = '';
test.before(async () => {
  const chatting = { ...files, 'chat_template.jinja': text(template) };
  hub = await startHub({
    'org/model': { commits: { [commit]: files }, refs: { main: commit } },
    'org/chat': { commits: { [commit]: chatting }, refs: { main: commit } },
  });
});
test.after(() => hub.close());
test.before.each(async () => {
  home = await folder();
  hub.asked = [];
});

// By env(1), for a child has the environment of its parent.
const run = (args: string[], extra: Record<string, string> = {}): Promise<Done> => {
  const variables = {
    ...{ HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(home, 'hub'), HF_HOME: home, HF_TOKEN: '', HF_HUB_OFFLINE: '' },
    ...{ HIGGS_HOME: join(home, 'higgs'), ...extra },
  };
  const given = Object.entries(variables).map(([key, value]) => `${key}=${value}`);
  return execute('env', [...given, process.execPath, CLI, 'run', ...args, '--threads', '1']);
};
const prompted = ['-p', 'hello', '-n', '4', '--seed', '3'];
const copies = () => readdirSync(join(home, 'higgs/models')).sort();

test('a name of the hub is quantized once, without its original on the disk; the second start asks nobody', async () => {
  const first = await succeeds(run(['hf:org/model', ...prompted]));
  assert.match(first.stdout, /^hello/);
  assert.match(first.stderr, /4 bits per weight suit this machine: .* of memory, .* are free/);
  assert.match(first.stderr, /quantized to .* once$/m);
  assert.match(first.stderr, /kept in .*org--model--4bit; higgs remove frees it/);
  assert.equal(copies(), ['org--model--4bit']);
  assert.not.ok(existsSync(join(home, 'hub')));
  assert.ok(hub.asked.length > 0);

  hub.asked = [];
  const second = await succeeds(run(['hf:org/model', ...prompted], { HF_HUB_OFFLINE: '1' }));
  assert.is(second.stdout, first.stdout);
  assert.equal(hub.asked, []);
  assert.not.match(second.stderr, /quantized to/);

  const higgs = (...args: string[]) =>
    execute('env', [
      `HIGGS_HOME=${join(home, 'higgs')}`,
      `HF_HUB_CACHE=${join(home, 'hub')}`,
      process.execPath,
      CLI,
      ...args,
    ]);
  const listed = await succeeds(higgs('list'));
  assert.match(listed.stdout, /^org--model--4bit +quantized, 4/m);
  assert.ok(listed.stderr.includes(`higgs run keeps models in ${join(home, 'higgs/models')}`));
  await succeeds(higgs('remove', 'org--model--4bit'));
  assert.equal(copies(), []);
});

test('another size is another model; of none that is asked for, the newest is taken', async () => {
  await succeeds(run(['hf:org/model', '--bits', '3', ...prompted]));
  await succeeds(run(['hf:org/model', '--bits', '2', ...prompted]));
  assert.equal(copies(), ['org--model--2bit', 'org--model--3bit']);
  hub.asked = [];
  await succeeds(run(['hf:org/model', ...prompted]));
  assert.equal(hub.asked, []);
  assert.is(copies().length, 2);
});

test('a directory is quantized again when it has changed, and one that is quantized is run as it is', async () => {
  const path = await folder(files);
  await succeeds(run([path, ...prompted]));
  await succeeds(run([path, ...prompted]));
  assert.is(copies().length, 1);
  await writeFile(join(path, 'config.json'), JSON.stringify({ ...config, rms_norm_eps: 1e-4 }));
  await succeeds(run([path, ...prompted]));
  assert.is(copies().length, 2);
  const { stderr } = await succeeds(run([join(home, 'higgs/models', copies()[0]), ...prompted]));
  assert.not.match(stderr, /quantized to/);
  assert.is(copies().length, 2);
});

test('a template makes it a chat; without one and without a prompt it says what to give', async () => {
  const { stdout } = await succeeds(run(['hf:org/chat', '--json', ...prompted]));
  assert.is(typeof JSON.parse(stdout).text, 'string');
  assert.ok('thinking' in JSON.parse(stdout));
  const refused = await run(['hf:org/none', ...prompted]);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /^higgs: cannot read hf:org\/none: there is no such model/m);
});

test('what an interrupted start left is gone on with', async () => {
  await succeeds(run(['hf:org/model', ...prompted]));
  const out = join(home, 'higgs/models/org--model--4bit');
  await rm(out, { recursive: true });
  hub.fault = ({ path }) => (path.includes('model.safetensors') ? { status: 404 } : undefined);
  const failed = await run(['hf:org/model', ...prompted]);
  hub.fault = () => undefined;
  assert.is(failed.code, 1);
  await succeeds(run(['hf:org/model', ...prompted]));
  assert.ok(existsSync(out));
});

test.run();
