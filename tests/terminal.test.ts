// What people read and type, as functions: layers × kinds, the words of a conversation, names that are nearly right, scripts of shells
// (Node and what follows it only).

import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readLine } from '../src/terminal/conversation.ts';
import { percentText, precise, progressDisplay } from '../src/terminal/figures.ts';
import { layerTables } from '../src/terminal/layers.ts';
import { bash, fish, type Verb, zsh } from '../src/terminal/shells.ts';
import { similarNames } from '../src/terminal/usage.ts';
import { withinContext } from '../src/text/context.ts';

const grid = (layer: number, kind: string, value: string) => ({ name: `model.layers.${layer}.${kind}.weight`, value });

test('progress is a line every ten seconds where there is no terminal, with the rate of the last windows, though work is counted in large steps', () => {
  const { now } = performance;
  const { write, isTTY } = process.stderr;
  let seconds = 0;
  let said = '';
  performance.now = () => seconds * 1000;
  process.stderr.isTTY = false;
  process.stderr.write = (text: string) => {
    said += text;
    return true;
  };
  try {
    const progress = progressDisplay('encode');
    // A hundred tokens every eight seconds, told of every second.
    for (; seconds <= 30; seconds++) {
      const done = Math.floor(seconds / 8) * 100;
      progress.update({ done, total: 1000, unit: 'tokens', bytes: 0, tensor: 'a' });
    }
    progress.stop();
  } finally {
    performance.now = now;
    process.stderr.write = write;
    process.stderr.isTTY = isTTY;
  }
  assert.equal(said.match(/\d+ %/g), ['10 %', '20 %', '30 %']);
  assert.not.match(said, / 0 tokens|…/);
});

test('layerTables() joins layers that have the same, counts what experts have, and puts the rest below', () => {
  const tensors = [0, 1, 2, 3].flatMap((layer) => [
    grid(layer, 'self_attn.q_proj', layer === 0 ? 't4' : 't3'),
    grid(layer, 'mlp.down_proj', 't2'),
    ...[0, 1, 2].map((expert) =>
      grid(layer, `mlp.experts.${expert}.down_proj`, expert === 0 && layer === 3 ? 't4' : 't2'),
    ),
  ]);
  assert.is(
    layerTables([...tensors, { name: 'lm_head.weight', value: 'p1n16' }], 80),
    [
      'layer  q_proj  mlp.down_proj  *.down_proj',
      '─────  ──────  ─────────────  ────────────',
      '0      t4      t2             t2',
      '1–2    t3      t2             t2',
      '3      t3      t2             t4 ×1, t2 ×2',
      '',
      'tensor          grid',
      '──────────────  ─────',
      'lm_head.weight  p1n16',
    ].join('\n'),
  );
});

test('layerTables() is cut where it is wider than the terminal', () => {
  const kinds = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];
  const tensors = kinds.map((kind) => grid(0, kind, 'p2n256'));
  for (const width of [40, 24]) {
    const text = layerTables(tensors, width);
    for (const line of text.split('\n')) assert.ok(line.length <= width, line);
    for (const kind of kinds) assert.ok(text.includes(kind));
  }
});

test('readLine() tells turns from commands, and refuses what it does not know', () => {
  assert.equal(readLine('What is /usr/bin?'), { kind: 'turn', text: 'What is /usr/bin?' });
  assert.equal(readLine('/usr/bin is what?'), { kind: 'turn', text: '/usr/bin is what?' });
  assert.equal(readLine(' /help'), { kind: 'turn', text: ' /help' });
  assert.equal(readLine('  '), { kind: 'nothing' });
  for (const line of ['/exit', '/bye', '/quit ']) assert.equal(readLine(line), { kind: 'exit' });
  assert.equal(readLine('/set top_p 0.5'), { kind: 'set', key: 'topP', value: 0.5 });
  assert.equal(readLine('/set --max-tokens 7'), { kind: 'set', key: 'maxTokens', value: 7 });
  assert.equal(readLine('/set system Be brief.'), { kind: 'set', key: 'system', value: 'Be brief.' });
  assert.equal(readLine('/set'), { kind: 'show' });
  assert.equal(readLine('/save a b.json'), { kind: 'save', file: 'a b.json' });
  const refused = (line: string) => {
    const typed = readLine(line);
    return typed.kind === 'refused' ? typed.reason : typed.kind;
  };
  assert.match(refused('/hlep'), /^\/hlep is not a command\. Did you mean \/help\?/);
  assert.match(refused('/set temprature 1'), /Did you mean temperature\?/);
  assert.match(refused('/set temperature hot'), /temperature must be a number from 0 to 100: got hot/);
  assert.match(refused('/set temperature'), /temperature must have a value/);
  assert.match(refused('/set thinking loud'), /thinking must be show or hide: got loud/);
  assert.match(refused('/save'), /a file’s name/);
});

test('withinContext() forgets the oldest turns, neither the system’s words nor the last turn', () => {
  const say = (role: string, content: string) => ({ role, content });
  const messages = [
    ...[say('system', '1'), say('user', '22'), say('assistant', '333'), say('user', '4444'), say('assistant', '5')],
    say('user', '666666'),
  ];
  const count = (some: readonly { content: string }[]) => some.reduce((sum, { content }) => sum + content.length, 0);
  const left = (most: number) => {
    const { messages: kept, forgotten } = withinContext(messages, count, most);
    return [kept.map(({ content }) => content[0]).join(''), forgotten];
  };
  assert.equal(left(17), ['123456', 0]);
  assert.equal(left(16), ['1456', 1]);
  assert.equal(left(11), ['16', 2]);
  assert.equal(left(1), ['16', 2]);
});

test('similarNames() gives the names that are most alike, and none that are far', () => {
  const names = ['t4', 't4c', 'p2n256', 'p2n16', 'quantize'];
  assert.equal(similarNames('p2n265', names), ['p2n256']);
  assert.equal(similarNames('Quantise', names), ['quantize']);
  assert.equal(similarNames('t', names), ['t4']);
  assert.equal(similarNames('llama', names), []);
});

test('precise() and percentText() have digits and no exponents', () => {
  assert.equal(
    [0.00004119, 0.08, 3.25, 2130.4, 999.6].map((value) => precise(value, 3)),
    ['0.0000412', '0.0800', '3.25', '2130', '1000'],
  );
  assert.equal([0.334, 0.024, 1].map(percentText), ['33 %', '2 %', '100 %']);
});

const verbs: Verb[] = [
  {
    name: 'quantize',
    about: 'don’t worry: it’s [fine]',
    words: [],
    options: [
      { flags: ['--grid'], about: 'a grid', takesValue: true, values: ['t4', 't3'] },
      { flags: ['--output', '-o'], about: "where it's written", takesValue: true, values: [] },
      { flags: ['--force'], about: 'replace', takesValue: false, values: [] },
    ],
  },
  { name: 'help', about: 'help', words: ['quantize'], options: [] },
];

test('bash() completes verbs, options and grids', () => {
  const complete = (...words: string[]) => {
    const script = `${bash(verbs)}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _higgs; echo "\${COMPREPLY[@]}"`;
    const { stdout, status } = spawnSync('bash', ['--norc', '-c', script], { encoding: 'utf8' });
    assert.is(status, 0);
    return stdout.trim();
  };
  assert.is(complete('higgs', 'q'), 'quantize');
  assert.is(complete('higgs', 'quantize', '--fo'), '--force');
  assert.is(complete('higgs', 'quantize', '--grid', ''), 't4 t3');
  assert.is(complete('higgs', 'quantize', '-o', 'package.js'), 'package.json');
  assert.is(complete('higgs', 'help', ''), 'quantize');
});

test('zsh() and fish() name verbs, options and values', () => {
  assert.match(zsh(verbs), /'quantize:don’t worry\\: it’s \\\[fine\\\]'/);
  assert.match(zsh(verbs), /'\*--grid\[a grid\]:value:\(t4 t3\)'/);
  assert.match(fish(verbs), /__fish_seen_subcommand_from quantize' -l grid -x -a 't4 t3' -d 'a grid'/);
  assert.match(fish(verbs), /-l output -s o -r -d 'where it\\'s written'/);
});

test.run();
