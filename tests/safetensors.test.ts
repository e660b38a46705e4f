// The container: hostile headers as literals, reads counted, layouts written and read back.
// Runs in browsers too: nothing from `node:` here.

import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, openSingle } from '../src/checkpoint/checkpoint.ts';
import { byteLengthOf, dtypeBits, elementCount } from '../src/checkpoint/safetensors/dtype.ts';
import { openSafetensors } from '../src/checkpoint/safetensors/file.ts';
import {
  DTYPE_LIMIT,
  HEADER_LIMIT,
  headerByteLength,
  parseHeader,
  RANK_LIMIT,
} from '../src/checkpoint/safetensors/header.ts';
import { DEPTH_LIMIT, type Json, NAME_LIMIT, parseStrict, VALUE_LIMIT } from '../src/checkpoint/safetensors/json.ts';
import {
  indexJson,
  isPadding,
  layOutShards,
  type Shard,
  shardName,
  type TensorSpec,
} from '../src/checkpoint/safetensors/layout.ts';
import { FormatError, UnsupportedError } from '../src/errors.ts';
import { folderOf, memorySink } from '../src/source/memory.ts';
import type { Source } from '../src/source/source.ts';

const utf8 = new TextEncoder();

// A file: the length of `header`, `header`, and `dataLength` bytes that count up.
function fileOf(header: string | Uint8Array, dataLength = 0, length?: bigint): ArrayBuffer {
  const json = typeof header === 'string' ? utf8.encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataLength).map((_, i) => i - 8 - json.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes.buffer;
}

function counting(source: Source): Source & { reads: [number, number][] } {
  const reads: [number, number][] = [];
  return {
    reads,
    byteLength: source.byteLength,
    slice: (start, end) => {
      reads.push([start, end]);
      return source.slice(start, end);
    },
  };
}

async function errorOf(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => assert.unreachable('no error') as never,
    (error) => error,
  );
}

async function message(bytes: ArrayBuffer): Promise<string> {
  const error = await errorOf(openSafetensors(bytes, 'f'));
  assert.instance(error, FormatError);
  assert.is((error as FormatError).file, 'f');
  assert.not.match(error.message, /[\n\r]/);
  assert.ok(error.message.length < 500, `message of ${error.message.length} characters`);
  return error.message;
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

// --- dtypes

test('dtypeBits() knows the types of the format and nothing of prototypes', () => {
  assert.is(dtypeBits('F4'), 4);
  assert.is(dtypeBits('F6_E2M3'), 6);
  assert.is(dtypeBits('F8_E4M3'), 8);
  assert.is(dtypeBits('BF16'), 16);
  assert.is(dtypeBits('F32'), 32);
  assert.is(dtypeBits('C64'), 64);
  for (const name of ['', 'f32', 'constructor', '__proto__', 'toString']) assert.is(dtypeBits(name), undefined);
});

test('elementCount() and byteLengthOf() round up to bytes and refuse what a double cannot hold', () => {
  assert.is(elementCount([]), 1);
  assert.is(elementCount([2 ** 53 - 1, 2 ** 53 - 1, 0]), 0);
  assert.is(elementCount([2 ** 27, 2 ** 27]), undefined);
  assert.is(byteLengthOf('F6_E3M2', [3]), 3);
  assert.is(byteLengthOf('F4', [3]), 2);
  assert.is(byteLengthOf('F32', [2, 3]), 24);
  assert.is(byteLengthOf('F64', [2 ** 50]), undefined);
  assert.is(byteLengthOf('Q4', [1]), undefined);
});

// --- JSON

test('parseStrict() gives what JSON.parse gives when no key repeats', () => {
  const plain = (json: Json): unknown =>
    json instanceof Map
      ? Object.fromEntries([...json].map(([key, value]) => [key, plain(value)]))
      : Array.isArray(json)
        ? json.map(plain)
        : json;
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.constantFrom(undefined, 1, '\t', '\r\n'), (text, space) => {
      fc.pre(!text.includes('__proto__'));
      const spaced = JSON.stringify(JSON.parse(text), null, space);
      assert.equal(plain(parseStrict(spaced, 'f')), JSON.parse(spaced));
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('parseStrict() accepts and refuses the same texts as JSON.parse', () => {
  const pieces = '{ } [ ] , : " \\ \\u0041 \\ud83d\\ude00 0 1 - + . e E a true false null \t \n \u0001 é \ufeff'.split(
    ' ',
  );
  pieces.push(' ', '"a"', '"b":', '-0', '1.5e+3', '01', '1.', '.5', '1e', 'nul', '\\x', '/', '\u00a0');
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 8 }), (parts) => {
      const text = parts.join('');
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      try {
        parseStrict(text, 'f');
        assert.ok(valid, `accepted ${JSON.stringify(text)}`);
      } catch (error) {
        assert.instance(error, FormatError);
        if (valid) assert.match((error as Error).message, /must not repeat a key|lone surrogate/);
      }
    }),
    { seed: 2, numRuns: 10_000 },
  );
});

test('openSafetensors() takes names, dtypes and shapes at their limits', async () => {
  const name = 'é'.repeat(NAME_LIMIT);
  const escaped = 'a'.repeat(NAME_LIMIT).replace(/./g, '\\u0061');
  const shape = new Array(RANK_LIMIT).fill(1);
  const header = `{"${name}":${entry('X'.repeat(DTYPE_LIMIT), shape, [0, 1])},"${escaped}":${entry('U8', [1], [1, 2])}}`;
  const { tensors } = await openSafetensors(fileOf(header, 2), 'f');
  assert.equal(
    tensors.map((tensor) => [tensor.name, tensor.shape.length]),
    [
      [name, RANK_LIMIT],
      ['a'.repeat(NAME_LIMIT), 1],
    ],
  );
});

test('parseStrict() bounds depth and count before memory', () => {
  assert.ok(parseStrict('['.repeat(DEPTH_LIMIT) + ']'.repeat(DEPTH_LIMIT), 'f'));
  assert.throws(() => parseStrict('['.repeat(10_000_000), 'f'), /f: file must nest at most 32 levels/);
  assert.throws(() => parseStrict(`[${'0,'.repeat(VALUE_LIMIT)}0]`, 'f'), /at most 4000000 values/);
});

// --- the header: the shortest file for each error

const TOO_SHORT = 'f: file must have at least the 8 bytes of the header length: ';
const EMPTY = entry('U8', [0], [0, 0]);
const ONE = `{"a":${entry('U8', [1], [0, 1])}}`;

const HOSTILE: [label: string, file: ArrayBuffer, message: string | RegExp][] = [
  ['empty', new ArrayBuffer(0), `${TOO_SHORT}it is empty`],
  ['short', new ArrayBuffer(7), `${TOO_SHORT}it has 7`],
  [
    'header length 2^63',
    fileOf('', 0, 2n ** 63n),
    `f: header must have at most ${HEADER_LIMIT} bytes: its length says 9223372036854775808`,
  ],
  ['header length over the limit', fileOf('', 0, 100_000_001n), /its length says 100000001$/],
  [
    'header cut off',
    fileOf('{', 0, 2n),
    'f: header must end within the file: 2 bytes long, 1 are left; is the file complete?',
  ],
  ['no header', fileOf(''), 'f: header must be a JSON object: it is empty'],
  ['not UTF-8', fileOf(new Uint8Array([0x22, 0xff, 0x22])), 'f: header must be UTF-8: other bytes are in it'],
  ['byte order mark', fileOf('\ufeff{}'), /^f: header must be JSON: unexpected/],
  ['not JSON', fileOf('x'), 'f: header must be JSON: unexpected "x" at character 0'],
  ['unfinished', fileOf('{'), 'f: header must be JSON: it ends at character 1, unfinished'],
  ['unfinished escape', fileOf('{"a\\'), 'f: header must be JSON: it ends at character 4, unfinished'],
  ['something after', fileOf('{}}'), 'f: header must be JSON: unexpected "}" at character 2'],
  ['NUL after', fileOf('{}\0'), 'f: header must be JSON: unexpected "\\u0000" at character 2'],
  ['lone surrogate', fileOf('{"\\ud800":0}'), /lone surrogate in the string at character 1$/],
  ['array', fileOf('[]'), 'f: header must be a JSON object: got []'],
  ['null', fileOf('null'), 'f: header must be a JSON object: got null'],
  ['string', fileOf('"a"'), 'f: header must be a JSON object: got "a"'],
  ['number', fileOf('-0'), 'f: header must be a JSON object: got -0'],
  [
    'tensor twice',
    fileOf(`{"a":${EMPTY},"a":0}`),
    /^f: tensor "a": header must not repeat a key: "a" again at character \d+$/,
  ],
  [
    'escaped twin',
    fileOf(`{"a":${EMPTY},"\\u0061":0}`),
    /^f: tensor "a": header must not repeat a key: "a" again at character \d+$/,
  ],
  [
    'dtype twice',
    fileOf('{"a":{"dtype":0,"dtype":0}}'),
    'f: tensor "a": header must not repeat a key: "dtype" again at character 16',
  ],
  [
    'metadata twice',
    fileOf('{"__metadata__":{},"__metadata__":{}}'),
    'f: header must not repeat a key: "__metadata__" again at character 19',
  ],
  [
    'metadata key twice',
    fileOf('{"__metadata__":{"k":"","k":""}}'),
    'f: header must not repeat a key: "k" again at character 24',
  ],
  [
    'long name',
    fileOf(`{"${'a'.repeat(4097)}":${EMPTY}}`),
    'f: header must have keys of at most 4096 characters: longer at character 1',
  ],
  [
    'long name of escapes',
    fileOf(`{"${'\\u0061'.repeat(4097)}":${EMPTY}}`),
    'f: header must have keys of at most 4096 characters: longer at character 1',
  ],
  [
    'long key of metadata',
    fileOf(`{"__metadata__":{"${'a'.repeat(4097)}":""}}`),
    'f: header must have keys of at most 4096 characters: longer at character 17',
  ],
  [
    'long dtype',
    fileOf(`{"a":${entry('X'.repeat(65), [1], [0, 1])}}`, 1),
    `f: tensor "a": dtype must have at most 64 characters: got "${'X'.repeat(65)}"`,
  ],
  [
    'many dimensions',
    fileOf(`{"a":${entry('U8', new Array(65).fill(1), [0, 1])}}`, 1),
    'f: tensor "a": shape must have at most 64 dimensions: it has 65',
  ],
  [
    'pointer of Git LFS',
    utf8.encode('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n').buffer,
    'f: file must be in the format of safetensors: it is a pointer of Git LFS; git lfs pull fetches the file itself',
  ],
  ['web page', utf8.encode('<!DOCTYPE html><html></html>').buffer, /: it is a web page; the download was/],
  [
    '__proto__',
    fileOf('{"__proto__":{}}'),
    'f: tensor "__proto__": header must not have the key "__proto__": at character 1',
  ],
  ['escaped __proto__', fileOf('{"\\u005f_proto__":{}}'), /must not have the key "__proto__"/],
  [
    'inner __proto__',
    fileOf('{"a":{"__proto__":{}}}'),
    'f: tensor "a": header must not have the key "__proto__": at character 6',
  ],
  [
    'metadata of __proto__',
    fileOf('{"__metadata__":{"__proto__":""}}'),
    'f: header must not have the key "__proto__": at character 17',
  ],
  ['metadata null', fileOf('{"__metadata__":null}'), 'f: __metadata__ must be an object: got null'],
  ['metadata number', fileOf('{"__metadata__":{"k":1}}'), 'f: __metadata__ must map strings to strings: "k" is 1'],
  [
    'metadata object',
    fileOf('{"__metadata__":{"k":{}}}'),
    'f: __metadata__ must map strings to strings: "k" is an object',
  ],
  ['entry 0', fileOf('{"a":0}'), 'f: tensor "a": entry must be an object: got 0'],
  ['entry empty', fileOf('{"a":{}}'), 'f: tensor "a": entry must have dtype, shape and data_offsets: dtype is missing'],
  ['no shape', fileOf('{"a":{"dtype":"U8","data_offsets":[0,0]}}'), /shape is missing$/],
  ['no offsets', fileOf('{"a":{"dtype":"U8","shape":[]}}'), /data_offsets is missing$/],
  [
    'a fourth key',
    fileOf('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"b":0}}'),
    /must have only .*: it has "b"$/,
  ],
  ['dtype 0', fileOf(`{"a":${entry(0, [0], [0, 0])}}`), 'f: tensor "a": dtype must be a string: got 0'],
  [
    'shape null',
    fileOf(`{"a":${entry('U8', null, [0, 0])}}`),
    'f: tensor "a": shape must be an array of integers from 0 to 2^53 - 1: got null',
  ],
  ['shape negative', fileOf(`{"a":${entry('U8', [-1], [0, 0])}}`), /shape must be .*: got \[-1\]$/],
  ['shape fractional', fileOf(`{"a":${entry('U8', [0.5], [0, 0])}}`), /shape must be .*: got \[0\.5\]$/],
  ['shape -0', fileOf('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'), /shape must be .*: got \[-0\]$/],
  ['shape 2^53', fileOf(`{"a":${entry('U8', [2 ** 53], [0, 0])}}`), /shape must be .*: got \[9007199254740992\]$/],
  [
    'shape infinite',
    fileOf('{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,0]}}'),
    /shape must be .*: got \[Infinity\]$/,
  ],
  ['shape string', fileOf(`{"a":${entry('U8', ['1'], [0, 0])}}`), /shape must be .*: got \["1"\]$/],
  ['shape nested', fileOf(`{"a":${entry('U8', [[1]], [0, 0])}}`), /shape must be .*: got \[an array\]$/],
  [
    'product too large',
    fileOf(`{"a":${entry('U8', [2 ** 30, 2 ** 30], [0, 0])}}`),
    /shape must have at most 2\^53 - 1 elements/,
  ],
  [
    'bits too large',
    fileOf(`{"a":${entry('F64', [2 ** 50], [0, 0])}}`),
    /must span F64 \[1125899906842624\], over 2\^50 bytes: got \[0, 0\], 0 bytes$/,
  ],
  [
    'offsets null',
    fileOf(`{"a":${entry('U8', [0], null)}}`),
    'f: tensor "a": data_offsets must be two integers from 0 to 2^53 - 1: got null',
  ],
  ['one offset', fileOf(`{"a":${entry('U8', [0], [0])}}`), /data_offsets must be two .*: got \[0\]$/],
  ['three offsets', fileOf(`{"a":${entry('U8', [0], [0, 0, 0])}}`), /data_offsets must be two .*: got \[0, 0, 0\]$/],
  ['offset negative', fileOf(`{"a":${entry('U8', [1], [-1, 0])}}`), /data_offsets must be two .*: got \[-1, 0\]$/],
  [
    'offset fractional',
    fileOf(`{"a":${entry('U8', [1], [0, 0.5])}}`, 1),
    /data_offsets must be two .*: got \[0, 0\.5\]$/,
  ],
  [
    'offsets backwards',
    fileOf(`{"a":${entry('U8', [1], [1, 0])}}`, 1),
    'f: tensor "a": data_offsets must not run backwards: got [1, 0]',
  ],
  [
    'past the end',
    fileOf(ONE),
    'f: tensor "a": data_offsets must lie within the data: got [0, 1], the file has 0 bytes of data; is it complete?',
  ],
  [
    'too large for the shape',
    fileOf(`{"a":${entry('F32', [], [0, 5])}}`, 5),
    'f: tensor "a": data_offsets must span F32 [], 4 bytes: got [0, 5], 5 bytes',
  ],
  [
    'too small for the shape',
    fileOf(`{"a":${entry('F4', [3], [0, 1])}}`, 1),
    'f: tensor "a": data_offsets must span F4 [3], 2 bytes: got [0, 1], 1 bytes',
  ],
  [
    'overlap',
    fileOf(`{"a":${entry('U8', [2], [0, 2])},"b":${entry('U8', [2], [1, 3])}}`, 3),
    /^f: tensor "b": data must not overlap tensor "a": it starts at byte \d+, tensor "a" ends at \d+$/,
  ],
  [
    'the same bytes',
    fileOf(`{"a":${entry('U8', [1], [0, 1])},"b":${entry('U8', [1], [0, 1])}}`, 1),
    /"b": data must not overlap tensor "a"/,
  ],
  [
    'empty within another',
    fileOf(`{"a":${entry('U8', [2], [0, 2])},"b":${entry('U8', [0], [1, 1])}}`, 2),
    /"b": data must not overlap tensor "a"/,
  ],
  [
    'hole',
    fileOf(`{"a":${entry('U8', [1], [0, 1])},"b":${entry('U8', [1], [2, 3])}}`, 3),
    /^f: tensor "b": data must leave no hole after tensor "a": it starts/,
  ],
  [
    'hole at the start',
    fileOf(`{"a":${entry('U8', [1], [1, 2])}}`, 2),
    /^f: tensor "a": data must leave no hole after the header: it starts/,
  ],
  ['bytes after', fileOf(ONE, 2), /^f: file must end with tensor "a", at byte \d+: it has \d+ bytes$/],
  ['bytes without tensors', fileOf('{}', 1), 'f: file must end with the header, at byte 10: it has 11 bytes'],
];

for (const [label, file, expected] of HOSTILE) {
  test(`openSafetensors() refuses in one line: ${label}`, async () => {
    const got = await message(file);
    if (typeof expected === 'string') assert.is(got, expected);
    else assert.match(got, expected);
  });
}

test('openSafetensors() refuses no proto pollution and prints no hostile name in full', async () => {
  assert.is(({} as Record<string, unknown>).polluted, undefined);
  const name = `a\u001b[2J\u009b\u2028${'x'.repeat(200_000)}`;
  for (const header of [
    { [name]: 0 },
    { [name]: { dtype: name, shape: [1], data_offsets: [0, 1] } },
    { a: { dtype: name, shape: new Array(200_000).fill(7), data_offsets: [0, 0] } },
    { __metadata__: { [name]: [name] } },
  ]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is left is the point
    assert.not.match(await message(fileOf(JSON.stringify(header))), /[\u0000-\u001f\u007f-\u009f\u2028]/);
  }
  await message(fileOf(`{"${'x'.repeat(1000)}":${EMPTY},"${'x'.repeat(1000)}":0}`));
});

test('openSafetensors() accepts what the reference accepts', async () => {
  assert.is((await openSafetensors(fileOf('{}'), 'f')).tensors.length, 0);
  const spaced = await openSafetensors(fileOf(` \n\t\r${ONE} \n`, 1), 'f');
  assert.is(spaced.tensors.length, 1);
  const odd = await openSafetensors(
    fileOf(
      `{"z":${entry('F32', [], [0, 4])},"e":${entry('F16', [0, 5], [4, 4])},"toString":${entry('Q4_K', [9], [4, 7])},` +
        `"a":${entry('BOOL', [1, 1, 1, 1, 1], [7, 8])},"":${entry('I64', [0], [0, 0])},"last":${entry('I64', [0], [8, 8])},` +
        `"\\ud83d\\ude00":${entry('F4', [3], [8, 10])},"__metadata__":{"constructor":"x"}}`,
      10,
    ),
    'f',
  );
  assert.equal(
    odd.tensors.map(({ name }) => name),
    ['', 'z', 'e', 'toString', 'a', 'last', '😀'],
  );
  assert.equal([...odd.metadata], [['constructor', 'x']]);
  assert.equal(new Uint8Array(await odd.tensors[3].read()), new Uint8Array([4, 5, 6]));
});

test('parseHeader() takes 100 000 tensors', () => {
  const names = Array.from({ length: 100_000 }, (_, i) => `model.layers.${i % 61}.mlp.experts.${i}.gate_proj.weight`);
  const bytes = utf8.encode(
    `{${names.map((name, i) => `"${name}":${entry('F8_E4M3', [2, 3], [6 * i, 6 * i + 6])}`).join(',')}}`,
  );
  const header = parseHeader(bytes, 'f', 8 + bytes.length + 600_000);
  assert.is(header.tensors.length, 100_000);
});

test('headerByteLength() reads a view that does not start its buffer', () => {
  assert.is(headerByteLength(new Uint8Array(fileOf(ONE, 1)).subarray(0, 8), 'f', 8 + ONE.length + 1), ONE.length);
  const shifted = new Uint8Array([9, 9, 9, 2, 0, 0, 0, 0, 0, 0, 0]).subarray(3);
  assert.is(headerByteLength(shifted, 'f', 10), 2);
});

// --- reads

test('openSafetensors() costs two reads, and read() one', async () => {
  const source = counting(fileOf(`{"a":${entry('F32', [2], [0, 8])},"e":${entry('F32', [0], [8, 8])}}`, 8));
  const file = await openSafetensors(source, 'f');
  const [a, e] = file.tensors;
  assert.equal(source.reads, [
    [0, 8],
    [8, a.start],
  ]);
  assert.equal(new Uint8Array(await a.read()), new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]));
  assert.equal(new Uint8Array(await a.read(2, 5)), new Uint8Array([2, 3, 4]));
  assert.is((await e.read()).byteLength, 0);
  assert.equal(source.reads.slice(2), [
    [a.start, a.end],
    [a.start + 2, a.start + 5],
  ]);
  for (const [start, end] of [
    [-1, 2],
    [3, 2],
    [0, 9],
    [0.5, 2],
    [Number.NaN, 2],
  ]) {
    assert.instance(await errorOf(a.read(start, end)), RangeError);
  }
});

test('openSafetensors() and read() refuse a source that gives fewer or more bytes', async () => {
  const bytes = fileOf(ONE, 1);
  for (const lie of [-1, 1]) {
    for (const call of [0, 1, 2]) {
      let calls = 0;
      const source: Source = {
        byteLength: bytes.byteLength,
        slice: (start, end) => (calls++ === call ? new ArrayBuffer(end - start + lie) : bytes.slice(start, end)),
      };
      const error = await errorOf(openSafetensors(source, 'f').then((file) => file.tensors[0].read()));
      assert.instance(error, FormatError);
      assert.match(error.message, /^f: source must give the \d+ bytes from \d+ to \d+: it gave \d+$/);
    }
  }
});

// --- fuzzing: a mutated header gives a header or a FormatError, nothing else

function survives(bytes: Uint8Array, fileByteLength: number): void {
  try {
    const { tensors } = parseHeader(bytes, 'f', fileByteLength);
    let offset = 8 + bytes.length;
    for (const { start, end } of tensors) {
      assert.is(start, offset);
      offset = end;
    }
    assert.is(offset, fileByteLength);
  } catch (error) {
    if (error instanceof FormatError || error instanceof UnsupportedError) {
      assert.ok(error.message.length < 1000 && !error.message.includes('\n'));
    } else throw error;
  }
}

const SAMPLE =
  `{"__metadata__":{"format":"pt"},"a.weight":${entry('F32', [2, 3], [0, 24])},"b":${entry('BF16', [], [24, 26])},` +
  `"c":${entry('F4', [4], [26, 28])},"d":${entry('I8', [0], [28, 28])}}`;

test('parseHeader() survives flipped, cut, doubled and exchanged bytes', () => {
  const sample = utf8.encode(SAMPLE);
  const edit = fc.record({
    at: fc.nat(sample.length - 1),
    kind: fc.constantFrom('flip', 'set', 'cut', 'double', 'delete'),
    value: fc.oneof(fc.nat(255), fc.constantFrom(...utf8.encode('{}[]:,"\\0123456789-.eE tfn_'))),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), fc.integer({ min: -2, max: 2 }), (edits, extra) => {
      let bytes = sample.slice();
      for (const { at: offset, kind, value } of edits) {
        const i = Math.min(offset, bytes.length - 1);
        if (kind === 'flip') bytes[i] ^= 1 << (value & 7);
        else if (kind === 'set') bytes[i] = value;
        else if (kind === 'cut') bytes = bytes.slice(0, Math.max(1, i));
        else if (kind === 'delete') bytes = Uint8Array.from([...bytes.slice(0, i), ...bytes.slice(i + 1), 0x20]);
        else bytes = Uint8Array.from([...bytes.slice(0, i), ...bytes.slice(Math.max(0, i - value)), ...bytes.slice(i)]);
      }
      survives(bytes, Math.max(8 + bytes.length, 8 + bytes.length + 28 + extra));
    }),
    { seed: 3, numRuns: 10_000 },
  );
});

test('parseHeader() survives mutations of the JSON', () => {
  const odd = fc.oneof(
    fc.constantFrom(
      0,
      -0,
      -1,
      1,
      4,
      24,
      26,
      28,
      0.5,
      2 ** 31,
      2 ** 32,
      2 ** 53 - 1,
      2 ** 53,
      1e308,
      null,
      true,
      '',
      'F32',
    ),
    fc.jsonValue({ maxDepth: 3 }),
  );
  const dtype = fc.oneof(fc.constantFrom('F32', 'BF16', 'F4', 'I8', 'F64', 'X'), odd);
  const counts = fc.oneof(fc.array(fc.oneof(fc.nat(6), odd), { maxLength: 4 }), odd);
  const offsets = fc.oneof(fc.tuple(fc.nat(28), fc.nat(28)), counts);
  const item = fc.oneof(
    { weight: 8, arbitrary: fc.record({ dtype, shape: counts, data_offsets: offsets }) },
    { weight: 1, arbitrary: odd },
  );
  const name = fc.oneof(
    fc.constantFrom('a', 'b', '__metadata__', '__proto__', 'constructor', 'toString', ''),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, item), { maxLength: 4 }), fc.nat(30), (members, dataLength) => {
      const text = `{${members.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
      const bytes = utf8.encode(text);
      survives(bytes, 8 + bytes.length + dataLength);
    }),
    { seed: 4, numRuns: 10_000 },
  );
});

test('openSafetensors() survives arbitrary bytes and lengths', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 64 }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.boolean(),
      async (tail, length, real) => {
        await openSafetensors(fileOf(tail, 0, real ? undefined : length), 'f').catch((error) =>
          assert.instance(error, FormatError),
        );
      },
    ),
    { seed: 5, numRuns: 3000 },
  );
});

// --- checkpoints

const tensorFile = (names: string[], metadata?: Record<string, string>) => {
  const entries = names.map((name, i) => `"${name}":${entry('U8', [1], [i, i + 1])}`);
  if (metadata) entries.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  return fileOf(`{${entries.join(',')}}`, names.length);
};
const json = (value: unknown): ArrayBuffer =>
  utf8.encode(typeof value === 'string' ? value : JSON.stringify(value)).buffer as ArrayBuffer;
const INDEX = 'model.safetensors.index.json';
const [S1, S2] = [shardName(0, 2), shardName(1, 2)];

test('openCheckpoint() prefers model.safetensors, then the index, then the only file', async () => {
  const [one, two, other] = [tensorFile(['one']), tensorFile(['two']), tensorFile(['other'])];
  const index = json({ weight_map: { two: S1 } });
  const first = async (files: Record<string, Source>) => (await openCheckpoint(folderOf('d/', files))).tensors[0];
  assert.is(
    (await first({ 'model.safetensors': one, [INDEX]: index, [S1]: two, 'other.safetensors': other })).name,
    'one',
  );
  assert.is((await first({ [INDEX]: index, [S1]: two, 'other.safetensors': other })).name, 'two');
  const only = await first({ 'config.json': json({}), 'other.safetensors': other });
  assert.is(only.name, 'other');
  assert.is(only.file, 'd/other.safetensors');
});

test('openCheckpoint() reads headers only, and orders tensors by shard and offset', async () => {
  const sources = {
    [S2]: counting(tensorFile(['d', 'b'], { k: '2', l: '2' })),
    [S1]: counting(tensorFile(['c', 'a', 'extra'], { k: '1' })),
  };
  const index = counting(json({ metadata: { total_size: 4.0 }, weight_map: { a: S1, b: S2, c: S1, d: S2 } }));
  const checkpoint = await openCheckpoint(folderOf('d', { ...sources, [INDEX]: index }));
  assert.equal(
    checkpoint.tensors.map(({ name }) => name),
    ['c', 'a', 'extra', 'd', 'b'],
  );
  assert.equal(
    checkpoint.files.map(({ file }) => file),
    [`d/${S1}`, `d/${S2}`],
  );
  assert.equal(Object.fromEntries(checkpoint.metadata), { k: '1', l: '2' });
  assert.is(index.reads.length + sources[S1].reads.length + sources[S2].reads.length, 5);
  const b = checkpoint.get('b')!;
  assert.equal(new Uint8Array(await b.read()), new Uint8Array([1]));
  assert.is(checkpoint.get('constructor'), undefined);
});

test('openSingle() is a checkpoint of one file', async () => {
  const checkpoint = await openSingle(tensorFile(['a'], { k: 'v' }), 'x.safetensors');
  assert.is(checkpoint.folder, 'x.safetensors');
  assert.is(checkpoint.get('a')!.file, checkpoint.files[0].file);
  assert.is(checkpoint.metadata.get('k'), 'v');
});

const NOTHING = 'd: folder must have model.safetensors, model.safetensors.index.json or one *.safetensors: ';
const AB = { [S1]: tensorFile(['a']), [S2]: tensorFile(['b']) };
const FAULTY: [label: string, files: Record<string, ArrayBuffer>, message: string | RegExp][] = [
  ['nothing', { 'config.json': json({}) }, `${NOTHING}none is there`],
  ['other formats', { 'pytorch_model.bin': json('') }, `${NOTHING}its weights are not safetensors (pytorch_model.bin)`],
  ['ggml', { 'm-Q4_0.ggml': json('') }, `${NOTHING}its weights are not safetensors (m-Q4_0.ggml)`],
  [
    'two files',
    { 'a.safetensors': json(''), 'b.safetensors': json('') },
    `${NOTHING}it has 2 *.safetensors and no index`,
  ],
  ['empty index', { [INDEX]: json('') }, `d/${INDEX}: index must be JSON: it ends at character 0, unfinished`],
  [
    'index not JSON',
    { [INDEX]: json('{"weight_map"}') },
    `d/${INDEX}: index must be JSON: unexpected "}" at character 13`,
  ],
  ['index an array', { [INDEX]: json('[]') }, `d/${INDEX}: index must be a JSON object: got []`],
  ['no weight_map', { [INDEX]: json({}) }, `d/${INDEX}: weight_map must be an object: got nothing`],
  [
    'empty weight_map',
    { [INDEX]: json({ weight_map: {} }) },
    `d/${INDEX}: weight_map must name at least one tensor: it is empty`,
  ],
  [
    'name twice',
    { [INDEX]: json(`{"weight_map":{"a":"${S1}","a":"${S1}"}}`) },
    /index\.json: tensor "a": index must not repeat a key: "a" again/,
  ],
  [
    '__proto__',
    { [INDEX]: json('{"weight_map":{"__proto__":"x.safetensors"}}') },
    /tensor "__proto__": index must not have the key/,
  ],
  [
    'shard a number',
    { [INDEX]: json({ weight_map: { a: 1 } }) },
    /tensor "a": shard must be the name of a .safetensors file in the same folder: got 1$/,
  ],
  [
    'shard missing',
    { ...AB, [INDEX]: json({ weight_map: { a: S1, c: 'c.safetensors' } }) },
    `d/${INDEX}: every shard of the index must be in the folder: "c.safetensors" is missing`,
  ],
  [
    'shard lacks a tensor',
    { ...AB, [INDEX]: json({ weight_map: { a: S1, b: S1 } }) },
    `d/${INDEX}: tensor "b": tensor must be in the shard that the index names: "${S1}" lacks it`,
  ],
  [
    'tensor in two shards',
    { [S1]: tensorFile(['a', 'b']), [S2]: tensorFile(['b']), [INDEX]: json({ weight_map: { a: S1, b: S2 } }) },
    `d/${S2}: tensor "b": tensor must be in one shard only: it is in "d/${S1}" too`,
  ],
  [
    'shard malformed',
    { [S1]: json('1234567'), [INDEX]: json({ weight_map: { a: S1 } }) },
    `d/${S1}: file must have at least the 8 bytes of the header length: it has 7`,
  ],
];
for (const path of [
  '../a.safetensors',
  '/a.safetensors',
  'b/a.safetensors',
  'b\\a.safetensors',
  'c:a.safetensors',
  'a.bin',
  '.safetensors',
  '..safetensors',
  'a\0.safetensors',
  '',
]) {
  FAULTY.push([
    `shard ${JSON.stringify(path)}`,
    { [INDEX]: json({ weight_map: { a: path } }) },
    /shard must be the name of a .safetensors file/,
  ]);
}

for (const [label, files, expected] of FAULTY) {
  test(`openCheckpoint() refuses in one line: ${label}`, async () => {
    const error = await errorOf(openCheckpoint(folderOf('d', files)));
    assert.instance(error, FormatError);
    if (typeof expected === 'string') assert.is(error.message, expected);
    else assert.match(error.message, expected);
  });
}

// --- layout

const spec = (name: string, byteLength: number, dtype = 'U8'): TensorSpec => ({
  name,
  dtype,
  shape: [byteLength / (dtypeBits(dtype)! / 8)],
  byteLength,
});

// Writes a shard as a caller would; tensor i's bytes are all i + 1.
async function write(shard: Shard): Promise<ArrayBuffer> {
  const sink = memorySink();
  await sink.write(shard.header);
  let offset = shard.header.length;
  for (const [i, { spec, start, padding }] of shard.entries.entries()) {
    assert.is(start, offset);
    await sink.write(new Uint8Array(spec.byteLength).fill(padding ? 0 : i + 1));
    offset += spec.byteLength;
  }
  assert.is(offset, shard.byteLength);
  return sink.bytes().buffer;
}

test('layOutShards() lays one shard out to the byte', () => {
  const [shard, ...rest] = layOutShards([[spec('a', 3), spec('b', 4, 'F32')]], {
    maxShardBytes: 1e6,
    metadata: () => ({ k: 'é' }),
  });
  assert.is(rest.length, 0);
  assert.is(shard.fileName, 'model.safetensors');
  const text = new TextDecoder().decode(shard.header.subarray(8));
  assert.is(
    text.trimEnd(),
    '{"__metadata__":{"k":"é"},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},' +
      '"higgs.padding.0":{"dtype":"U8","shape":[5],"data_offsets":[3,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}',
  );
  assert.is(shard.header.length % 8, 0);
  assert.is(new DataView(shard.header.buffer).getUint32(0, true), shard.header.length - 8);
  assert.is(shard.byteLength, shard.header.length + 12);
});

test('layOutShards() without tensors is one valid file', async () => {
  const [shard] = layOutShards([], { maxShardBytes: 1 });
  assert.is((await openSafetensors(await write(shard), 'f')).tensors.length, 0);
  const [trailing] = layOutShards([], { maxShardBytes: 1, trailing: () => [spec('t', 1)] });
  assert.is((await openSafetensors(await write(trailing), 'f')).tensors[0].name, 't');
});

test('layOutShards() refuses a header of more values than are read, and lays out what is', async () => {
  const many = Array.from({ length: 400_000 }, (_, i) => [spec(`t${i}`, 8)]);
  assert.throws(
    () => layOutShards(many, { maxShardBytes: 1e9 }),
    /header of model\.safetensors must have at most 4000000 values: it would have 4000008; smaller files/,
  );
  const [{ header, byteLength }] = layOutShards(many.slice(1), { maxShardBytes: 1e9 });
  assert.is(parseHeader(header.subarray(8), 'f', byteLength).tensors.length, 399_999);
});

test('layOutShards() leaves padding out when align is false', () => {
  const [shard] = layOutShards([[spec('a', 3), spec('b', 4)]], { maxShardBytes: 1e6, align: false });
  assert.equal(
    shard.entries.map(({ spec }) => spec.name),
    ['a', 'b'],
  );
});

test('layOutShards() round trips: no holes, aligned, at most maxShardBytes, groups whole, the same twice', async () => {
  const group = fc.array(fc.tuple(fc.nat(200), fc.constantFrom('U8', 'I8', 'F4', 'Q')), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(group, { maxLength: 12 }),
      fc.integer({ min: 1, max: 3000 }),
      fc.nat(2),
      fc.boolean(),
      fc.constantFrom('', 'é😀"\\\n'),
      async (lengths, maxShardBytes, extra, withMetadata, suffix) => {
        const groups = lengths.map((group, g) =>
          group.map(
            ([n, dtype], t): TensorSpec => ({
              name: `${g}.${t}${suffix}`,
              dtype,
              shape: dtype === 'F4' ? [n, 2] : [n],
              byteLength: n,
            }),
          ),
        );
        const options = {
          maxShardBytes,
          ...(withMetadata && {
            metadata: (index: number, first: number, end: number) => ({ about: `${index} ${end - first}${suffix}` }),
          }),
          trailing: (index: number, first: number, end: number) =>
            Array.from({ length: extra }, (_, k) => spec(`sums.${index}.${k}`, (end - first) * 4 + k)),
        };
        const shards = layOutShards(groups, options);
        assert.equal(layOutShards(groups, options), shards);

        const files: Record<string, Source> = {};
        const shardOf = new Map<string, number>();
        for (const [s, shard] of shards.entries()) {
          const bytes = await write(shard);
          files[shard.fileName] = bytes;
          const file = await openSafetensors(bytes, shard.fileName);
          assert.is(file.metadata.size, withMetadata ? 1 : 0);
          for (const [i, { spec, start, padding }] of shard.entries.entries()) {
            if (!padding) assert.is(start % 8, 0);
            else assert.ok(spec.byteLength >= 1 && spec.byteLength <= 7 && spec.dtype === 'U8' && isPadding(spec.name));
            shardOf.set(spec.name, s);
            const info = file.tensors.find(({ name }) => name === spec.name)!;
            assert.is(info.start, start);
            assert.equal(info.shape, spec.shape);
            assert.ok(new Uint8Array(await info.read()).every((byte) => byte === (padding ? 0 : i + 1)));
          }
          assert.not.ok(shard.entries.at(-1)?.padding);
          const groupsAndTrailing = [
            ...groups.slice(shard.first, shard.end).flat(),
            ...shard.trailing.map(({ spec }) => spec),
          ];
          assert.equal(
            shard.entries.filter(({ padding }) => !padding).map(({ spec }) => spec),
            groupsAndTrailing,
          );
          assert.ok(shard.trailing.length === extra && shard.trailing.every(({ start }) => start % 8 === 0));
          const layers = new Set(shard.entries.map(({ spec }) => spec.name.split('.')[0])).size;
          assert.ok(
            shard.byteLength <= maxShardBytes || layers <= 2 + extra,
            `${shard.byteLength} of ${maxShardBytes}`,
          );
        }
        // Greedy: what came first stays first, and a shard that is too large holds a single group.
        const order = shards.flatMap(({ entries }) =>
          entries.filter(({ padding }) => !padding).map(({ spec }) => spec.name),
        );
        assert.equal(
          order.filter((name) => !name.startsWith('sums')),
          groups.flat().map(({ name }) => name),
        );
        for (const group of groups) assert.ok(new Set(group.map(({ name }) => shardOf.get(name))).size <= 1);

        const index = indexJson(shards);
        assert.is(index === undefined, shards.length === 1);
        if (index === undefined) return;
        files[INDEX] = json(index);
        const total = shards
          .flatMap(({ entries }) => entries)
          .reduce((sum, e) => sum + (e.padding ? 0 : e.spec.byteLength), 0);
        assert.is(JSON.parse(index).metadata.total_size, total);
        assert.is(Object.keys(JSON.parse(index).weight_map).length, order.length);
        if (order.length === 0) return;
        const checkpoint = await openCheckpoint(folderOf('d', files));
        assert.equal(
          [...checkpoint.tensors].map(({ name }) => name).filter((name) => !isPadding(name)).length,
          order.length,
        );
      },
    ),
    { seed: 6, numRuns: 300 },
  );
});

test('layOutShards() fills a shard as far as it goes, trailing tensors counted', () => {
  const groups = Array.from({ length: 40 }, (_, i) => [spec(`t${i}`, 64), spec(`s${i}`, 5)]);
  const trailing = (index: number, first: number, end: number) => [spec(`sum${index}`, 100 * (end - first))];
  const options = { maxShardBytes: 2000, trailing };
  let from = 0;
  for (const [index, shard] of layOutShards(groups, options).entries()) {
    const count = shard.entries.filter(({ spec }) => spec.name.startsWith('t')).length;
    assert.ok(shard.byteLength <= 2000);
    const more = groups.slice(from, from + count + 1);
    if (from + count < groups.length) {
      const sizes = layOutShards([more.flat()], {
        maxShardBytes: 1,
        trailing: () => [spec(`sum${index}`, 100 * more.length)],
      });
      assert.ok(sizes[0].byteLength > 2000);
    }
    from += count;
  }
  assert.is(from, 40);
});

test('layOutShards() takes 30 000 groups, in one shard and in hundreds', () => {
  const groups = Array.from({ length: 30_000 }, (_, i) => [spec(`model.layers.${i}.weight`, 16)]);
  for (const maxShardBytes of [1e9, 12_000]) {
    const trailing = (index: number, first: number, end: number) => [spec(`sum${index}`, end - first)];
    const shards = layOutShards(groups, { maxShardBytes, trailing });
    assert.ok(shards.length === 1 || shards.length > 100);
  }
});

test('layOutShards() refuses double and reserved names, false sizes and huge headers', () => {
  const plan = (...specs: TensorSpec[]) => layOutShards([specs], { maxShardBytes: 1e9 });
  assert.throws(
    () => plan(spec('a', 1), spec('a', 1)),
    /^model.safetensors: tensor "a": name must occur once: another tensor has it$/,
  );
  assert.throws(() => plan(spec('higgs.padding.0', 1), spec('b', 1)), /tensor "higgs.padding.0": name must occur once/);
  assert.throws(() => plan(spec('__metadata__', 1)), /headers reserve/);
  assert.throws(() => plan(spec('__proto__', 1)), /headers reserve/);
  assert.throws(
    () => plan({ name: 'a', dtype: 'F32', shape: [2], byteLength: 4 }),
    /byteLength of "a" must be the 8 bytes of F32 \[2\]: got 4/,
  );
  assert.throws(() => plan(spec('a', -1)), /byteLength of "a" must be an integer/);
  assert.throws(() => layOutShards([], { maxShardBytes: 0 }), /maxShardBytes must be an integer/);
  assert.throws(
    () => plan(spec('x'.repeat(HEADER_LIMIT), 1)),
    /header of model.safetensors must have at most 100000000 bytes/,
  );
  assert.throws(
    () => layOutShards([[spec('a', 1)], [spec('b', 1)]], { maxShardBytes: 1, fileName: () => 'same' }),
    /same: names of shards must be unique/,
  );
});

test('indexJson() writes the bytes that Hugging Face writes', () => {
  const shards = layOutShards([[spec('z', 3), spec('7', 1)], [spec('é', 2)]], { maxShardBytes: 1 });
  assert.is(
    indexJson(shards, { total_parameters: 6 }),
    `{
  "metadata": {
    "total_parameters": 6,
    "total_size": 6
  },
  "weight_map": {
    "7": "model-00001-of-00002.safetensors",
    "z": "model-00001-of-00002.safetensors",
    "\\u00e9": "model-00002-of-00002.safetensors"
  }
}
`,
  );
  assert.is(indexJson(shards.slice(0, 1)), undefined);
});

test.run();
