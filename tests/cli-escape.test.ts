// Nothing of a file reaches the terminal but printable characters: the door that all output goes through, and every verb on a
// checkpoint whose names are hostile (Node and what follows it only).

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MESSAGE_LIMIT } from '../src/excerpt.ts';
import { counted, figureText, progressDisplay, table } from '../src/terminal/figures.ts';
import { complain, note, print, printJson, printJsonText, printPiece, say } from '../src/terminal/print.ts';
import { byteSize, gridBits } from '../src/terminal/usage.ts';
import { rawTensor, safetensors } from './checkpoints.ts';
import {
  type Done,
  execute,
  folder,
  higgs,
  output,
  quantize,
  root,
  succeeds,
  temporaryRoot,
  weight,
} from './command.ts';

temporaryRoot();

// Every control character but newline, turning marks, separators, a tag beyond 16 bits, a lone surrogate.
const controls = Array.from({ length: 0xa0 }, (_, code) => String.fromCharCode(code)).filter((c) => /\p{Cc}/u.test(c));
const HOSTILE = `a\u001b]0;owned\u0007b${controls.join('')}\u202e\u2066\u200f\u2028\u2029\u{e0041}\ud800c`;
const UNPRINTABLE = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

type Stream = 'stdout' | 'stderr';

// What `run` writes to a stream of this process.
function captured(stream: Stream, run: () => void, { isTTY = false } = {}): string {
  const { write, isTTY: was } = process[stream];
  let text = '';
  process[stream].write = ((piece: string) => {
    text += piece;
    return true;
  }) as typeof write;
  process[stream].isTTY = isTTY;
  try {
    run();
  } finally {
    process[stream].write = write;
    process[stream].isTTY = was;
  }
  return text;
}

test('print() and complain() let newlines through and no other unprintable character', () => {
  for (const [stream, door] of [
    ['stdout', print],
    ['stderr', complain],
  ] as const) {
    const text = captured(stream, () => door(HOSTILE));
    assert.not.match(text, UNPRINTABLE);
    assert.match(
      text,
      /^a\\u001b\]0;owned\\u0007b\\u0000\\u0001.*\n.*\\u202e\\u2066\\u200f\\u2028\\u2029\\u\{e0041\}\\ud800c\n?$/,
    );
  }
});

test('say() and note() write one line, of a bounded length', () => {
  for (const door of [say, note]) {
    const text = captured('stderr', () => door(HOSTILE));
    assert.not.match(text.slice(0, -1), /\n|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    assert.ok(text.endsWith('\n'));
    const long = captured('stderr', () => door(`begin ${'x'.repeat(1e6)} end`));
    assert.ok(long.length < MESSAGE_LIMIT + 20, `${long.length} characters`);
    assert.match(long, /begin x+ … x+ end\n$/);
  }
});

test('printJson() writes no unprintable character, and what it writes parses to the value', () => {
  const value = { [HOSTILE]: [HOSTILE, 'é 中 😀'] };
  for (const text of [
    captured('stdout', () => printJson(value)),
    captured('stdout', () => printJsonText(`${JSON.stringify(value, null, 2)}\n`)),
  ]) {
    assert.not.match(text, UNPRINTABLE);
    assert.equal(JSON.parse(text), value);
    assert.ok(text.includes('é 中 😀'));
  }
});

test('printPiece() writes the exact text to a pipe; on a terminal no sequence survives, in one piece or several', () => {
  const text = `one\ttwo\nthree ${HOSTILE}\u001b[2J\u009b31m👩‍👩‍👧`;
  const inPieces = (isTTY: boolean) =>
    captured(
      'stdout',
      () => {
        for (const piece of text) printPiece(piece);
      },
      { isTTY },
    );
  assert.is(inPieces(false), text);
  const shown = captured('stdout', () => printPiece(text), { isTTY: true });
  assert.is(inPieces(true), shown);
  assert.not.match(shown, /[^\P{Cc}\n\t]/u);
  assert.ok(
    shown.startsWith('one\ttwo\nthree a\\u001b]0;owned\\u0007b') && shown.endsWith('\\u001b[2J\\u009b31m👩‍👩‍👧'),
  );
});

test('table() escapes its cells, keeps them on their lines, and pads no row to one long name', () => {
  const text = table(
    ['name', 'n'],
    [[HOSTILE, '1'], ['x'.repeat(4000), '2'], ...Array.from({ length: 1000 }, () => ['b', '3'])],
  );
  assert.not.match(text, UNPRINTABLE);
  assert.is(text.split('\n').length, 1004);
  assert.ok(text.length < 300_000, `${text.length} characters`);
});

test('progressDisplay() escapes the tensor at work', () => {
  const text = captured(
    'stderr',
    () => {
      const progress = progressDisplay('load');
      const step = { done: 1, total: 10, unit: 'bytes', bytes: 1, tensor: HOSTILE } as const;
      progress.update(step);
      progress.update({ ...step, done: 2 });
      progress.stop();
    },
    { isTTY: true },
  );
  assert.ok(text.includes('load'), text);
  for (const sequence of ['\u001b]0;', '\u009b', '\u202e', '\u0007']) assert.not.ok(text.includes(sequence));
});

test('every verb escapes the names of a checkpoint, in tables, reports, warnings and errors', async () => {
  const name = (kind: string) => `model.layers.0.\u001b]0;owned\u0007\u009b31m\n\u202e${kind}_proj.weight`;
  const tensors = {
    [name('q')]: weight(64, 64, 1),
    [name('k')]: { ...rawTensor('F32', [16, 64], 4096), bytes: new Uint8Array(new Float32Array(1024).fill(1).buffer) },
    [`${name('v')}\u007f.norm`]: rawTensor('U8', [3], 3),
  };
  const input = await folder({ 'model.safetensors': safetensors(tensors, { '\u001b[m': '\u001b[m' }) });
  const faulty = await folder({
    'model.safetensors': safetensors({ ...tensors, [name('o')]: rawTensor('X\u001b', [2, 2], 4) }),
  });
  const [out, plan] = [output(), join(root, 'plan.json')];
  await succeeds(higgs('plan', input, '--bpw', '5', '--uniform', '--group', '64', '-o', plan));
  await succeeds(quantize(input, out, '--group', '64'));
  const runs: Done[] = await Promise.all([
    higgs('inspect', input),
    higgs('inspect', out),
    higgs('verify', out, '--against', input),
    higgs('plan', input, '--bpw', '5', '--uniform', '--group', '64'),
    higgs('plan', input, '--bpw', '5', '--alphas', plan),
    higgs('predict', input, '--plan', plan),
    higgs('quantize', input, '--dry-run'),
    quantize(input, output(), '--plan', plan),
    higgs('dequantize', out, '-o', output()),
    higgs('generate', input, '-p', 'x'),
    higgs('sensitivity', input, '--dry-run'),
    quantize(faulty, output(), '--include', '_proj'),
    higgs('inspect', input, `--\u001b[31m`),
    higgs('inspect', `${input}\u001b[31m\n\u0085`),
  ]);
  for (const { stdout, stderr } of runs) {
    assert.not.match(stdout, UNPRINTABLE);
    assert.not.match(stderr, UNPRINTABLE);
    assert.not.match(stdout + stderr, /^(\\u202e)?[qkvo]_proj/m, 'no line begins within a name');
  }
  assert.equal(
    runs.map(({ code }) => code),
    [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 2, 1],
  );
  for (const { stdout } of runs.slice(0, 8)) assert.ok(stdout === '' || stdout.includes('\\u001b]0;owned'), stdout);
  const listed = await succeeds(higgs('inspect', input, '--json'));
  assert.not.match(listed.stdout, UNPRINTABLE);
  assert.equal(
    JSON.parse(listed.stdout).tensors.map((tensor: { name: string }) => tensor.name),
    Object.keys(tensors),
  );
});

test('texts are regular files: devices, pipes, files without a size and directories are refused in one sentence', async () => {
  const text = (path: string) => higgs('perplexity', 'models/books-llama', '--text', path);
  const cases: [string, RegExp][] = [
    ['/dev/zero', /^higgs: cannot read \/dev\/zero: it is a device, not a regular file\n$/],
    [root, /: it is a directory \(EISDIR\)\n$/],
  ];
  if (existsSync('/proc/self/status')) cases.push(['/proc/self/status', /has more bytes than its size says/]);
  for (const [path, says] of cases) {
    assert.match((await text(path)).stderr, says);
    assert.match((await higgs('plan', 'models/books-llama', '--bpw', '4', '--alphas', path)).stderr, says);
    assert.match((await higgs('predict', 'models/books-llama', '--plan', path)).stderr, says);
  }
  const huge = join(root, 'huge.txt');
  await execute('truncate', ['-s', '300M', huge]);
  assert.match(
    (await text(huge)).stderr,
    /huge\.txt: it must have at most 268435456 bytes, and has 314572800 or more\n$/,
  );
});

test('a verb that runs a model says to give the directory when it is given the file', async () => {
  for (const args of [
    ['generate', '-p', 'x'],
    ['perplexity', '--text', 'README.md'],
    ['bench'],
    ['sensitivity', '--dry-run'],
  ]) {
    const [verb, ...rest] = args;
    const { code, stderr } = await higgs(verb, 'models/books-llama/model.safetensors', ...rest);
    assert.is(code, 1);
    assert.match(
      stderr,
      /^higgs: model must be a directory, with config\.json beside the weights: give .*books-llama, not the file\n$/,
    );
  }
});

test('byteSize() and gridBits() say what was meant', () => {
  assert.is(byteSize('1000'), 1000);
  assert.is(byteSize('1.5kB'), 1500);
  assert.is(byteSize('5B'), 5);
  assert.throws(() => byteSize('2.5'), /must have a unit: 2\.5 would be bytes, 2\.5GB or 2\.5MB is a size/);
  assert.is(gridBits('4'), 4);
  assert.throws(() => gridBits('8'), /must be 2, 3, 4, 5 or 6\. .*--grid p1n256 has 8 bits/);
});

test('help suggests the verb that was meant', async () => {
  const { code, stderr } = await higgs('help', 'quantise');
  assert.is(code, 2);
  assert.match(stderr, /unknown command 'quantise'\n\(Did you mean quantize\?\)/);
  assert.match((await succeeds(higgs('help', 'plan'))).stdout, /^Usage: higgs plan /);
  assert.match((await succeeds(higgs('help'))).stdout, /^Usage: higgs \[options\] \[command\]/);
});

test('counts have a singular, and figures no exponent', () => {
  assert.equal(
    [counted(0, 'tensor'), counted(1, 'tensor'), counted(2, 'tensor')],
    ['0 tensors', '1 tensor', '2 tensors'],
  );
  assert.equal([0.01234, 9.996, 99.96, 999.4, 999.6, 2130.4, 1e7].map(figureText), [
    '0.0123',
    '10.0',
    '100',
    '999',
    '1000',
    '2130',
    '10000000',
  ]);
});

test.run();
