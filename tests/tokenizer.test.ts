// Text to ids and back: the embedded model's vocabulary against its reference, byte-level vocabularies, streams, broken files.

import { existsSync, readFileSync } from 'node:fs';
import { Tokenizer as Library } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, FormatError, UnsupportedError } from '../src/errors.ts';
import { openFolder } from '../src/source/file.ts';
import { folderOf } from '../src/source/memory.ts';
import { createTokenizer, readTokenizer, type Tokenizer } from '../src/text/tokenizer.ts';
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
    return await readTokenizer(folder);
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
  assert.is(books.stream().push(the), 'the');
  assert.is(books.stream([1]).push(the), 'the');
  assert.is(books.stream(books.encode('x')).push(the), ' the');
  const characters = byteCharacters();
  const tokenizer = byteLevelTokenizer();
  const [first, second] = [...new TextEncoder().encode('é')].map((byte) => tokenizer.idOf(characters[byte])!);
  assert.is(tokenizer.stream([first]).push(second), 'é');
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
  const refused: [unknown, RegExp][] = [
    [{ type: 'CTC' }, /x\.json: tokenizer's decoder must be ByteLevel.*got CTC/],
    [{ type: 'WordPiece', prefix: 5 }, /x\.json: decoder WordPiece's prefix must be a text .*got 5/],
    [{ type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 1 }] }, /Strip/],
  ];
  for (const [decoder, message] of refused) {
    assert.throws(
      () => createTokenizer({ model, decoder }, {}, 'x.json'),
      (error: Error) =>
        (error instanceof UnsupportedError || error instanceof FormatError) && message.test(error.message),
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
  test(`readTokenizer() names the file and the fault: ${name}`, async () => {
    const buffers = Object.entries(files).map(([file, text]) => [
      file,
      name === 'not UTF-8' ? Uint8Array.of(0xff).buffer : bytesOf(text),
    ]);
    const error = await readTokenizer(folderOf('m', Object.fromEntries(buffers))).then(
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

const LETTERS = Object.fromEntries([...'abcdefghijklmnopqrstuvwxyz! ▁'].map((letter, id) => [letter, id]));
const BPE = { type: 'BPE', vocab: LETTERS, merges: [] };
const split = (Regex: string) => ({
  model: BPE,
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated' },
});
const normalizers = (count: number, pattern: object, content = 'aa') => ({
  type: 'Sequence',
  normalizers: Array(count).fill({ type: 'Replace', pattern, content }),
});

// Without limits each takes minutes, or all memory.
const HOSTILE: [name: string, content: Record<string, unknown>, text: string][] = [
  ['a text that doubles', { model: BPE, normalizer: normalizers(24, { String: 'a' }) }, 'a'],
  ['a text that doubles by a regular expression', { model: BPE, normalizer: normalizers(40, { Regex: 'a' }) }, 'a'],
  [
    'text between all characters',
    { model: BPE, normalizer: normalizers(9, { Regex: '' }, 'a'.repeat(1024)) },
    'a'.repeat(1000),
  ],
  [
    'an added token that doubles while the tokenizer is made',
    {
      model: BPE,
      normalizer: normalizers(40, { String: 'a' }),
      added_tokens: [{ id: 50, content: 'a', normalized: true }],
    },
    'b',
  ],
  [
    'bytes written as characters, again and again',
    {
      model: BPE,
      pre_tokenizer: { type: 'Sequence', pretokenizers: Array(40).fill({ type: 'ByteLevel', use_regex: false }) },
    },
    'é'.repeat(100),
  ],
  [
    'a lattice of tokens that all begin alike',
    {
      model: {
        type: 'Unigram',
        unk_id: 0,
        vocab: Array.from({ length: 1000 }, (_, i) => ['a'.repeat(i + 1), -i]),
      },
    },
    'a'.repeat(20_000),
  ],
  [
    'much text in front of many pieces',
    {
      model: BPE,
      normalizer: { type: 'Prepend', prepend: 'x'.repeat(1024) },
      added_tokens: [{ id: 50, content: 'a', special: true }],
    },
    'ab'.repeat(50_000),
  ],
  [
    'marks that must be put in order',
    { model: BPE, normalizer: { type: 'NFC' } },
    `a${'\u0301'.repeat(100_000)}${'\u0323'.repeat(100_000)}`,
  ],
  ['a search to the end from each place', split('a*b'), 'a'.repeat(100_000)],
];
for (const [name, content, text] of HOSTILE) {
  test(`encode() ends in an error: ${name}`, () => {
    assert.throws(
      () => createTokenizer(content, {}, 'm/tokenizer.json').encode(text),
      (error: Error) =>
        error instanceof FormatError &&
        /^m\/tokenizer\.json: tokenizer must take at most \d+ steps for the text: it takes more$/.test(error.message),
    );
  });
}

test('encode() takes linear time for patterns, words and unknown characters that are written to take more', () => {
  const text = `${'a'.repeat(40)}!`;
  const letters = [...text].map((letter) => LETTERS[letter]);
  for (const regex of ['(a+)+$', '(a|a)*$', '(.*)*x', '(?:a?){30}a{30}x']) {
    assert.equal(createTokenizer(split(regex), {}, 'file').encode(text), letters, regex);
    const normalizer = { type: 'Replace', pattern: { Regex: regex }, content: '' };
    assert.equal(createTokenizer({ model: BPE, normalizer }, {}, 'file').encode(text), letters, regex);
  }
  const model = {
    type: 'WordPiece',
    vocab: LETTERS,
    unk_token: 'u',
    continuing_subword_prefix: '',
    max_input_chars_per_word: 1e9,
  };
  assert.is(createTokenizer({ model }, {}, 'file').encode('a'.repeat(20_000)).length, 20_000);
  const unigram = {
    type: 'Unigram',
    unk_id: 0,
    vocab: [
      ['<unk>', -9],
      ['a', -1],
    ],
  };
  const ids = createTokenizer({ model: unigram }, {}, 'file').encode(`a${'x'.repeat(200_000)}${'a'.repeat(200_000)}`);
  assert.equal(ids.slice(0, 3), [1, 0, 1]);
  assert.is(ids.length, 200_002);
});

test('encode() gives what the library gives, by WordPiece and by Unigram', () => {
  const wordpiece = {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 8,
  };
  const unigram = [
    ['<unk>', 0],
    ['a', -1],
    ['b', -2],
    ['ab', -2.5],
    ['ba', -3],
    ['aba', -3.25],
    ['😀', -4],
    ['<unk>x', -9],
  ];
  const words = ['[UNK]', 'a', 'b', 'ab', '##a', '##b', '##ab', '##bab', '##😀'];
  const contents = [
    {
      model: { ...wordpiece, vocab: Object.fromEntries(words.map((word, id) => [word, id])) },
      pre_tokenizer: { type: 'WhitespaceSplit' },
    },
    { model: { type: 'Unigram', unk_id: 0, vocab: unigram }, pre_tokenizer: { type: 'WhitespaceSplit' } },
    { model: { type: 'Unigram', unk_id: 0, vocab: unigram } },
  ];
  const text = fc.array(fc.constantFrom('a', 'b', 'ab', ' ', '😀', 'x', 'é', '<unk>'), { minLength: 1, maxLength: 16 });
  for (const content of contents) {
    const tokenizer = createTokenizer(content, {}, 'file');
    const library = new Library(
      { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [], ...content },
      {},
    );
    fc.assert(
      fc.property(text, (parts) =>
        assert.equal(
          tokenizer.encode(parts.join('')),
          library.encode(parts.join(''), { add_special_tokens: false }).ids,
        ),
      ),
    );
  }
});

test('encode() gives what the library gives, by patterns that it does not know', () => {
  const vocab = Object.fromEntries(byteCharacters().map((character, id) => [character, id]));
  const text = fc.array(fc.constantFrom('a', 'B', '1', ' ', '\n', 'é', '😀', "'s", '.', '12345', '你'), {
    minLength: 1,
    maxLength: 16,
  });
  const patterns = ['\\w+|[^\\w\\s]+', '\\d{1,3}(?=(?:\\d{3})*\\b)', "(?i:'s)|\\s+", '[[a-z]&&[^b]]+', '^a|1$'];
  for (const Regex of patterns) {
    for (const extra of [{ behavior: 'Isolated' }, { behavior: 'Removed' }, { behavior: 'Removed', invert: true }]) {
      const step = { type: 'Split', pattern: { Regex }, ...extra };
      const content = {
        normalizer: { type: 'Replace', pattern: { Regex }, content: '<x>' },
        pre_tokenizer: { type: 'Sequence', pretokenizers: [step, { type: 'ByteLevel', use_regex: false }] },
        model: { type: 'BPE', vocab, merges: [] },
      };
      const tokenizer = createTokenizer(content, {}, 'file');
      const library = new Library({ post_processor: null, decoder: null, added_tokens: [], ...content }, {});
      fc.assert(
        fc.property(text, (parts) =>
          assert.equal(
            tokenizer.encode(parts.join('')),
            library.encode(parts.join(''), { add_special_tokens: false }).ids,
          ),
        ),
        { numRuns: 40 },
      );
    }
  }
});

test('createTokenizer() takes null for a member that is left out', () => {
  const nothing = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: null };
  const model = { ...BPE, merges: null, unk_token: null, fuse_unk: null, byte_fallback: null };
  assert.equal(createTokenizer({ ...nothing, model }, { eos_token: null }, 'file').encode('ab'), [0, 1]);
});

test('encode() gives ids below size where two added tokens have one content', () => {
  const normalizer = { type: 'Replace', pattern: { String: 'a' }, content: 'b' };
  const added_tokens = [
    { id: 100, content: 'a', normalized: true },
    { id: 5, content: 'a', normalized: false },
  ];
  const tokenizer = createTokenizer({ model: BPE, normalizer, added_tokens }, {}, 'file');
  for (const text of ['a', 'b', 'ab']) for (const id of tokenizer.encode(text)) assert.ok(id < tokenizer.size, text);
});

test('encode() inserts what the file says, signs of replacement included', () => {
  const normalizer = { type: 'Replace', pattern: { String: '!' }, content: "$`$&$'" };
  const model = { ...BPE, vocab: { ...LETTERS, $: 50, '`': 51, '&': 52, "'": 53 } };
  assert.equal(createTokenizer({ model, normalizer }, {}, 'file').encode('b!'), [1, 50, 51, 50, 52, 50, 53]);
});

const faults: [name: string, content: Record<string, unknown>, message: string][] = [
  [
    'a template of nothing',
    { post_processor: { type: 'TemplateProcessing', single: null } },
    'post_processor.single must be a list of up to 64 special tokens and one sequence A: got null',
  ],
  [
    'a template of a number',
    { post_processor: { type: 'TemplateProcessing', single: [1] } },
    'post_processor.single must be a list of up to 64 special tokens and one sequence A: got [1]',
  ],
  [
    'no separator',
    { post_processor: { type: 'BertProcessing', cls: ['a', 0] } },
    'post_processor.sep must be a token and its id: got nothing',
  ],
  [
    'a part that is nothing',
    { post_processor: { type: 'Sequence', processors: [null] } },
    'post_processor.processors[0] must be an object: got null',
  ],
  [
    'a behaviour that is a number',
    { pre_tokenizer: { type: 'Split', pattern: { String: 'a' }, behavior: 5 } },
    'pre_tokenizer.behavior must be one of Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous: got 5',
  ],
  [
    'no pattern',
    { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', content: '' }] } },
    'normalizer.normalizers[1].pattern must be an object with a String of 1 to 1024 characters or a Regex of up to 8192: got nothing',
  ],
  [
    'pieces of no length',
    { pre_tokenizer: { type: 'FixedLength', length: 0 } },
    'pre_tokenizer.length must be an integer of at least 1: got 0',
  ],
  [
    'a text that is a number',
    { normalizer: { type: 'Prepend', prepend: 1 } },
    'normalizer.prepend must be a text of up to 1024 characters: got 1',
  ],
  [
    'too many parts',
    { normalizer: normalizers(64, { String: 'a' }) },
    'normalizer must have at most 64 parts: it has more',
  ],
  [
    'a token without a score',
    { model: { type: 'Unigram', vocab: [['x', 0], ['y']] } },
    'tokenizer must have a vocabulary of tokens and scores: got ["y"] for 1',
  ],
  [
    'a token that is a text',
    { model: { type: 'Unigram', vocab: ['x'] } },
    'tokenizer must have a vocabulary of tokens and scores: got "x" for 0',
  ],
  [
    'an unknown id that is a text',
    { model: { type: 'Unigram', vocab: [['x', 0]], unk_id: 'x' } },
    'model.unk_id must be an id from 0 to 0: got "x"',
  ],
  [
    'an unknown id that is none',
    { model: { type: 'Unigram', vocab: [['x', 0]], unk_id: 1 } },
    'model.unk_id must be an id from 0 to 0: got 1',
  ],
  [
    'a list for a vocabulary',
    { model: { type: 'BPE', vocab: [['x', 0]] } },
    'tokenizer must have a vocabulary of tokens and ids: got [an array]',
  ],
  [
    'an id that is a list',
    { model: { type: 'BPE', vocab: { x: [0] } } },
    'tokenizer must have a vocabulary of tokens and ids: got [0] for "x"',
  ],
  [
    'merges of two kinds',
    { model: { ...BPE, merges: ['a b', ['a', 'b']] } },
    'model.merges must be a list of pairs of tokens, all as texts or all as lists: got ["a", "b"] at 1',
  ],
  [
    'a merge of one',
    { model: { ...BPE, merges: ['ab'] } },
    'model.merges must be a list of pairs of tokens, all as texts or all as lists: got "ab" at 0',
  ],
  [
    'no prefix',
    { model: { type: 'WordPiece', vocab: {} } },
    'model.continuing_subword_prefix must be a text of up to 1024 characters: got nothing',
  ],
  [
    'a token that is too long',
    { added_tokens: [{ id: 0, content: 'x'.repeat(257) }] },
    `added_tokens[0].content must be a text of 1 to 256 characters: got "${'x'.repeat(80)}…"`,
  ],
  ['a decoder that is a list', { decoder: [] }, 'decoder must be an object: got []'],
  [
    'a decoder’s part that is nothing',
    { decoder: { type: 'Sequence', decoders: [1] } },
    'decoder.decoders[0] must be an object: got 1',
  ],
  [
    'a pattern of nothing in a decoder',
    { decoder: { type: 'Replace', pattern: { String: '' }, content: 'a' } },
    'decoder Replace\'s pattern must be a text of 1 to 1024 characters: got ""',
  ],
  [
    'a decoder that strips without end',
    { decoder: { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Strip', content: 'a', start: 1e9 }] } },
    "decoder Strip's start must be an integer from 0 to 1024: got 1000000000",
  ],
];
for (const [name, content, message] of faults) {
  test(`createTokenizer() names the file and the member: ${name}`, () => {
    assert.throws(
      () => createTokenizer({ model: BPE, ...content }, {}, 'm/tokenizer.json'),
      (error: Error) => error instanceof FormatError && error.message === `m/tokenizer.json: ${message}`,
    );
  });
}

test('createTokenizer() names what it does not handle, and prints nothing by itself', () => {
  const printed: unknown[] = [];
  const { warn, error, log } = console;
  const note = (...words: unknown[]) => void printed.push(words);
  Object.assign(console, { warn: note, error: note, log: note });
  try {
    assert.throws(
      () => createTokenizer(split('(a)\\1'), {}, 'm/tokenizer.json'),
      (caught: Error) =>
        caught instanceof UnsupportedError &&
        /^m\/tokenizer\.json: regular expression .*got "\(a\)/.test(caught.message),
    );
    assert.throws(
      () => createTokenizer({ model: BPE, normalizer: { type: 'Replace', pattern: {} } }, {}, 'm'),
      (caught: Error) => caught instanceof FormatError,
    );
  } finally {
    Object.assign(console, { warn, error, log });
  }
  assert.equal(printed, []);
});

test('decode() ends in an error where a decoder multiplies, and inserts signs of replacement as they are', () => {
  const decoders = Array(26).fill({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' });
  const tokenizer = createTokenizer({ model: BPE, decoder: { type: 'Sequence', decoders } }, {}, 'm/tokenizer.json');
  assert.throws(
    () => tokenizer.decode([0]),
    (error: Error) =>
      error instanceof FormatError && /^m\/tokenizer\.json: decoder must make at most 4096 /.test(error.message),
  );
  const decoder = { type: 'Replace', pattern: { String: 'a' }, content: "$'$&" };
  assert.is(createTokenizer({ model: BPE, decoder }, {}, 'm').decode([0, 1]), "$'$&b");
});

test('decode() and stream() name what is no list of ids', () => {
  const cases: [ids: unknown, kind: ErrorConstructor, message: RegExp][] = [
    [null, TypeError, /^(ids|behind) must be a list of token ids: got null$/],
    [7, TypeError, /^(ids|behind) must be a list of token ids: got 7$/],
    [{}, TypeError, /^(ids|behind) must be a list of token ids: got an object$/],
    [{ length: 1e9 }, RangeError, /^length of (ids|behind) must be an integer from 0 to 67108864: got 1000000000$/],
    [{ length: -1 }, RangeError, /^length of (ids|behind) must be an integer from 0 to 67108864: got -1$/],
    [{ length: 1.5 }, RangeError, /^length of (ids|behind) must be an integer/],
    [['0'], TypeError, /^(ids|behind)\[0\] must be a number: got "0"$/],
    [[0, 1.5], RangeError, /^(ids|behind)\[1\] must be an integer/],
  ];
  for (const [ids, kind, message] of cases) {
    for (const call of [() => books.decode(ids as number[]), () => books.stream(ids as number[])]) {
      assert.throws(call, (error: Error) => error instanceof kind && message.test(error.message));
    }
  }
  assert.throws(() => books.stream().push('length' as unknown as number), TypeError);
  assert.is(books.decode(Int32Array.from(books.encode('abc'))), 'abc');
});

test.run();
