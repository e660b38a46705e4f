// Checkpoints written as GGUF: beside twins that llama.cpp's own package wrote (tests/gguf/make.py) they have the same metadata and the
// same weights; read again they give the bits of logits of the original. What llama.cpp has no word for is refused by name.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOnce } from '../src/checkpoint/checkpoint.ts';
import { decodeBlocks } from '../src/checkpoint/gguf/blocks.ts';
import { type GgufTensor, parseGgufHeader } from '../src/checkpoint/gguf/header.ts';
import { openTokenizer } from '../src/decoder.ts';
import { type Folder, load } from '../src/index.ts';
import { CODES, type WrittenDtype } from '../src/interop/gguf/codes.ts';
import { layOutGguf, writeGguf } from '../src/interop/gguf/export.ts';
import { headerOf } from '../src/interop/gguf/header.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { f32ToBf16, f32ToF16, floatBits } from '../src/reference/float.ts';
import { localPool } from '../src/workers/pool.ts';
import { normals, sameBits } from './bits.ts';
import { memoryFolder, memoryOutput, readSafetensors, safetensors, tensorOf, valuesOf } from './checkpoints.ts';
import { families } from './families/index.ts';
import { fileOf, folderWith, goldens } from './gguf/read.ts';
import { modelFolder } from './models.ts';
import { logitsOf, referencesOf } from './references.ts';
import tokenizers from './tokenizer-kinds/goldens.json';

const test = suite('export gguf');
const pool = localPool(wrapKernels(await loadKernels()));

async function exported(folder: Folder, dtype?: WrittenDtype) {
  const layout = await layOutGguf(await openOnce(folder), { pool, dtype });
  const output = memoryOutput();
  await writeGguf(layout, await output.create('m.gguf'), { pool });
  const file = output.files.get('m.gguf')!;
  assert.is(file.length, layout.byteLength);
  return { file, layout };
}

const refusal = (folder: Folder, dtype?: WrittenDtype): Promise<string> =>
  exported(folder, dtype).then(
    () => 'written',
    ({ message }) => message,
  );

/** What a twin has otherwise: its own name and licence, which layers slide as a list, which llama.cpp does not read. */
const APART = /^general\.(name|license)$|\.sliding_window_pattern$/;
/** Layers without attention have no rope, whatever the twin says of one. */
const WITHOUT_ROPE = { lfm2: /\.rope\./ } as Record<string, RegExp>;
/** llama.cpp has such layers at equal steps alone; the golden has not. */
const STEPS = { gemma3_text: { layer_types: ['sliding_attention', 'sliding_attention', 'full_attention'] } } as Record<
  string,
  object
>;
/** Factors of a rope, which the package computes in f32. */
const ROUNDED = 1e-6;

for (const [name, golden] of Object.entries(goldens.configs)) {
  const { model, logits } = families[name];
  const config = { ...golden, ...STEPS[name] };
  test(`a checkpoint becomes the file that llama.cpp's package writes: ${name}`, async () => {
    const twin = fileOf(`${name}.gguf`);
    const wanted = parseGgufHeader(twin, 'twin', twin.length)!;
    const { file } = await exported(modelFolder(config, model), 'F32');
    const own = parseGgufHeader(file, 'own', file.length)!;
    for (const [key, value] of wanted.pairs) {
      if (!APART.test(key) && !WITHOUT_ROPE[name]?.test(key)) assert.equal(own.pairs.get(key), value, key);
    }
    const found = new Map(own.tensors.map((tensor) => [tensor.name, tensor]));
    assert.is(found.size, wanted.tensors.length);
    const valuesIn = (bytes: Uint8Array, { start, end, code }: GgufTensor) =>
      decodeBlocks(bytes.slice(start, end).buffer as ArrayBuffer, code);
    for (const tensor of wanted.tensors) {
      const same = found.get(tensor.name)!;
      assert.equal(same?.shape, tensor.shape, tensor.name);
      const [is, must] = [valuesIn(file, same), valuesIn(twin, tensor)];
      // MXFP4 has zeros of both signs.
      if (tensor.code.name === 'MXFP4')
        assert.equal(
          [...is].map((x) => x + 0),
          [...must].map((x) => x + 0),
          tensor.name,
        );
      else if (tensor.name !== 'rope_freqs.weight') sameBits(is, must, tensor.name);
      else for (const [i, value] of must.entries()) assert.ok(Math.abs(is[i] / value - 1) < ROUNDED);
    }
  });

  test(`what is written in F32 gives the logits of the original, to the bit: ${name}`, async () => {
    if (name === 'arcee') return; // its rope's factors are f32 in the file, f64 in config.json
    const { file } = await exported(modelFolder(config, model), 'F32');
    for (const reference of referencesOf(logits)) {
      const wanted = await logitsOf(modelFolder(config, model), reference);
      sameBits(await logitsOf(folderWith('m.gguf', file), reference), wanted, String(reference.context));
    }
  });
}

test('a quantized checkpoint becomes the file of what dequantize() makes of it', async () => {
  const higgs = await load();
  for (const name of ['qwen2', 'mixtral', 'deepseek_v3', 'phi3']) {
    const [output, decoded] = [memoryOutput(), memoryOutput()];
    const original = modelFolder(goldens.configs[name], families[name].model);
    await higgs.quantizeCheckpoint(original, output, { grid: 't4', groupSize: 16 });
    await higgs.dequantizeCheckpoint(output.folder(), decoded, { dtype: 'F32' });
    const [own, wanted] = await Promise.all([output, decoded].map((from) => exported(from.folder(), 'F32')));
    sameBits(own.file, wanted.file, name);
  }
});

test('a header holds vocabularies of any size', () => {
  const tokens = Array.from({ length: 300_000 }, (_, id) => `t${id}`);
  const file = headerOf({ 'tokenizer.ggml.tokens': tokens }, []);
  assert.equal(parseGgufHeader(file, 'own', file.length)!.pairs.get('tokenizer.ggml.tokens'), tokens);
});

test('F16 and BF16 are rounded as everywhere else, Q8_0 as by another encoder', () => {
  const bits = Uint32Array.from({ length: 1 << 16 }, (_, i) => i * 65_521 + (i & 3));
  const all = new Float32Array(bits.buffer).filter((value) => Math.abs(value) < 65520);
  const some = new Float32Array([
    ...all,
    0,
    -0,
    2 ** -24,
    2 ** -25,
    1.5 * 2 ** -25,
    65504,
    2 ** -14,
    ...normals(1000, 3),
  ]);
  for (const [dtype, narrow] of [
    ['F16', f32ToF16],
    ['BF16', f32ToBf16],
  ] as const) {
    const wanted = Uint16Array.from(some, (value) => narrow(floatBits(value)));
    sameBits(CODES[dtype].encode(some.slice()), new Uint8Array(wanted.buffer), dtype);
  }
  const { tensors } = readSafetensors(fileOf('rounded.safetensors'));
  const weights = Float32Array.from(valuesOf(tensors.get('weights')!));
  sameBits(CODES.Q8_0.encode(weights), Uint8Array.from(tensors.get('codes')!.bytes), 'Q8_0');
});

test('rows that are no whole blocks are in F16, what is no matrix in F32', async () => {
  const { layout } = await exported(modelFolder(goldens.configs.qwen2, families.qwen2.model), 'Q8_0');
  const dtypes = new Map(layout.tensors.map(({ name, dtype, shape }) => [name, [dtype, shape.at(-1)! % 32 === 0]]));
  for (const [name, [dtype, isWhole]] of dtypes) {
    const wanted = /norm|bias/.test(name) ? 'F32' : isWhole ? 'Q8_0' : 'F16';
    assert.is(dtype, wanted, name);
  }
  assert.equal(new Set([...dtypes.values()].map(([dtype]) => dtype)).has('F16'), true);
});

for (const { name, model, pre, kinds, addBos, addSpace } of goldens.vocabularies) {
  test(`a tokenizer becomes metadata that cuts texts as it does: ${name}`, async () => {
    const golden = tokenizers.tokenizers.find((each) => each.name === name)!;
    const ignores = ['llama-bpe', 'tekken'].includes(pre); // theirs do; the goldens share a model
    const own = { ...tokenizers.models[golden.model as 'byte' | 'sentence'], ignore_merges: ignores };
    const content = { ...golden.content, model: own };
    const rows = kinds.length + 3;
    const folder = tokenizing(content, rows);
    const { file } = await exported(folder);
    const { pairs } = parseGgufHeader(file, 'm', file.length)!;
    const pad = (values: readonly number[]) => Float64Array.from([...values, 5, 5, 5]);
    assert.is(pairs.get('tokenizer.ggml.model'), model);
    assert.equal(pairs.get('tokenizer.ggml.token_type'), pad(kinds.map((kind, i) => unknownOr(model, i, kind))));
    assert.is(pairs.get('tokenizer.ggml.add_bos_token'), addBos);
    if (model === 'llama') assert.is(pairs.get('tokenizer.ggml.add_space_prefix'), addSpace);
    else
      assert.ok(
        [pre, ...SAME].includes(pairs.get('tokenizer.ggml.pre') as string),
        String(pairs.get('tokenizer.ggml.pre')),
      );
    const [is, must] = [await openTokenizer(folderWith('m.gguf', file)), await openTokenizer(folder)];
    for (const text of tokenizers.texts) {
      if (!/<\|tool\|>|<\/think>/.test(text)) assert.equal(is.encode(text), must.encode(text), JSON.stringify(text));
    }
  });
}
/** Names of the same steps. */
const SAME = ['llama3', 'hunyuan'];
// The converter for tokenizer.json has no kind of its own for the unknown piece.
const unknownOr = (model: string, id: number, kind: number) => (model === 'llama' && id === 0 ? 2 : kind);

const LLAMA = {
  ...{ model_type: 'llama', hidden_size: 8, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 2 },
  ...{ rms_norm_eps: 1e-5, max_position_embeddings: 64, tie_word_embeddings: true },
};

// A Llama of one layer with so many tokens.
function llama(rows: number, more: Record<string, number> = {}): Uint8Array {
  const sizes: Record<string, number[]> = {
    'model.embed_tokens.weight': [rows, 8],
    ...{ 'model.norm.weight': [8], 'model.layers.0.input_layernorm.weight': [8] },
    'model.layers.0.post_attention_layernorm.weight': [8],
    ...Object.fromEntries(['q', 'k', 'v', 'o'].map((x) => [`model.layers.0.self_attn.${x}_proj.weight`, [8, 8]])),
    ...{ 'model.layers.0.mlp.gate_proj.weight': [16, 8], 'model.layers.0.mlp.up_proj.weight': [16, 8] },
    'model.layers.0.mlp.down_proj.weight': [8, 16],
  };
  const filled = Object.entries(sizes).map(([name, shape]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return [name, tensorOf('F32', shape, new Float32Array(count).fill(more[name] ?? 0.5))];
  });
  const others = Object.keys(more).filter((name) => !(name in sizes));
  return safetensors(
    Object.fromEntries([...filled, ...others.map((name) => [name, tensorOf('F32', [8, 8], new Float32Array(64))])]),
  );
}

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function tokenizing(content: unknown, rows: number, config: object = { unk_token: '<unk>', bos_token: '<s>' }): Folder {
  return memoryFolder({
    'config.json': json({ ...LLAMA, vocab_size: rows, bos_token_id: 1, eos_token_id: 2 }),
    'model.safetensors': llama(rows),
    'tokenizer.json': json(content),
    'tokenizer_config.json': json(config),
  });
}

test('what llama.cpp has no word for is refused by name', async () => {
  const folder = (config: object, weights = llama(4)) =>
    memoryFolder({ 'config.json': json({ ...LLAMA, vocab_size: 4, ...config }), 'model.safetensors': weights });
  assert.is(await refusal(folder({})), 'written');
  assert.match(
    await refusal(folder({}, llama(4, { 'model.layers.0.mlp.other.weight': 1 }))),
    /mlp\.other\.weight": tensor must be one of llama in llama\.cpp: it has no name for this one/,
  );
  assert.match(await refusal(folder({}, llama(4, { 'model.norm.weight': 1e6 })), 'F16'), /^written$/); // norms are F32
  const wide = llama(4, { 'model.layers.0.mlp.up_proj.weight': 1e6 });
  assert.match(await refusal(folder({}, wide), 'F16'), /mlp\.up_proj\.weight": weights must fit F16: one is 1000000/);
  assert.is(await refusal(folder({}, wide), 'BF16'), 'written');
  const smollm = { ...goldens.configs.smollm3, no_rope_layer_interval: 2, no_rope_layers: null };
  assert.match(
    await refusal(modelFolder(smollm, families.smollm3.model)),
    /config\.json must say what llama\.cpp knows of the family: it has layers\.\d\.0\.rope/,
  );
  const mistral = { ...goldens.configs.mistral, sliding_window: 8 };
  const { layout } = await exported(modelFolder(mistral, families.mistral.model));
  assert.equal(layout.remarks, [
    'llama.cpp lets a token see all before it; config.json has a window of 8: longer texts differ',
  ]);
  assert.match(
    await refusal(modelFolder(goldens.configs.gemma3_text, families.gemma3_text.model)),
    /layers that see all must come at equal steps/,
  );
  const seed = modelFolder(families.seed_oss.config, families.seed_oss.model);
  assert.match(await refusal(seed), /family must be one of llama, mistral, .* by itself: it is seed_oss$/);
});

test('a tokenizer that llama.cpp cannot follow is refused by name', async () => {
  const bpe = (model: object, rest: object = {}) => ({
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    decoder: null,
    ...rest,
    model: { type: 'BPE', merges: [], ...model },
  });
  const pieces = { byte_fallback: true, unk_token: '<unk>', vocab: { '<unk>': 0, a: 1, b: 2, ab: 3 } };
  const level = { pre_tokenizer: { type: 'Split', pattern: { Regex: 'x+' }, behavior: 'Isolated', invert: false } };
  for (const [content, rows, message] of [
    [bpe(pieces), 4, /merges must make every piece of others, as SentencePiece's do: none makes ab/],
    [bpe({ ...pieces, merges: ['a b'] }), 3, /ids must be below the embedding's 3 rows: that of "ab" is 3/],
    [bpe({ ...pieces, merges: undefined }), 4, /merges must make every piece of others/],
    [
      bpe({ vocab: { a: 0, b: 1 } }, { ...level, normalizer: { type: 'Sequence' } }),
      4,
      /steps before merges must be of a kind/,
    ],
    [
      bpe({ ...pieces, merges: ['a b'] }, { normalizer: { type: 'NFKC' } }),
      4,
      /steps before pieces must be those of SentencePiece: "NFKC" is none/,
    ],
    [
      bpe({ vocab: { a: 0, b: 1 } }, level),
      4,
      /steps before merges must be of a kind that llama\.cpp knows: it has no name for these/,
    ],
  ] as const) {
    assert.match(await refusal(tokenizing(content, rows)), message);
  }
});

test.run();
