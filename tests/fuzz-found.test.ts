// What the fuzzer found, as short as it was made, and what is said of it: quantized checkpoints whose checksums hold, and plain ones.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { memoryFolder, memoryOutput, rawTensor, safetensors, type Tensor, tensorOf } from './checkpoints.ts';
import { encodeDraft, refit } from './fuzz/checkpoint.ts';
import { configs, modelFolder, randomFile, shapesOf } from './models.ts';

const higgs = await load();

interface Parts {
  weight?: object;
  grid?: object;
  sums?: number[];
  more?: [string, Tensor][];
}

// One weight of one row and one column, in two bits.
function folder({ weight, grid, sums = [0, 1], more = [] }: Parts) {
  const about = { shape: [1, 1], dtype: 'F32', grid: 'p1n4', groupSize: 16, seed: 0, ...weight };
  const metadata = {
    'higgs.format': '1',
    'higgs.tensors': JSON.stringify({ a: about }),
    'higgs.grids': JSON.stringify({ p1n4: { mse: 0.1, ...grid } }),
  };
  const tensors: [string, Tensor][] = [
    ['higgs.grid.p1n4', tensorOf('F32', [4, 1], [-1, 0, 1, 2])],
    ['a.packed', rawTensor('U8', [1, 1], 1)],
    ['a.scales', rawTensor('F16', [1, 1], 2)],
    ...more,
    ['higgs.errors.0', { dtype: 'F64', shape: [1, 2], bytes: new Uint8Array(Float64Array.from(sums).buffer) }],
  ];
  tensors.push(['higgs.checksums.0', rawTensor('U32', [tensors.length + 1], (tensors.length + 1) * 4)]);
  return memoryFolder({ 'model.safetensors': refit(encodeDraft({ metadata, tensors })) });
}

async function rejects(run: Promise<unknown>, message: string): Promise<void> {
  const said = await run.then(
    () => 'it did not fail',
    (error: Error) => `${error.name}: ${error.message}`,
  );
  assert.is(said, `FormatError: memory/model.safetensors: ${message}`);
}

test('inspectCheckpoint() and verifyCheckpoint() take the file that the others differ from', async () => {
  const whole = folder({});
  assert.is((await higgs.inspectCheckpoint(whole)).tensors[0].relativeError, 0);
  assert.is((await higgs.verifyCheckpoint(whole)).checked, 5);
});

for (const [sums, shown] of [
  [[-0.5, 1], '-0.5 and 1'],
  [[Number.NaN, 1], 'NaN and 1'],
  [[1, Number.POSITIVE_INFINITY], '1 and Infinity'],
  [[1e308, 5e-324], '1e+308 and 5e-324'],
] as const) {
  test(`inspectCheckpoint() refuses noted errors of ${shown}`, async () => {
    const message = `tensor "a": squared error and norm must be finite and not negative: got ${shown}`;
    await rejects(higgs.inspectCheckpoint(folder({ sums: [...sums] })), message);
    await rejects(higgs.verifyCheckpoint(folder({ sums: [...sums] })), message);
  });
}

test('inspectCheckpoint() refuses a grid whose MSE is below 0', async () => {
  const message = 'tensor "higgs.grid.p1n4": mse of grid p1n4 must be a number of at least 0: got -0.02';
  await rejects(higgs.inspectCheckpoint(folder({ grid: { mse: -0.02 } })), message);
});

test('inspectCheckpoint() shows a group size or a seed of another kind, and no more of it than fits', async () => {
  const size = (groupSize: unknown) => higgs.inspectCheckpoint(folder({ weight: { groupSize } }));
  await rejects(size(undefined), 'tensor "a": groupSize must be a number: got nothing');
  await rejects(
    size(['\u001b'.repeat(9999)]),
    `tensor "a": groupSize must be a number: got ["${'\\u001b'.repeat(80)}…"]`,
  );
  const seed = higgs.inspectCheckpoint(folder({ weight: { seed: 'x' } }));
  await rejects(seed, 'tensor "a": seed must be a number or null: got "x"');
});

test('inspectCheckpoint() refuses a tensor that is there quantized and as it was', async () => {
  const twice = folder({ more: [['a', tensorOf('F32', [1, 1], [1])]] });
  const message = 'tensor "a": tensor must be either quantized or plain: it is both';
  await rejects(higgs.inspectCheckpoint(twice), message);
  await rejects(higgs.verifyCheckpoint(twice), message);
});

test('verifyCheckpoint() takes the original of weights that err by a thousandth, where roundings are seen', async () => {
  const bits = Uint32Array.of(0x3cca619e, 0x006ce3ee, 0x3d85b8dd, 0x3e73670a);
  const tensor = { dtype: 'F32', shape: [2, 2, 1], bytes: new Uint8Array(bits.buffer) };
  const input = memoryFolder({ 'model.safetensors': safetensors({ 'experts.w1.weight': tensor }) });
  const output = memoryOutput();
  await higgs.quantizeCheckpoint(input, output, {
    grid: 'p1n256',
    groupSize: 32,
    seed: 2 ** 32 - 1,
    scaleSearch: true,
  });
  const { tensors } = await higgs.verifyCheckpoint(output.folder(), { against: input });
  assert.ok(tensors[0].relativeError > 4e-6 && tensors[0].relativeError < 5e-6);
});

test('measureSensitivity() names the tensor whose weights are not finite', async () => {
  const config = { ...configs.llama, num_hidden_layers: 1 };
  const tensors = Object.fromEntries(
    shapesOf(config).map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      return [name, tensorOf('F32', shape, new Float32Array(count).fill(Number.POSITIVE_INFINITY))];
    }),
  );
  const measured = higgs.measureSensitivity(modelFolder(config, safetensors(tensors)), {
    sequences: 1,
    tokens: 2,
    source: 'random',
  });
  const error = await measured.then(
    () => 'it did not fail',
    (error: Error) => `${error.name}: ${error.message}`,
  );
  assert.match(error, /^FormatError: memory\S*: tensor "\S+": weights must be finite: some are NaN or infinite$/);
});

test('measureSensitivity() takes more draws than a call takes arguments', async () => {
  const config = { ...configs.llama, num_hidden_layers: 1, hidden_size: 2, intermediate_size: 2, vocab_size: 3 };
  const small = {
    ...config,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: 2,
    eos_token_id: 0,
    bos_token_id: 0,
  };
  const options = { sequences: 1, tokens: 2, source: 'random', draws: 20_000 } as const;
  const { tensors } = await higgs.measureSensitivity(modelFolder(small, randomFile(small, ['F32'])), options);
  assert.is(tensors.size, 9);
});

test.run();
