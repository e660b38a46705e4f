// Every verb lists its input once, opens each of its files once, and instantiates the quantizer's kernels once, whatever its options.

import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CLI, execute, root, temporaryRoot } from './command.ts';

temporaryRoot();

// Runs before the command: counts what it asks of the file system below a folder, and instances of the quantizer.
const COUNTING = `
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';
const counts = {};
const bump = (key) => { counts[key] = (counts[key] ?? 0) + 1; };
for (const name of ['open', 'readdir', 'readFile']) {
  const own = fs[name];
  fs[name] = (path, ...rest) => {
    if (String(path).startsWith(process.env.COUNTED)) bump(name + ' ' + String(path).slice(process.env.COUNTED.length));
    return own(path, ...rest);
  };
}
syncBuiltinESMExports();
const { instantiate } = WebAssembly;
WebAssembly.instantiate = async (...args) => {
  const made = await instantiate.apply(WebAssembly, args);
  if ((made.instance ?? made).exports.encode) bump('kernels');
  return made;
};
if (isMainThread) process.on('exit', () => console.error(JSON.stringify(counts)));
`;

test('every verb opens once', async () => {
  const [model, hook, out] = ['model', 'counting.mjs', 'out'].map((name) => join(root, name));
  await cp('models/books-llama', model, { recursive: true });
  await writeFile(hook, COUNTING);
  const text = join(root, 'text.txt');
  await writeFile(text, 'It was the best of times, it was the worst of times. '.repeat(20));

  async function countsOf(counted: string, ...args: string[]): Promise<Record<string, number>> {
    const command = ['--import', pathToFileURL(hook).href, CLI, ...args];
    process.env.COUNTED = `${counted}/`;
    const done = await execute(process.execPath, command);
    assert.is(done.code, 0, done.stderr);
    return JSON.parse(done.stderr.trim().split('\n').at(-1) as string);
  }

  const quantized = join(root, 'quantized');
  const alphas = join(root, 'alphas.json');
  const one = ['--workers', '1'];
  const short = ['--tokens', '16', '--sequences', '1', '--draws', '1'];
  const runs: [counted: string, ...args: string[]][] = [
    [model, 'inspect', model],
    [model, 'quantize', model, '-o', quantized, ...one],
    [model, 'sensitivity', model, '-o', alphas, ...short],
    [model, 'plan', model, '--alphas', alphas, '--bpw', '3.25'],
    [model, 'plan', model, '--prior', '--size', '6MB'],
    [model, 'quantize', model, '-o', `${out}-1`, '--bpw', '3.25', '--prior', ...one],
    [model, 'quantize', model, '-o', `${out}-2`, '--size', '6MB', '--alphas', alphas, '--text', text, ...one],
    [model, 'generate', model, '--prompt', 'It was', '-n', '2'],
    [model, 'perplexity', model, '--text', text, '--against', quantized],
    [quantized, 'perplexity', model, '--text', text, '--against', quantized],
    [quantized, 'inspect', quantized],
    [quantized, 'verify', quantized, '--against', model],
    [model, 'verify', quantized, '--against', model],
    [quantized, 'dequantize', quantized, '-o', `${out}-3`, ...one],
    [quantized, 'predict', quantized, '--alphas', alphas],
    [quantized, 'bench', quantized, '--prompt-tokens', '4', '-n', '2', '--runs', '1'],
  ];
  for (const [counted, ...args] of runs) {
    const counts = await countsOf(counted, ...args);
    assert.ok(counts['open model.safetensors'], `${args[0]} opens the weights`);
    for (const [key, count] of Object.entries(counts)) assert.is(count, 1, `higgs ${args.join(' ')}: ${key}`);
  }
});

test.run();
