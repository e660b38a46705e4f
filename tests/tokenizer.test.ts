// Text to ids and back: the embedded model's vocabulary against its reference, byte-level vocabularies, streams, broken files.

import { existsSync, readFileSync } from 'node:fs';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, FormatError, UnsupportedError } from '../src/errors.ts';
import { openFolder } from '../src/source/file.ts';
import { folderOf } from '../src/source/memory.ts';
import { createTokenizer, openTokenizer, type Tokenizer } from '../src/text/tokenizer.ts';
import { BEGIN, byteCharacters, byteLevelContent, byteLevelTokenizer } from './tokenizers.ts';

const test = suite('tokenizer');
const BOOKS = 'models/books-llama';
const reference = JSON.parse(readFileSync(`${BOOKS}/reference.json`, 'utf8'));
const jsonOf = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const TEXTS = [
  '',
  ' ',
  'a',
  '  two  spaces\n\nlines\t',
  'naïve café — “quotes”',
  '你好，世界',
  '😀👩‍👩‍👧 family',
  '\u0000\u0007 \ufeff',
];
let books: Tokenizer;

async function open(path: string): Promise<Tokenizer> {
  const folder = await openFolder(path);
  try {
    return await openTokenizer(folder);
  } finally {
    await folder.close();
  }
}

test.before(async () => {
  books = await open(BOOKS);
});

for (const name of ['test', 'valid']) {
  test(`encode() of ${name}.txt as one string gives the reference's ids`, () => {
    const { first_16_ids, n_ids, file } = reference[`perplexity_${name}`];
    const ids = books.encode(readFileSync(`${BOOKS}/${file}`, 'utf8'), { special: false });
    assert.equal(ids.slice(0, 16), first_16_ids);
    assert.is(ids.length, n_ids);
  });
}

test('encode() of the prompts gives the reference’s ids, and decode() their continuations', () => {
  for (const { text, ids, greedy } of reference.prompts) {
    assert.equal(books.encode(text), ids);
    assert.is(books.decode(ids), text);
    const stream = books.stream(ids);
    assert.is(greedy.ids.map((id: number) => stream.push(id)).join('') + stream.end(), greedy.text);
    assert.is(books.decode([...ids, ...greedy.ids]), greedy.full_text);
  }
});

test('encode() cuts at spaces and gives what the library gives for a whole text', () => {
  const library = new Library(jsonOf(`${BOOKS}/tokenizer.json`), jsonOf(`${BOOKS}/tokenizer_config.json`));
  const same = (text: string) => {
    const expected = text === '' ? [] : library.encode(text, { add_special_tokens: false }).ids;
    assert.equal(books.encode(text, { special: false }), expected, JSON.stringify(text));
  };
  for (const text of TEXTS) same(text);
  same(readFileSync(`${BOOKS}/test.txt`, 'utf8').slice(100_000, 120_000));
  const words = fc.array(fc.constantFrom(' ', '  ', '▁', '\n', 'the', 'a', 'é', '😀', '</s>', '<0x41>'), {
    maxLength: 20,
  });
  fc.assert(fc.property(words, (parts) => same(parts.join(''))));
});

test('encode() does not cut where a merge reaches over a space', () => {
  const vocab = { a: 0, '▁': 1, b: 2, 'a▁': 3, '▁b': 4 };
  const content = {
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    model: {
      type: 'BPE',
      vocab,
      merges: [
        ['a', '▁'],
        ['▁', 'b'],
      ],
    },
  };
  assert.equal(createTokenizer(content, {}, 'file').encode('a b'), [3, 2]);
});

for (const name of ['stories260K', 'babyllama361']) {
  const path = `../shared/data/models/${name}`;
  if (existsSync(path)) {
    test(`decode() gives back what encode() took: ${name}`, async () => {
      const tokenizer = await open(path);
      const text = readFileSync('../shared/data/text/tinystories.txt', 'utf8').slice(0, 20_000);
      assert.is(tokenizer.decode(tokenizer.encode(text)), text);
    });
  } else {
    console.error(`skipped, as ${path} is not there: decode() of ${name}`);
  }
}

test('decode() gives back what encode() took, whatever the text', () => {
  const bytes = byteLevelTokenizer();
  for (const text of TEXTS) {
    assert.is(books.decode(books.encode(text)), text);
    assert.is(bytes.decode(bytes.encode(text)), text);
  }
  const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((each) => !each.includes('▁'));
  fc.assert(fc.property(text, (each) => assert.is(books.decode(books.encode(each)), each)));
  fc.assert(fc.property(text, (each) => assert.is(bytes.decode(bytes.encode(each)), each)));
});

test('decode() agrees with the library on any ids', () => {
  const cases: [Tokenizer, Library, number][] = [
    [books, new Library(jsonOf(`${BOOKS}/tokenizer.json`), jsonOf(`${BOOKS}/tokenizer_config.json`)), 2048],
    [byteLevelTokenizer(), new Library(byteLevelContent(), {}), 267],
  ];
  for (const [tokenizer, library, size] of cases) {
    const ids = fc.array(fc.nat(size - 1), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(ids, (each) => {
        const expected = library.decode(each, { clean_up_tokenization_spaces: false });
        if (!expected.includes('\ufeff')) assert.is(tokenizer.decode(each, { special: true }), expected);
      }),
    );
  }
});

test('encode() finds special tokens in the text and adds none when told so', () => {
  assert.equal(books.encode('a</s>', { special: false }).at(-1), 2);
  assert.is(books.encode('a')[0], 1);
  const tokenizer = byteLevelTokenizer();
  assert.equal(tokenizer.encode('hello<|end|><think>'), [259, BEGIN + 1, BEGIN + 2]);
  assert.is(tokenizer.decode([259, BEGIN + 1, BEGIN + 2]), 'hello<think>');
  assert.is(tokenizer.decode([259, BEGIN + 1], { special: true }), 'hello<|end|>');
  assert.is(tokenizer.idOf('<|end|>'), BEGIN + 1);
  assert.is(tokenizer.size, BEGIN + 3);
});

test('stream() gives a character when its last byte has come, and U+FFFD only at the end', () => {
  const characters = byteCharacters();
  const tokenizer = byteLevelTokenizer();
  const ids = [...new TextEncoder().encode('é😀')].map((byte) => tokenizer.idOf(characters[byte])!);
  const stream = tokenizer.stream();
  assert.equal([...ids.map((id) => stream.push(id)), stream.end()], ['', 'é', '', '', '', '😀', '']);
  const cut = tokenizer.stream();
  assert.equal([...ids.slice(0, 5).map((id) => cut.push(id)), cut.end()], ['', 'é', '', '', '', '\ufffd']);

  const fallback = [...new TextEncoder().encode('😀')].map(
    (byte) => books.idOf(`<0x${byte.toString(16).toUpperCase()}>`)!,
  );
  const other = books.stream();
  assert.equal([...fallback.map((id) => other.push(id)), other.end()], ['', '', '', '😀', '']);
});

test('stream() goes on behind a prompt: the space of the first word stays, a cut character is completed', () => {
  const [the] = books.encode('the', { special: false });
  assert.is(books.stream().push(the!), 'the');
  assert.is(books.stream([1]).push(the!), 'the');
  assert.is(books.stream(books.encode('x')).push(the!), ' the');
  const characters = byteCharacters();
  const tokenizer = byteLevelTokenizer();
  const [first, second] = [...new TextEncoder().encode('é')].map((byte) => tokenizer.idOf(characters[byte])!);
  assert.is(tokenizer.stream([first!]).push(second!), 'é');
});

test('the pieces of stream() make what decode() makes', () => {
  for (const [tokenizer, size] of [
    [books, 2048],
    [byteLevelTokenizer(), 267],
  ] as const) {
    fc.assert(
      fc.property(fc.array(fc.nat(size - 1), { maxLength: 20 }), fc.nat(20), (ids, cut) => {
        const stream = tokenizer.stream();
        const pieces = ids.map((id) => stream.push(id)).join('') + stream.end();
        assert.is(pieces, tokenizer.decode(ids));
        const behind = tokenizer.stream(ids.slice(0, cut));
        const rest =
          ids
            .slice(cut)
            .map((id) => behind.push(id))
            .join('') + behind.end();
        assert.ok(pieces.endsWith(rest));
      }),
    );
  }
});

test('decode() has nothing for an id that the vocabulary has not', () => {
  assert.is(books.decode([5000, -1]), '');
});

test('decoders: Metaspace, none at all, unknown ones', () => {
  const model = { type: 'BPE', vocab: { '▁a': 0, b: 1 }, merges: [] };
  const metaspace = createTokenizer({ model, decoder: { type: 'Metaspace', replacement: '▁' } }, {}, 'file');
  assert.is(metaspace.decode([0, 1, 0]), 'ab a');
  assert.is(createTokenizer({ model }, {}, 'file').decode([1, 1]), 'b b');
  const never = { type: 'Metaspace', prepend_scheme: 'never' };
  assert.is(createTokenizer({ model, decoder: never }, {}, 'file').decode([0, 1]), ' ab');
  const known: [unknown, RegExp][] = [
    [{ type: 'WordPiece' }, /x\.json: tokenizer's decoder must be ByteLevel.*got WordPiece/],
    [{ type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 1 }] }, /Strip/],
  ];
  for (const [decoder, message] of known) {
    assert.throws(
      () => createTokenizer({ model, decoder }, {}, 'x.json'),
      (error: Error) => error instanceof UnsupportedError && message.test(error.message),
    );
  }
});

const bytesOf = (text: string) => new TextEncoder().encode(text).buffer as ArrayBuffer;
const broken: [name: string, files: Record<string, string>, kind: unknown, message: RegExp][] = [
  ['there is none', {}, FileError, /^cannot read m\/tokenizer\.json: there is no such file$/],
  ['not JSON', { 'tokenizer.json': '{' }, FormatError, /^m\/tokenizer\.json: file must be JSON: /],
  ['not an object', { 'tokenizer.json': '[]' }, FormatError, /^m\/tokenizer\.json: file must be a JSON object/],
  ['not UTF-8', { 'tokenizer.json': '\u0000' }, FormatError, /^m\/tokenizer\.json: file must be UTF-8/],
  [
    'no model',
    { 'tokenizer.json': '{"version": "1.0"}' },
    FormatError,
    /^m\/tokenizer\.json: tokenizer must have a model/,
  ],
  ['no vocabulary', { 'tokenizer.json': '{"model": {"type": "BPE"}}' }, FormatError, /must have a vocabulary/],
  [
    'an id that is none',
    { 'tokenizer.json': '{"model": {"type": "BPE", "vocab": {"a": -1}}}' },
    FormatError,
    /vocabulary/,
  ],
  [
    'added tokens that are none',
    { 'tokenizer.json': '{"model": {"vocab": {}}, "added_tokens": [{"id": 1}]}' },
    FormatError,
    /added_tokens\[0\]\.content must be a text of 1 to 256 characters: got nothing/,
  ],
  [
    'a normalizer that nobody knows',
    { 'tokenizer.json': '{"model": {"type": "BPE", "vocab": {}}, "normalizer": {"type": "Magic"}}' },
    UnsupportedError,
    /^m\/tokenizer\.json: .*Magic/,
  ],
  [
    'a pattern that is none',
    {
      'tokenizer.json':
        '{"model": {"type": "BPE", "vocab": {}}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}}}',
    },
    FormatError,
    /^m\/tokenizer\.json: tokenizer must be well-formed: /,
  ],
  [
    'a broken configuration',
    { 'tokenizer.json': '{"model": {"type": "BPE", "vocab": {}}}', 'tokenizer_config.json': '"' },
    FormatError,
    /^m\/tokenizer_config\.json: file must be JSON/,
  ],
];
for (const [name, files, kind, message] of broken) {
  test(`openTokenizer() names the file and the fault: ${name}`, async () => {
    const buffers = Object.entries(files).map(([file, text]) => [
      file,
      name === 'not UTF-8' ? Uint8Array.of(0xff).buffer : bytesOf(text),
    ]);
    const error = await openTokenizer(folderOf('m', Object.fromEntries(buffers))).then(
      () => undefined,
      (each) => each,
    );
    assert.instance(error, kind as ErrorConstructor);
    assert.match(error.message, message);
  });
}

test('encode() names what is no text, and a token without an id', () => {
  const model = { type: 'BPE', vocab: { a: 0 }, merges: [] };
  assert.throws(
    () => createTokenizer({ model }, {}, 'file').encode(1 as unknown as string),
    (error: Error) => error instanceof TypeError && /text must be a string: got 1$/.test(error.message),
  );
  const single = [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  const content = { model, post_processor: { type: 'TemplateProcessing', single } };
  assert.throws(
    () => createTokenizer(content, {}, 'm/tokenizer.json').encode('a'),
    (error: Error) => error instanceof FormatError && /^m\/tokenizer\.json: .*"<s>" has none/.test(error.message),
  );
});

test.run();
