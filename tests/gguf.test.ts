// GGUF as a checkpoint: twins that llama.cpp's own package wrote give the logits of their originals, blocks decode to the bits of that
// package, vocabularies cut texts as tokenizer.json does. What a header may have wrong is said in one sentence.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, openOnce } from '../src/checkpoint/checkpoint.ts';
import { decodeBlocks } from '../src/checkpoint/gguf/blocks.ts';
import { parseGgufHeader, shortest } from '../src/checkpoint/gguf/header.ts';
import { openTokenizer } from '../src/decoder.ts';
import { type Folder, load } from '../src/index.ts';
import { createTokenizer } from '../src/text/tokenizer.ts';
import { sameBits } from './bits.ts';
import { memoryFolder, memoryOutput, readSafetensors, valuesOf } from './checkpoints.ts';
import { families } from './families/index.ts';
import { EMBEDDING, fileOf, folderWith, type Given, type GivenTensor, ggufOf, goldens, pairsOf } from './gguf/read.ts';
import { modelFolder } from './models.ts';
import { farthest, logitsOf, referencesOf } from './references.ts';
import tokenizers from './tokenizer-kinds/goldens.json';

const test = suite('gguf');
/** Where factors of a rope stand in f32 that config.json gives in f64; logits are of order 1. */
const ROUNDED: Readonly<Record<string, number>> = { arcee: 2e-5 };

for (const [name, config] of Object.entries(goldens.configs)) {
  const { model, logits } = families[name];
  const twin = folderWith('model.gguf', fileOf(`${name}.gguf`));

  test(`a twin gives the logits of the original: ${name}`, async () => {
    for (const reference of referencesOf(logits)) {
      const wanted = await logitsOf(modelFolder(config, model), reference);
      const most = farthest(await logitsOf(twin, reference), wanted);
      assert.ok(most <= (ROUNDED[name] ?? 0), `context ${reference.context}: ${most}`);
    }
  });

  test(`a twin has the tensors of the original, whatever part of them is read: ${name}`, async () => {
    const original = new Map(
      (await openCheckpoint(modelFolder(config, model))).tensors.map((tensor) => [tensor.name, tensor]),
    );
    for (const tensor of (await openCheckpoint(twin)).tensors) {
      const { byteLength } = tensor;
      const all = await tensor.read();
      assert.is(all.byteLength, byteLength, tensor.name);
      const own = original.get(tensor.name);
      if (own) assert.equal(tensor.shape, own.shape, tensor.name);
      for (const [start, end] of [
        [0, 1],
        [byteLength >> 1, byteLength],
        [5, Math.min(byteLength, 40)],
        [byteLength - 3, byteLength],
      ]) {
        const [part, now] = [await tensor.read(start, end), tensor.readSync?.(start, end)];
        sameBits(new Uint8Array(part), new Uint8Array(all.slice(start, end)), `${tensor.name} ${start}`);
        if (now) sameBits(new Uint8Array(now), new Uint8Array(part), `${tensor.name} ${start}, now`);
      }
    }
  });
}

test('blocks of every code decode to the bits of another decoder', () => {
  const file = fileOf('blocks.gguf');
  const header = parseGgufHeader(file, 'blocks.gguf', file.length)!;
  const wanted = readSafetensors(fileOf('blocks.safetensors')).tensors;
  assert.is(header.tensors.length, 12);
  for (const { code, start, end } of header.tensors) {
    const values = decodeBlocks(file.buffer.slice(start, end), code);
    sameBits(values, Float32Array.from(valuesOf(wanted.get(code.name)!)), code.name);
  }
});

test('experts that stand one by one have the names of those in stacks', async () => {
  const of = (name: string, rows: number, cols: number, first: number): GivenTensor => ({
    ...{ name: `blk.0.${name}.weight`, sizes: [cols, rows], type: 0 },
    bytes: new Uint8Array(Float32Array.from({ length: rows * cols }, (_, i) => first + i).buffer),
  });
  const own = [0, 1].flatMap((e) => [
    of(`ffn_gate.${e}`, 16, 8, 100 * e),
    of(`ffn_up.${e}`, 16, 8, 1000 + 100 * e),
    of(`ffn_down.${e}`, 8, 16, 2000 + 100 * e),
  ]);
  const pairs = { ...pairsOf('llama'), 'llama.expert_count': 2, 'llama.expert_used_count': 1 };
  const { tensors } = await openCheckpoint(
    folderWith('m.gguf', ggufOf(pairs, [EMBEDDING, of('ffn_gate_inp', 2, 8, 0), ...own])),
  );
  const found = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const path = 'model.layers.0.block_sparse_moe';
  assert.ok(found.has(`${path}.gate.weight`));
  for (const [name, shape, first] of [
    ['experts.1.w1', [16, 8], 100],
    ['experts.0.w3', [16, 8], 1000],
    ['experts.1.w2', [8, 16], 2100],
  ] as const) {
    const tensor = found.get(`${path}.${name}.weight`)!;
    assert.equal(tensor.shape, shape);
    assert.is(new Float32Array(await tensor.read(0, 4))[0], first);
  }
});

test('shortest() finds the decimal that was meant', () => {
  for (const value of [1e-5, 1e-6, 0.1, 10000, 500000, 1.5625e-7, 8, -2.5]) {
    assert.is(Math.fround(shortest(Math.fround(value))), Math.fround(value));
  }
  assert.is(shortest(Math.fround(1e-5)), 1e-5);
  assert.is(shortest(Math.fround(0.7)), 0.7);
  assert.is(shortest(0.1), 0.1);
});

for (const { name, model, pre, kinds, addBos, addSpace } of goldens.vocabularies) {
  test(`a vocabulary in metadata cuts texts as tokenizer.json does: ${name}`, async () => {
    const golden = tokenizers.tokenizers.find((each) => each.name === name)!;
    const { vocab, merges } = tokenizers.models[golden.model as 'byte' | 'sentence'];
    const tokens: string[] = [];
    for (const [token, id] of Object.entries(vocab)) tokens[id] = token;
    for (const { id, content } of golden.content.added_tokens) tokens[id] = content;
    const lists = merges as unknown as (string | string[])[];
    const given: Given = {
      'tokenizer.ggml.model': model,
      'tokenizer.ggml.pre': pre,
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': Float64Array.from(kinds),
      'tokenizer.ggml.merges': lists.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
      'tokenizer.ggml.scores': Float64Array.from(tokens, (_, id) => -rankOf(lists, tokens[id])),
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.unknown_token_id': 0,
      'tokenizer.ggml.add_bos_token': addBos,
      'tokenizer.ggml.add_space_prefix': addSpace,
    };
    const folder = await openOnce(folderWith('m.gguf', ggufOf({ ...pairsOf('llama'), ...given })));
    const [content, config] = await Promise.all(
      ['tokenizer.json', 'tokenizer_config.json'].map((file) => json(folder, file)),
    );
    const tokenizer = createTokenizer(content, config, 'tokenizer.json');
    for (const [i, text] of tokenizers.texts.entries()) {
      if (SPACED.test(text)) continue;
      assert.equal(tokenizer.encode(text), golden.ids[i], JSON.stringify(text));
      assert.is(tokenizer.decode(golden.ids[i]), golden.text[i], JSON.stringify(text));
    }
  });
}
// Added tokens of these goldens take spaces beside them along, or are found after normalization: GGUF has no word for either.
const SPACED = /<\|tool\|>|<\/think>/;

function rankOf(merges: readonly (string | string[])[], token: string): number {
  const at = merges.findIndex(
    (merge) => (typeof merge === 'string' ? merge.replace(' ', '') : merge.join('')) === token,
  );
  return at < 0 ? 1e6 : at;
}

async function json(folder: Folder, name: string): Promise<Record<string, unknown>> {
  const source = await folder.open(name);
  return JSON.parse(new TextDecoder().decode(await source.slice(0, source.byteLength)));
}

const LLAMA = pairsOf('llama');
const matrix = (more: Partial<GivenTensor> = {}): GivenTensor => ({
  ...{ name: 'blk.0.ffn_up.weight', sizes: [32, 2], type: 8, bytes: new Uint8Array(68) },
  ...more,
});
const whole = ggufOf(LLAMA);
const broken: readonly [what: string, file: Uint8Array, name: string, message: string][] = [
  ['no magic', new TextEncoder().encode('GGML1234'), 'FormatError', 'file must begin with GGUF: it begins with "GGML"'],
  [
    'no file',
    new Uint8Array(0),
    'FormatError',
    'header must end within the file: the file has 0 bytes; is it complete?',
  ],
  [
    'an old version',
    ggufOf(LLAMA, [], { version: 1 }),
    'UnsupportedError',
    'version of GGUF must be 2 or 3, little-endian: it is 1',
  ],
  [
    'another byte order',
    ggufOf(LLAMA, [], { version: 0x03000000 }),
    'UnsupportedError',
    'version of GGUF must be 2 or 3, little-endian: it is another byte order',
  ],
  [
    'a cut',
    whole.slice(0, 60),
    'FormatError',
    'header must end within the file: the file has 60 bytes; is it complete?',
  ],
  [
    'a cut in the data',
    whole.slice(0, -1),
    'FormatError',
    `data must lie within the file: it ends at byte ${whole.length}, the file has ${whole.length - 1}; is it complete?`,
  ],
  [
    'too many tensors',
    ggufOf(LLAMA, [], { counts: [2 ** 21, 0] }),
    'FormatError',
    'header must have at most 1048576 tensors: it has 2097152',
  ],
  [
    'too many pairs',
    ggufOf(LLAMA, [], { counts: [0, 2 ** 40] }),
    'FormatError',
    'header must have at most 65536 pairs: it has 1099511627776',
  ],
  [
    'a long name',
    ggufOf({ ['k'.repeat(2000)]: 1 }),
    'FormatError',
    'name of a pair must have at most 1024 bytes: it has 2000',
  ],
  [
    'an alignment of 24',
    ggufOf({ ...LLAMA, 'general.alignment': 24 }),
    'FormatError',
    'general.alignment must be a power of two up to 2097152: got 24',
  ],
  [
    'a row of no whole blocks',
    ggufOf(LLAMA, [matrix({ sizes: [33, 2] })]),
    'FormatError',
    'tensor "blk.0.ffn_up.weight": a row of Q8_0 must be whole blocks of 32: it has 33 weights',
  ],
  [
    'an odd offset',
    ggufOf(LLAMA, [matrix({ offset: 8 })]),
    'FormatError',
    'tensor "blk.0.ffn_up.weight": offset must be a multiple of 32: it is 8',
  ],
  [
    'an overlap',
    ggufOf(LLAMA, [EMBEDDING, matrix({ offset: 64 })]),
    'FormatError',
    'data must not overlap tensor token_embd.weight',
  ],
  [
    'five dimensions',
    ggufOf(LLAMA, [matrix({ sizes: [32, 1, 1, 1, 2] })]),
    'FormatError',
    'shape must have at most 4 dimensions: it has 5',
  ],
  [
    'one name twice',
    ggufOf(LLAMA, [EMBEDDING, EMBEDDING]),
    'FormatError',
    'tensor "token_embd.weight": names of tensors must be unique: this one occurs twice',
  ],
  [
    'a code that is not read',
    ggufOf(LLAMA, [matrix({ type: 10 })]),
    'UnsupportedError',
    'weights must be one of F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16, MXFP4: got Q2_K',
  ],
  ['an unknown code', ggufOf(LLAMA, [matrix({ type: 999 })]), 'UnsupportedError', 'got number 999'],
  ['no architecture', ggufOf({}), 'FormatError', 'general.architecture must be a text: got nothing'],
  [
    'another architecture',
    ggufOf(pairsOf('mamba')),
    'UnsupportedError',
    'general.architecture must be one of llama, mistral3,',
  ],
  ['no layers', ggufOf({ ...LLAMA, 'llama.block_count': 0 }), 'FormatError', 'layers must be from 1 to 1024: got 0'],
  [
    'a text for a number',
    ggufOf({ ...LLAMA, 'llama.embedding_length': 'x' }),
    'FormatError',
    'llama.embedding_length must be an integer: got "x"',
  ],
  ['no embedding', ggufOf(LLAMA, []), 'FormatError', 'file must hold token_embd.weight: it is missing'],
  [
    'heads that differ by layer',
    ggufOf({ ...LLAMA, 'llama.block_count': 2, 'llama.attention.head_count': Float64Array.of(2, 1) }),
    'UnsupportedError',
    'attention.head_count must be the same for all layers: got [2, 1]',
  ],
  [
    'a tensor of no family',
    ggufOf(LLAMA, [EMBEDDING, matrix({ name: 'blk.0.toString.weight' })]),
    'UnsupportedError',
    'tensor "blk.0.toString.weight": tensor must be one that llama has here: the name is unknown',
  ],
  [
    'rows of no whole heads',
    ggufOf(LLAMA, [
      EMBEDDING,
      matrix({ name: 'blk.0.attn_q.weight', sizes: [8, 3], type: 0, bytes: new Uint8Array(96) }),
    ]),
    'FormatError',
    'rows must be 2 heads of pairs, as the metadata has it: there are 3',
  ],
  [
    'another tokenizer',
    ggufOf({ ...LLAMA, 'tokenizer.ggml.model': 'rwkv' }),
    'UnsupportedError',
    'tokenizer.ggml.model must be gpt2 or llama: got "rwkv"',
  ],
  [
    'another way to cut texts',
    ggufOf({
      ...LLAMA,
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'kimi-k2',
      'tokenizer.ggml.tokens': ['a'],
    }),
    'UnsupportedError',
    'tokenizer.ggml.pre must be one of default, llama3,',
  ],
  [
    'a rope of another kind',
    ggufOf({ ...LLAMA, 'llama.rope.scaling.type': 'new' }),
    'UnsupportedError',
    'rope.scaling.type must be none, linear, yarn or longrope: got "new"',
  ],
];

for (const [what, file, name, message] of broken) {
  test(`a file is refused: ${what}`, async () => {
    const error = await openCheckpoint(folderWith('m.gguf', file)).then(
      () => undefined,
      (error) => error,
    );
    assert.is(error?.name, name, error?.stack);
    assert.ok(error.message.startsWith('memory/m.gguf: '), error.message);
    assert.ok(error.message.includes(message), error.message);
  });
}

test('a folder must have one model, all its parts', async () => {
  const part = (i: number, count = 3) => `m-0000${i}-of-0000${count}.gguf`;
  const folder = (...names: string[]) => memoryFolder(Object.fromEntries(names.map((name) => [name, whole])));
  const refused = (names: string[]) =>
    openCheckpoint(folder(...names)).then(
      () => 'taken',
      ({ message }) => message,
    );
  assert.is(await refused(['a.gguf']), 'taken');
  assert.is(await refused(['a.gguf', 'mmproj-a.gguf', 'README.md']), 'taken');
  assert.is(
    await refused(['a.gguf', 'b.gguf']),
    'memory: folder must have one model in GGUF: it has "a.gguf" and "b.gguf"; give the file',
  );
  assert.is(
    await refused([part(1), part(3)]),
    'memory: every part of the model must be in the folder: "m-00002-of-00003.gguf" is missing',
  );
  assert.match(await refused([part(1, 2), part(2, 2)]), /tensor must be in one file only: it is in two$/);
  assert.match(await refused(['mmproj-a.gguf']), /folder must have a model in GGUF: no .gguf file is in it$/);
});

test('a model in parts is the model whole', async () => {
  const file = fileOf('qwen2.gguf');
  const { pairs, tensors } = parseGgufHeader(file, 'qwen2.gguf', file.length)!;
  const given: Record<string, Given[string]> = {};
  for (const [key, value] of pairs) if (typeof value !== 'object') given[key] = value;
  const own = tensors.map(({ name, shape, start, end }): GivenTensor => {
    const type = shape.length === 1 ? 0 : 30;
    return { name, sizes: [...shape].reverse(), type, bytes: file.subarray(start, end) };
  });
  const parts = memoryFolder({
    'm-00001-of-00002.gguf': ggufOf(given, own.slice(0, 7)),
    'm-00002-of-00002.gguf': ggufOf({ 'split.no': 1 }, own.slice(7)),
  });
  const [reference] = referencesOf(families.qwen2.logits);
  sameBits(await logitsOf(parts, reference), await logitsOf(folderWith('m.gguf', file), reference));
});

test('a header longer than what is read first is read on', async () => {
  const tokens = Array.from({ length: 40_000 }, (_, i) => `${'token'.repeat(8)}${i}`);
  const file = ggufOf({ ...LLAMA, 'tokenizer.ggml.model': 'llama', 'tokenizer.ggml.tokens': tokens });
  assert.ok(file.length > 1 << 20);
  assert.is(parseGgufHeader(file.subarray(0, 1 << 20), 'm', file.length), undefined);
  const tokenizer = await openTokenizer(folderWith('m.gguf', file));
  assert.is(tokenizer.size, tokens.length);
});

test('quantizing writes a checkpoint as that of the original would be, its tokenizer and licence along', async () => {
  const higgs = await load();
  for (const name of ['qwen2', 'gemma2', 'qwen3_moe', 'deepseek_v2']) {
    const [output, decoded] = [memoryOutput(), memoryOutput()];
    const twin = folderWith('m.gguf', fileOf(`${name}.gguf`));
    const report = await higgs.quantizeCheckpoint(twin, output, { grid: 't4', groupSize: 16 });
    assert.ok(report.tensors.length > 0, name);
    assert.is((await higgs.open(output.folder())).folder.name, 'memory');
    await higgs.dequantizeCheckpoint(output.folder(), decoded, { dtype: 'F32' });
    const verified = await higgs.verifyCheckpoint(output.folder(), { against: twin });
    assert.ok(verified.checked > 0, name);
    const { metadata } = await openCheckpoint(output.folder());
    assert.is(metadata.get('general.license'), 'mit');
    const [reference] = referencesOf(families[name].logits);
    const wanted = await logitsOf(decoded.folder(), reference);
    assert.ok(farthest(await logitsOf(output.folder(), reference), wanted) <= 2e-4, name);
  }
});

test('inspect() tells codes and sizes as the file has them', async () => {
  const higgs = await load();
  const file = ggufOf(LLAMA, [EMBEDDING, matrix({ sizes: [32, 16], bytes: new Uint8Array(544) })]);
  const { tensors, bytes } = await higgs.inspectCheckpoint(folderWith('m.gguf', file));
  assert.is(bytes, file.length);
  const plan = await higgs.planCheckpoint(folderWith('m.gguf', file), { grid: 'p1n4', groupSize: 16 });
  assert.is(plan.bytesIn, 128 + 544);
  assert.equal(
    tensors.map(({ name, dtype, bytes }) => [name, dtype, bytes]),
    [
      ['model.embed_tokens.weight', 'F32', 128],
      ['model.layers.0.mlp.up_proj.weight', 'Q8_0', 544],
    ],
  );
});

test('configuration, ends of texts and templates come from the metadata', async () => {
  const tokens = ['<unk>', '<s>', '</s>', 'a', '<|im_end|>', '[PAD5]'];
  const given: Given = {
    ...LLAMA,
    'llama.rope.freq_base': 500000,
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': Float64Array.of(2, 3, 3, 1, 3, 5),
    'tokenizer.chat_template': '{{ messages }}',
    'tokenizer.chat_templates': ['tool_use'],
    'tokenizer.chat_template.tool_use': '{{ tools }}',
    'general.sampling.temp': 0.6,
  };
  const embedding = { ...EMBEDDING, sizes: [8, 6], bytes: new Uint8Array(192) };
  const folder = await openOnce(folderWith('m.gguf', ggufOf(given, [embedding])));
  assert.equal(await folder.list(), [
    ...['config.json', 'generation_config.json', 'm.gguf', 'tokenizer.json', 'tokenizer_config.json'],
  ]);
  const config = await json(folder, 'config.json');
  assert.equal([config.model_type, config.vocab_size, config.tie_word_embeddings], ['llama', 6, true]);
  assert.equal([config.rms_norm_eps, config.rope_theta, config.num_key_value_heads], [1e-5, 500000, 1]);
  assert.equal(await json(folder, 'generation_config.json'), {
    ...{ eos_token_id: 4, do_sample: true, temperature: 0.6 },
  });
  const { chat_template, bos_token, add_bos_token } = await json(folder, 'tokenizer_config.json');
  assert.equal([bos_token, add_bos_token], ['<s>', true]);
  assert.equal(chat_template, [
    { name: 'default', template: '{{ messages }}' },
    { name: 'tool_use', template: '{{ tools }}' },
  ]);
  const tokenizer = await openTokenizer(folder);
  assert.equal(tokenizer.encode('a<|im_end|>'), [1, 0, 3, 4]);
});

test('factors of a rope that are those of Llama 3 are told as such, any others stand as they are', async () => {
  const rope = async (factors: Float32Array) => {
    const bytes = new Uint8Array(factors.buffer);
    const pairs = { ...LLAMA, 'llama.attention.key_length': 2 * factors.length, 'llama.rope.freq_base': 500000 };
    const file = ggufOf(pairs, [EMBEDDING, { name: 'rope_freqs.weight', sizes: [factors.length], type: 0, bytes }]);
    return (await json(await openOnce(folderWith('m.gguf', file)), 'config.json')).rope_scaling;
  };
  const llama3 = Float32Array.from({ length: 64 }, (_, i) => {
    const turns = 8192 / (2 * Math.PI * 500000 ** (i / 64));
    const kept = (turns - 1) / 3;
    return turns > 4 ? 1 : turns < 1 ? 32 : 1 / ((1 - kept) / 32 + kept);
  });
  assert.equal(await rope(llama3), {
    ...{ rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 8192,
  });
  const own = await rope(Float32Array.of(1, 1.5, 3, 2));
  assert.equal(own, {
    ...{ rope_type: 'longrope', short_factor: [1, 1.5, 3, 2], long_factor: [1, 1.5, 3, 2], attention_factor: 1 },
    original_max_position_embeddings: 64,
  });
});

test.run();
