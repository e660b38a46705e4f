// higgs serve as a process: it finds its models, tells its address, answers, logs, drains when it is told to end.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CLI, folder, higgs, root, temporaryRoot } from './command.ts';
import { servedFiles } from './served.ts';

temporaryRoot();
test.before(() => {
  process.env.HIGGS_HOME = root;
});
test.after(() => {
  delete process.env.HIGGS_HOME;
});

interface Running {
  readonly child: ChildProcess;
  readonly address: string;
  readonly models: readonly string[];
  /** Lines of standard output behind the first. */
  readonly lines: string[];
  /** Standard error so far. */
  notes(): string;
  end(signal?: NodeJS.Signals): Promise<number | null>;
}
const children: ChildProcess[] = [];
test.after(() => {
  for (const child of children) child.kill('SIGKILL');
});

async function serve(...args: string[]): Promise<Running> {
  const child = spawn(process.execPath, [CLI, 'serve', ...args, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const lines: string[] = [];
  let fault = '';
  child.stderr.on('data', (data) => {
    fault += data;
  });
  const reader = createInterface({ input: child.stdout });
  const first = new Promise<string>((resolve, reject) => {
    reader.once('line', resolve);
    child.once('exit', () => reject(new Error(fault)));
  });
  const { address, models } = JSON.parse(await first);
  reader.on('line', (line) => lines.push(line));
  return {
    ...{ child, address, models, lines, notes: () => fault },
    async end(signal = 'SIGTERM') {
      const ended = once(child, 'exit');
      child.kill(signal);
      return (await ended)[0];
    },
  };
}

const ask = (address: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${address}/v1/completions`, { method: 'POST', body: JSON.stringify(body), headers });

test('serves a model by its directory’s name, logs requests as JSON, and ends with 0', async () => {
  const model = await folder(servedFiles({ seed: 3 }));
  const { address, models, lines, end } = await serve(model, '--bits', '4');
  assert.equal(models, [model.slice(model.lastIndexOf('/') + 1)]);
  const response = await ask(address, { prompt: 'Once', max_tokens: 5, temperature: 0 });
  const { usage, choices } = await response.json();
  assert.is(response.status, 200);
  assert.type(choices[0].text, 'string');
  const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] };
  const format = { type: 'json_schema', json_schema: { name: 'x', schema } };
  const json = await (await ask(address, { prompt: 'Once', max_tokens: 60, response_format: format })).json();
  assert.type(JSON.parse(json.choices[0].text).ok, 'boolean');
  assert.is(await end(), 0);
  const log = JSON.parse(lines[0]);
  assert.is(log.path, '/v1/completions');
  assert.is(log.generatedTokens, usage.completion_tokens);
  for (const time of [log.ms, log.firstMs]) assert.is(time, Math.round(time * 10) / 10);
});

test('a model that does not fit --memory is told at the start, and refused', async () => {
  const model = await folder(servedFiles({ seed: 3 }));
  const { address, notes, end } = await serve(model, '--bits', '4', '--memory', '1KB');
  assert.match(
    notes(),
    /^higgs: warning: model \S+ needs [\d.]+ \wB of memory: the server has 1\.00 kB, and refuses requests for it$/m,
  );
  const refused = await ask(address, { prompt: 'Once' });
  assert.is(refused.status, 503);
  assert.match((await refused.json()).error.message, /needs \d+ MB of memory: the server has 0 MB/);
  assert.is(await end(), 0);
});

test('a text under way when it is told to end is answered', async () => {
  const model = await folder(servedFiles({ seed: 3 }));
  const { address, end } = await serve(model, '--bits', '4', '--api-key', 'secret');
  assert.is((await ask(address, { prompt: 'Once' })).status, 401);
  const response = await ask(
    address,
    { prompt: 'Once', max_tokens: 300, stream: true, ignore_eos: true },
    { authorization: 'Bearer secret' },
  );
  const ended = end('SIGINT');
  assert.match(await response.text(), /data: \[DONE\]\n\n$/);
  assert.is(await ended, 0);
});

test('a model that is none, a port that is taken, and an empty key are told', async () => {
  const gone = await higgs('serve', `${root}/none`, '--port', '0');
  assert.is(gone.code, 1);
  assert.match(gone.stderr, /cannot read .*none/);
  const model = await folder(servedFiles({ seed: 3 }));
  const { address, end } = await serve(model, '--bits', '4');
  const taken = await higgs('serve', model, '--bits', '4', '--port', new URL(address).port);
  assert.match(
    taken.stderr,
    /port \d+ of 127\.0\.0\.1 must be free: another program listens there; give another --port/,
  );
  assert.is(taken.code, 1);
  await end();
  assert.is((await higgs('serve', model, '--api-key', '')).code, 2);
  const long = await higgs('serve', model, '--bits', '4', '--port', '0', '--context', '100000');
  assert.is(long.code, 1);
  assert.match(long.stderr, /^higgs: model \S+: context must be an integer from 1 to 512: got 100000$/m);
});

test('without a name the demo model of the package is served, and the page that has it', async () => {
  const { address, models, end } = await serve();
  assert.equal(models, ['demo-4bit']);
  const { choices } = await (await ask(address, { prompt: 'PATIENCE, n.', max_tokens: 4 })).json();
  assert.ok(choices[0].text.length > 0);
  assert.match(await (await fetch(address)).text(), /<title>higgs: a smaller model, in this tab/);
  assert.is((await fetch(new URL('/demo-4bit/config.json', address))).status, 200);
  assert.is(await end(), 0);
});

test('a prompt is kept in --cache-dir, and a page is served of --page', async () => {
  const model = await folder(servedFiles({ seed: 3 }));
  const page = await folder({ 'index.html': new TextEncoder().encode('<!doctype html><title>own</title>') });
  const prompt = 'It was a dark and stormy night; the rain fell in torrents, except at intervals. ';
  const answers: { text: string; cached: number }[] = [];
  for (let run = 0; run < 2; run++) {
    const { address, end } = await serve(model, '--bits', '4', '--cache-dir', join(root, 'prompts'), '--page', page);
    const { usage, choices } = await (await ask(address, { prompt, max_tokens: 5, temperature: 0 })).json();
    answers.push({ text: choices[0].text, cached: usage.prompt_tokens_details.cached_tokens });
    assert.match(await (await fetch(address)).text(), /own/);
    assert.is(await end(), 0);
  }
  assert.equal(
    answers.map(({ cached }) => cached),
    [0, 64],
  );
  assert.is(answers[1].text, answers[0].text);
});

test.run();
