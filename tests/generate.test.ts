// Generation over a decoder: stops, streams, prefixes of the cache, aborts, two at once; and embeddings.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, UnsupportedError } from '../src/errors.ts';
import { folderOf } from '../src/source/memory.ts';
import { embed } from '../src/text/embed.ts';
import { type GenerateOptions, type Generation, generate } from '../src/text/generate.ts';
import type { Language } from '../src/text/language.ts';
import { stopFilter } from '../src/text/stop.ts';
import { assembleModel, type Model } from '../src/text/textmodel.ts';
import { fakeLanguage, hashed, scripted } from './fake-language.ts';
import { BEGIN, byteLevelContent, byteLevelTokenizer } from './tokenizers.ts';

const test = suite('generate');
const tokenizer = byteLevelTokenizer();
const idsOf = (text: string) => tokenizer.encode(text);
const PROMPT = idsOf('hello world');

function run(language: Language, prompt: readonly number[], options: GenerateOptions = {}): Generation {
  return generate(language, (behind) => tokenizer.stream(behind), prompt, new Set(language.config.eos), options);
}

async function all(generation: Generation): Promise<string[]> {
  const pieces: string[] = [];
  for await (const piece of generation) pieces.push(piece);
  return pieces;
}

const says = (text: string, more: number[] = [BEGIN + 1]) =>
  fakeLanguage({
    vocabSize: tokenizer.size,
    eos: [BEGIN + 1],
    logitsOf: scripted([...idsOf(text), ...more], PROMPT.length),
  });

test('generate() streams what the model says, up to a token that ends texts', async () => {
  const generation = run(says(' world, hello'), PROMPT);
  assert.is(generation.result, undefined);
  const pieces = await all(generation);
  assert.is(pieces.join(''), ' world, hello');
  assert.ok(pieces.length > 5);
  const { promptMs, generateMs, ...result } = generation.result!;
  assert.equal(result, {
    promptIds: PROMPT,
    ids: idsOf(' world, hello'),
    text: ' world, hello',
    finishReason: 'eos',
    reused: 0,
  });
  assert.ok(promptMs >= 0 && generateMs >= 0);
});

test('generate() returns the result, and calls onToken with every token', async () => {
  const drawn: [number, string][] = [];
  const generation = run(says('é!'), PROMPT, { onToken: (id, piece) => drawn.push([id, piece]) });
  const steps: unknown[] = [];
  for (;;) {
    const { done, value } = await generation.next();
    steps.push(value);
    if (done) break;
  }
  assert.equal(steps.slice(0, -1), ['é', '!']);
  assert.is(steps.at(-1), generation.result);
  assert.equal(
    drawn.map(([, piece]) => piece),
    ['', 'é', '!'],
  );
  assert.equal(
    drawn.map(([id]) => id),
    idsOf('é!'),
  );
});

test('generate() ends at maxTokens and gives what is cut as U+FFFD', async () => {
  const generation = run(says('a😀'), PROMPT, { maxTokens: 2 });
  assert.equal(await all(generation), ['a', '\ufffd']);
  assert.is(generation.result!.finishReason, 'length');
  assert.is(generation.result!.ids.length, 2);
});

test('generate() goes on behind tokens that end texts if told so', async () => {
  const generation = run(says('a', [BEGIN + 1, ...idsOf('b')]), PROMPT, { ignoreEos: true, maxTokens: 3 });
  assert.is((await all(generation)).join(''), 'ab');
});

test('generate() fills the context: one token more than has a place', async () => {
  const language = fakeLanguage({ vocabSize: tokenizer.size, contextLength: 8 });
  const generation = run(language, PROMPT.slice(0, 3), { maxTokens: 100 });
  await all(generation);
  assert.is(generation.result!.ids.length, 6);
  assert.is(generation.result!.finishReason, 'length');
  assert.is(language.closed[0].length, 8);
});

test('generate() goes on with contextShift where the context is full: behind the first id and the later half', async () => {
  const language = fakeLanguage({ vocabSize: tokenizer.size, contextLength: 8 });
  const prompt = PROMPT.slice(0, 3);
  const generation = run(language, prompt, { maxTokens: 30, contextShift: true });
  await all(generation);
  const { ids, finishReason } = generation.result!;
  assert.equal([ids.length, finishReason], [30, 'length']);
  const text = [...prompt, ...ids];
  // Nine ids do not fit: five of them are left, and four more make nine again.
  assert.equal(language.closed[0], text.slice(0, 8));
  assert.equal(language.closed[1], [text[0], ...text.slice(5, 12)]);
  assert.ok(language.closed.every((closedIds) => closedIds.length <= 8 && closedIds[0] === text[0]));
});

test('generate() never gives out a stop string, however tokens split it', async () => {
  for (const [stop, expected] of [
    ['world', ' '],
    [['xyz', 'wor', ', '], ' '],
    ['rld, h', ' wo'],
    ['lo', ' world, hel'],
    ['llo!', ' world, hello'],
    ['hellos', ' world, hello'],
  ] as [string | string[], string][]) {
    const generation = run(says(' world, hello'), PROMPT, { stop });
    assert.is((await all(generation)).join(''), expected, String(stop));
    assert.is(generation.result!.text, expected);
    assert.is(generation.result!.finishReason, expected === ' world, hello' ? 'eos' : 'stop');
  }
});

test('stopFilter() gives text as soon as it can begin no stop string', () => {
  const filter = stopFilter(['###', '\n\nUser:']);
  const steps = ['a#', '#b', '\n', '\nUse', 'd', '##'].map((text) => filter.push(text).text);
  assert.equal(steps, ['a', '##b', '', '', '\n\nUsed', '']);
  assert.is(filter.end(), '##');
  assert.equal(stopFilter(['ab', 'b']).push('xxab'), { text: 'xx', stopped: true });
  assert.throws(() => stopFilter(['']), /stop must be strings of at least one character/);
});

test('generate() is the same for a seed, and its penalty counts the prompt', async () => {
  const texts: string[] = [];
  for (const seed of [1, 1, 2]) {
    const language = fakeLanguage({ vocabSize: tokenizer.size });
    texts.push((await all(run(language, PROMPT, { temperature: 1, seed, maxTokens: 20 }))).join(''));
  }
  assert.is(texts[0], texts[1]);
  assert.is.not(texts[0], texts[2]);
  const row = new Float32Array(tokenizer.size).fill(1);
  row[PROMPT[0]] = 2;
  row[7] = 1.5;
  const constant = () => fakeLanguage({ vocabSize: tokenizer.size, logitsOf: () => row });
  const plain = run(constant(), PROMPT, { maxTokens: 1 });
  const penalised = run(constant(), PROMPT, { maxTokens: 2, repetitionPenalty: 1.6 });
  await all(plain);
  await all(penalised);
  assert.equal(plain.result!.ids, [PROMPT[0]]);
  assert.is(penalised.result!.ids[0], 7);
  assert.is.not(penalised.result!.ids[1], 7);
});

test('generate() runs only what the cache has not, and at least one token', async () => {
  const language = fakeLanguage({ vocabSize: tokenizer.size });
  const first = run(language, PROMPT, { maxTokens: 3 });
  await all(first);
  assert.is(language.ran, PROMPT.length + 2);
  const again = run(language, PROMPT, { maxTokens: 1 });
  await all(again);
  assert.is(language.ran, PROMPT.length + 3);
  assert.is(again.result!.reused, PROMPT.length - 1);
  assert.is(again.result!.ids[0], first.result!.ids[0]);
  const other = run(language, [...PROMPT.slice(0, 2), 5, 6], { maxTokens: 1 });
  await all(other);
  assert.is(other.result!.reused, 2);
  assert.is(language.ran, PROMPT.length + 5);
});

test('generate() ends cleanly when aborted: before, in the prompt, between tokens', async () => {
  const early = new AbortController();
  early.abort();
  const none = run(says('abc'), PROMPT, { signal: early.signal });
  assert.equal(await all(none), []);
  assert.is(none.result!.finishReason, 'aborted');
  assert.equal(none.result!.ids, []);

  const language = fakeLanguage({ vocabSize: 40, contextLength: 4096 });
  const during = new AbortController();
  const long = run(language, new Array(4000).fill(1), { signal: during.signal });
  setTimeout(() => during.abort(), 0);
  assert.equal(await all(long), []);
  assert.is(language.ran, 0);
  assert.is(long.result!.finishReason, 'aborted');

  const late = new AbortController();
  const some = run(says('abcdef'), PROMPT, {
    signal: late.signal,
    onToken: (_, piece) => piece === 'b' && late.abort(),
  });
  assert.equal(await all(some), ['a', 'b']);
  assert.is(some.result!.finishReason, 'aborted');
});

test('two generations at once give what each gives alone', async () => {
  const prompts = [PROMPT, [...PROMPT.slice(0, 3), 9, 8, 7]];
  const options = { maxTokens: 12, temperature: 0.7, seed: 3 };
  const alone = [];
  for (const prompt of prompts)
    alone.push(await all(run(fakeLanguage({ vocabSize: tokenizer.size }), prompt, options)));
  const language = fakeLanguage({ vocabSize: tokenizer.size });
  const both = await Promise.all(prompts.map((prompt) => all(run(language, prompt, options))));
  assert.equal(both, alone);
});

test('a generation that is left early leaves the model usable', async () => {
  const language = fakeLanguage({ vocabSize: tokenizer.size });
  for await (const _ of run(language, PROMPT)) break;
  const generation = run(language, PROMPT, { maxTokens: 2 });
  await all(generation);
  assert.is(generation.result!.ids.length, 2);
});

test('generate() names a prompt and options that cannot be', () => {
  const language = fakeLanguage({ vocabSize: 40, contextLength: 8 });
  const wrong: [number[], GenerateOptions, RegExp][] = [
    [[], {}, /^prompt must have at least one token: it is empty$/],
    [new Array(9).fill(1), {}, /^prompt must fit the context of 8 tokens: got 9 tokens$/],
    [[1, 40], {}, /^prompt must be token ids from 0 to 39: got 40 at 1$/],
    [[-1], {}, /got -1 at 0/],
    [[1.5], {}, /got 1.5 at 0/],
    [[1], { maxTokens: 0 }, /maxTokens must be an integer of at least 1: got 0/],
    [[1], { stop: '' }, /stop must be strings of at least one character/],
    [[1], { topP: 2 }, /topP/],
  ];
  for (const [prompt, options, message] of wrong) {
    assert.throws(
      () => run(language, prompt, options),
      (error: Error) => error instanceof RangeError && message.test(error.message),
    );
  }
});

// --- with a tokenizer and a template

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value)).buffer as ArrayBuffer;
const folder = folderOf('m', {
  'tokenizer.json': json(byteLevelContent()),
  'tokenizer_config.json': json({
    eos_token: '<|end|>',
    chat_template:
      '{% for m in messages %}<|begin|>{{ m.role }}: {{ m.content }}<|end|>{% endfor %}<|begin|>assistant: ',
  }),
});
const modelOf = (language: Language): Promise<Model> => assembleModel(folder, language);

test('generate() tells the divergence from another model over the same tokens, and says the same beside it', async () => {
  const vocabSize = tokenizer.size;
  const other = fakeLanguage({ vocabSize, logitsOf: hashed(2) });
  const options = { maxTokens: 6, temperature: 1, seed: 3 };
  const alone = run(fakeLanguage({ vocabSize }), PROMPT, options);
  const counts: number[] = [];
  const beside = run(fakeLanguage({ vocabSize }), PROMPT, {
    ...options,
    against: other,
    onDivergence: (kl) => counts.push(kl),
  });
  assert.equal(await all(beside), await all(alone));
  const { ids } = beside.result!;
  const softmax = (row: Float32Array) => {
    const sum = row.reduce((total, logit) => total + Math.exp(logit), 0);
    return [...row].map((logit) => Math.exp(logit) / sum);
  };
  const expected = ids.map((_, i) => {
    const before = [...PROMPT, ...ids.slice(0, i)];
    const [p, q] = [hashed(2), hashed()].map((logitsOf) => softmax(logitsOf(before, vocabSize)));
    return p.reduce((sum, share, j) => sum + share * Math.log(share / q[j]), 0);
  });
  assert.is(counts.length, ids.length);
  for (const [i, kl] of counts.entries())
    assert.ok(Math.abs(kl - expected[i]) < 1e-5 && kl > 0, `${kl} ${expected[i]}`);
  assert.is(other.closed.length, 1);
  const wide = fakeLanguage({ vocabSize: vocabSize + 1 });
  const refused = () => run(fakeLanguage({ vocabSize }), PROMPT, { against: wide });
  assert.throws(
    refused,
    `both models must have the same vocabulary: they have ${vocabSize} and ${vocabSize + 1} tokens`,
  );
});

test('generate() beside another model ends cleanly when aborted while the other one opens', async () => {
  const vocabSize = tokenizer.size;
  const stop = new AbortController();
  const other = fakeLanguage({ vocabSize });
  const slow: Language = {
    ...other,
    async open() {
      stop.abort(new Error('enough'));
      throw stop.signal.reason;
    },
  };
  const language = fakeLanguage({ vocabSize });
  const generation = run(language, PROMPT, { against: slow, signal: stop.signal });
  assert.equal(await all(generation), []);
  assert.is(generation.result!.finishReason, 'aborted');
  assert.is(language.closed.length, 1);
});

test('Model.generate() takes text or ids', async () => {
  const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size }));
  const text = await all(model.generate('hello world', { maxTokens: 5 }));
  const ids = await all(model.generate(Uint32Array.from(PROMPT), { maxTokens: 5 }));
  assert.equal(text, ids);
  assert.throws(() => model.generate(''), /prompt must have at least one token: it is empty/);
});

test('Model.chat() writes the conversation and ends at the tokenizer’s end token', async () => {
  const prompt = tokenizer.encode('<|begin|>user: hello<|end|><|begin|>assistant: ');
  const logitsOf = scripted([...idsOf('hello w'), BEGIN + 1], prompt.length);
  const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size, logitsOf }));
  const generation = model.chat([{ role: 'user', content: 'hello' }]);
  assert.is((await all(generation)).join(''), 'hello w');
  assert.equal(generation.result!.promptIds, prompt);
  assert.is(generation.result!.finishReason, 'eos');
});

test('Model.chat() ends at any of the ids that the model’s configuration has, and at the tokenizer’s end token', async () => {
  const prompt = tokenizer.encode('<|begin|>user: hello<|end|><|begin|>assistant: ');
  const eos = idsOf('w x').slice(-1).concat(BEGIN);
  for (const end of [...eos, BEGIN + 1]) {
    const logitsOf = scripted([...idsOf('hello'), end], prompt.length);
    const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size, eos, logitsOf }));
    const generation = model.chat([{ role: 'user', content: 'hello' }]);
    assert.is((await all(generation)).join(''), 'hello');
    assert.is(generation.result!.finishReason, 'eos');
  }
});

test('generate() writes special tokens out if told so', async () => {
  const logitsOf = scripted([...idsOf('hello'), BEGIN, ...idsOf('hello'), BEGIN + 1], PROMPT.length);
  for (const special of [false, true]) {
    const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size, logitsOf }));
    assert.is(
      (await all(model.generate(PROMPT, { special }))).join(''),
      special ? 'hello<|begin|>hello' : 'hellohello',
    );
  }
});

test('Model without a tokenizer or a template says what is missing when it is needed', async () => {
  const bare = await assembleModel(folderOf('m', {}), fakeLanguage());
  assert.throws(
    () => bare.generate('x'),
    (error: Error) =>
      error instanceof FileError && error.message === 'cannot read m/tokenizer.json: there is no such file',
  );
  assert.is((await bare.logits([1, 2])).length, 40);
  const plain = await assembleModel(folderOf('m', { 'tokenizer.json': json(byteLevelContent()) }), fakeLanguage());
  assert.throws(
    () => plain.chat([{ role: 'user', content: 'x' }]),
    (error: Error) => error instanceof UnsupportedError && /continue a text instead/.test(error.message),
  );
});

test('Model.logits() runs from the beginning, whatever is cached', async () => {
  const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size }));
  await all(model.generate('hello', { maxTokens: 2 }));
  const [last, rows] = await Promise.all([model.logits([1, 2, 3]), model.logits([1, 2, 3], { rows: 'all' })]);
  assert.equal(last, hashed()([1, 2, 3], tokenizer.size));
  assert.equal(rows.subarray(2 * tokenizer.size), last);
  assert.equal(rows.subarray(0, tokenizer.size), hashed()([1], tokenizer.size));
  assert.match((await model.logits([]).catch((error) => error)).message, /ids must have at least one token/);
  assert.match((await model.logits([9999]).catch((error) => error)).message, /ids must be token ids/);
});

test('embed() is the mean of the hidden states, of length one if asked for', async () => {
  const language = fakeLanguage();
  assert.equal(await embed(language, [1, 2, 6]), Float32Array.of(3, 6, 9));
  const unit = await embed(language, [1, 2, 6], { normalize: true });
  assert.ok(Math.abs(Math.hypot(...unit) - 1) < 1e-6);
  const model = await modelOf(fakeLanguage({ vocabSize: tokenizer.size }));
  assert.equal(await model.embed('hello'), await model.embed(idsOf('hello')));
  assert.match((await embed(language, []).catch((error) => error)).message, /text must have at least one token/);
});

test.run();
