// The verbs that run models, on the embedded one (Node and what follows it only).

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CLI, type Done, execute, fails, folder, higgs, output, quantize, succeeds, temporaryRoot } from './command.ts';

temporaryRoot();

const BOOKS = 'models/books-llama';
const reference = JSON.parse(readFileSync(`${BOOKS}/reference.json`, 'utf8'));
const one = ['--threads', '1'];
/** As the reference was made. */
const most = ['--temperature', '0', ...one];

test('generate streams the text behind the prompt; timings go to standard error', async () => {
  const [{ text, greedy }] = reference.prompts;
  const { stdout, stderr } = await succeeds(higgs('generate', BOOKS, '-p', text, '-n', '12', ...most));
  assert.ok(stdout.startsWith(text) && stdout.endsWith('\n'));
  assert.ok(greedy.full_text.startsWith(stdout.trimEnd()));
  assert.match(
    stderr,
    /^prompt 14 tokens at .* tokens\/s, generated 12 at .* tokens\/s, ended by length\nalways the most likely token; loaded in \d+ ms\n$/,
  );
});

test('generate --json has the reference’s ids, and timings', async () => {
  for (const { text, ids, greedy } of reference.prompts) {
    const { stdout } = await succeeds(
      higgs('generate', BOOKS, '-p', text, '-n', '64', '--json', '--cache', 'f32', ...most),
    );
    const actual = JSON.parse(stdout);
    assert.equal(actual.promptIds, ids);
    assert.equal(actual.ids, greedy.ids);
    assert.is(actual.text, greedy.text);
    assert.is(actual.finishReason, 'length');
    assert.equal(Object.keys(actual.timings), ['loadMs', 'promptMs', 'generateMs']);
  }
});

test('generate gives the same text for a seed and any number of threads, another for another', async () => {
  const args = ['generate', BOOKS, '-p', 'The', '-n', '20', '--temperature', '1', '--top-p', '0.9'];
  const runs = [
    [...one, '--seed', '1'],
    ['--threads', '2', '--seed', '1'],
    [...one, '--seed', '2'],
  ];
  const [first, second, third] = await Promise.all(runs.map((more) => succeeds(higgs(...args, ...more))));
  assert.is(first.stdout, second.stdout);
  assert.is.not(first.stdout, third.stdout);
});

test('generate takes sampling from generation_config.json, and tells a random seed by which it repeats', async () => {
  const run = async (path: string, ...args: string[]) =>
    JSON.parse((await succeeds(higgs('generate', path, '-p', 'The', '-n', '8', '--json', ...args, ...one))).stdout);
  const first = await run(BOOKS);
  const { seed, ...sampling } = first.sampling;
  assert.equal(sampling, { topK: 50, topP: 0.95, minP: 0, repetitionPenalty: 1, temperature: 0.8 });
  assert.equal((await run(BOOKS, '--seed', String(seed))).ids, first.ids);
  const again = await succeeds(higgs('generate', BOOKS, '-p', 'The', '-n', '8', '--seed', '7', ...one));
  assert.match(again.stderr, /\ntemperature 0\.8, top-k 50, top-p 0\.95, seed 7; loaded in \d+ ms\n$/);
  const other = await chatty();
  const says = async (content: object, ...args: string[]) => {
    await writeFile(join(other, 'generation_config.json'), JSON.stringify(content));
    const { seed, ...actual } = (await run(other, ...args)).sampling;
    return actual;
  };
  const all = { topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };
  assert.equal(await says({ do_sample: false, temperature: 3 }), { ...all, temperature: 0 });
  assert.equal(await says({}), { ...all, topP: 0.95, temperature: 0.8 });
  assert.equal(await says({ do_sample: true, top_k: 20, min_p: 0.1, temperature: 'hot', repetition_penalty: 1.05 }), {
    ...all,
    ...{ topK: 20, minP: 0.1, temperature: 1, repetitionPenalty: 1.05 },
  });
  assert.equal(await says({ do_sample: true, temperature: 0.6, top_p: 0.9 }, '--top-p', '0.5', '--temperature', '2'), {
    ...all,
    ...{ topK: 50, topP: 0.5, temperature: 2 },
  });
});

test('a prompt comes from a file, a pipe, or -p -, without the line break at its end', async () => {
  const path = await folder({ 'prompt.txt': 'The king\n' });
  const args = ['generate', BOOKS, '-n', '6', '--seed', '1', ...one];
  const { stdout } = await succeeds(higgs(...args, '-p', 'The king'));
  assert.ok(stdout.startsWith('The king'));
  assert.is((await succeeds(higgs(...args, '-f', join(path, 'prompt.txt')))).stdout, stdout);
  assert.is((await succeeds(piped('The king\n', ...args))).stdout, stdout);
  assert.is((await succeeds(piped('The king\n', ...args, '-p', '-'))).stdout, stdout);
});

test('--quiet leaves results alone; an error is JSON, too, with --json', async () => {
  const quiet = await succeeds(higgs('generate', BOOKS, '-p', 'The', '-n', '4', '-q', ...one));
  assert.is(quiet.stderr, '');
  assert.match(quiet.stdout, /^The/);
  const { code, stdout, stderr } = await higgs('generate', 'nowhere', '-p', 'x', '--json');
  assert.is(code, 1);
  assert.equal(JSON.parse(stdout).error, {
    ...{ name: 'FileError', message: 'cannot read nowhere: no such file or directory (ENOENT)', exitCode: 1 },
    ...{ path: 'nowhere', code: 'ENOENT' },
  });
  assert.match(stderr, /^higgs: cannot read nowhere/);
  const wrong = await higgs('generate', BOOKS, '--json', '--bits', '4');
  assert.is(wrong.code, 2);
  assert.is(JSON.parse(wrong.stdout).error.exitCode, 2);
});

test('generate ends at a stop string', async () => {
  const [{ text }] = reference.prompts;
  const { stdout } = await succeeds(higgs('generate', BOOKS, '-p', text, '--stop', 'xyz', '--stop', ' past', ...most));
  assert.is(stdout, `${text} the picture of the\n`);
});

test('perplexity of a text agrees with the reference on its first windows', async () => {
  // The first 512 ids of the text: two windows and two ids.
  const text = readFileSync(`${BOOKS}/test.txt`, 'utf8').slice(0, 1500);
  const path = await folder({ 'text.txt': text });
  const { stdout } = await succeeds(higgs('perplexity', BOOKS, '--text', join(path, 'text.txt'), '--json', ...one));
  const actual = JSON.parse(stdout);
  assert.equal([actual.context, actual.stride, actual.bos], [256, 255, 1]);
  assert.is(actual.tokensScored, actual.tokens);
  assert.is(actual.windows, Math.ceil(actual.tokens / 255));
  const window = join(path, 'text.txt');
  const quantized = output();
  await succeeds(quantize(BOOKS, quantized));
  const against = await succeeds(higgs('perplexity', quantized, '--text', window, '--against', BOOKS, ...one));
  assert.match(against.stdout, /^perplexity \d+\.\d{4} ± /);
  assert.match(
    against.stdout,
    new RegExp(`original: perplexity ${actual.perplexity.toFixed(4)}, ratio 1\\.\\d+ ± 0\\.0\\d+\n`),
  );
  assert.match(against.stdout, /KL\(original ‖ model\): mean 0\.\d+ ± .*, max \d/);
  assert.match(against.stdout, /same most likely token: \d\d\.\d\d %\n$/);
});

test('perplexity --tokens takes the beginning of a text', async () => {
  const args = ['perplexity', BOOKS, '--text', `${BOOKS}/test.txt`, '--json', ...one];
  const actual = JSON.parse((await succeeds(higgs(...args, '--tokens', '100'))).stdout);
  assert.is(actual.tokens, 100);
  assert.ok(actual.bitsPerByte > 0.5 && actual.bitsPerByte < 5);
});

test('bench prints speeds and memory', async () => {
  const args = ['bench', BOOKS, '--runs', '1', '--prompt-tokens', '16', '-n', '4', ...one];
  const { stdout } = await succeeds(higgs(...args));
  assert.match(
    stdout,
    /load .* ms\nprompt .* tokens\/s, 16 tokens\ngenerate .* tokens\/s, 4 tokens\nmemory .*\nthreads {3}1\n$/,
  );
  const actual = JSON.parse((await succeeds(higgs(...args, '--json'))).stdout);
  assert.ok(actual.generateTokensPerSecond > 0 && actual.memory.weights > 0);
});

async function chatty(opening = ''): Promise<string> {
  const path = await folder();
  for (const name of ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json']) {
    await cp(join(BOOKS, name), join(path, name));
  }
  const config = JSON.parse(readFileSync(join(BOOKS, 'tokenizer_config.json'), 'utf8'));
  config.chat_template = `{{ bos_token }}{% for m in messages %}{{ m.role | upper }}:\n{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}ASSISTANT:\n${opening}{% endif %}`;
  await writeFile(join(path, 'tokenizer_config.json'), JSON.stringify(config));
  return path;
}

function piped(input: string, ...args: string[]): Promise<Done> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args]);
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    child.stdin.end(input);
  });
}

test('chat answers once what is piped in', async () => {
  const path = await chatty();
  const { stdout, stderr } = await succeeds(piped('My lord, I\n', 'chat', path, '-n', '8', ...one));
  assert.match(stdout, /\S.*\n$/s);
  assert.match(stderr, /generated 8 at/);
});

test('chat keeps what the model thinks apart: hidden, in JSON, and as it comes to a pipe', async () => {
  const path = await chatty('<think>\n');
  const run = (...args: string[]) =>
    succeeds(piped('My lord', 'chat', path, '-n', '8', '--seed', '1', ...args, ...one));
  const plain = await run();
  assert.match(plain.stdout, /\S/);
  assert.is((await run('--thinking', 'show')).stdout, plain.stdout);
  assert.is((await run('--thinking', 'hide')).stdout, '\n');
  const json = JSON.parse((await run('--json')).stdout);
  assert.is(json.thinking, plain.stdout.trim());
  assert.is(json.text, '');
  assert.is(json.ids.length, 8);
  const { code, stderr } = await piped('x', 'chat', path, '--thinking', 'loud');
  assert.is(code, 2);
  assert.match(stderr, /--thinking.*show, hide/);
});

test('generate keeps what the model thinks apart where it is asked to', async () => {
  const run = (...args: string[]) =>
    succeeds(higgs('generate', BOOKS, '-p', 'Thoughts: <think>', '-n', '8', '--temperature', '0', ...args, ...one));
  const plain = await run();
  assert.is((await run('--thinking', 'show')).stdout, plain.stdout);
  assert.is((await run('--thinking', 'hide')).stdout, 'Thoughts: <think>\n');
  const { text, ...rest } = JSON.parse((await run('--json')).stdout);
  assert.not('thinking' in rest);
  const answer = JSON.parse((await run('--thinking', 'hide', '--json')).stdout);
  assert.equal([answer.thinking, answer.text], [text.trim(), '']);
});

test('Ctrl-C ends a generation cleanly: what there is stays, exit code 130', async () => {
  const args = ['generate', BOOKS, '-p', 'The', '-n', '500', '--ignore-eos', '--context', '512', ...one];
  const done = await execute(process.execPath, [CLI, ...args], async (child) => {
    await new Promise((resolve) => child.stdout!.once('data', () => child.stdout!.once('data', resolve)));
    child.kill('SIGINT');
  });
  assert.is(done.code, 130);
  assert.match(done.stdout, /^The.*\n$/s);
  assert.match(done.stderr, /stopped.*\nhiggs: interrupted\n$/s);
});

test('faults of the input: exit code 1, one line that names them', async () => {
  const bare = await folder();
  for (const name of ['config.json', 'model.safetensors']) await cp(join(BOOKS, name), join(bare, name));
  const text = join(await folder({ 'text.txt': 'The text.', 'empty.txt': '' }), 'text.txt');
  const cases: [string[], RegExp][] = [
    [['generate', bare, '-p', 'x'], /cannot read .*tokenizer\.json: there is no such file/],
    [['generate', 'nowhere', '-p', 'x'], /cannot read nowhere/],
    [['generate', BOOKS, '-p', 'x '.repeat(1000)], /prompt must fit the context of 512 tokens: got \d+ tokens/],
    [['generate', BOOKS, '-p', 'x', '--context', '1000'], /context must be an integer from 1 to 512: got 1000/],
    [['chat', BOOKS, '-p', 'x'], /chat must have a chat template: the model has none; let it continue a text instead/],
    [['perplexity', BOOKS, '--text', 'nowhere.txt'], /cannot read nowhere\.txt/],
    [
      ['perplexity', BOOKS, '--text', text.replace('text.txt', 'empty.txt')],
      /text must have a token to score: it has 0/,
    ],
    [['perplexity', BOOKS, '--text', text, '--stride', '256'], /stride must be an integer from 1 to 255: got 256/],
  ];
  for (const [args, message] of cases) assert.match(await fails(higgs(...args, ...one)), message);
});

test('wrong command lines: exit code 2, the option named', async () => {
  const cases: [string[], RegExp][] = [
    [['generate', BOOKS], /standard input must not be empty: give -p TEXT, -f FILE/],
    [['generate', BOOKS, '-p', 'x', '-f', 'y'], /cannot be used with/],
    [['generate', BOOKS, '-p', ''], /--prompt must not be empty/],
    [['generate', BOOKS, '-p', 'x', '--temperature', 'hot'], /--temperature.*must be a number from 0 to 100/],
    [['generate', BOOKS, '-p', 'x', '--top-p', '1.5'], /--top-p/],
    [['generate', BOOKS, '-p', 'x', '--cache', 'f8'], /--cache.*f16, f32/],
    [['generate', BOOKS, '-p', 'x', '-n', '0'], /--max-tokens/],
    [['perplexity', BOOKS], /required option '--text/],
    [['bench', BOOKS, '--runs', 'many'], /--runs/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr, stdout } = await higgs(...args);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.is(stdout, '');
  }
});

test('--help has examples', async () => {
  for (const verb of ['generate', 'chat', 'perplexity', 'bench']) {
    const { stdout } = await succeeds(higgs(verb, '--help'));
    assert.match(stdout, new RegExp(`^Usage: higgs ${verb} `));
    assert.match(stdout, /\nExamples:\n {2}\$ .*higgs /);
  }
});

test.run();
