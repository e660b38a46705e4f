// What the library writes is read by FORMAT.md in f64 (format.ts), and what it decodes is compared within the bounds
// there; from src/ only the library's door.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { largeGrids } from '../src/grids/large.ts';
import { type CheckpointOptions, type Grid, load, type QuantizedMatrix } from '../src/index.ts';
import { normals, uniform } from './bits.ts';
import {
  memoryFolder,
  memoryOutput,
  rawTensor,
  readSafetensors,
  safetensors,
  type Tensor,
  tensorOf,
  valuesOf,
} from './checkpoints.ts';
import {
  checkCodes,
  checkSums,
  decode,
  gamma,
  groupsOf,
  type Layout,
  type Points,
  readAll,
  signOf,
  sizesOf,
  tolerance,
} from './format.ts';
import golden from './vectors/format1.json';

const higgs = await load(undefined, { grids: largeGrids });

// --- inputs

const WIDTHS = [1, 17, 33, 172, 576, 1000];
const DTYPES = ['F32', 'F16', 'BF16', 'F8_E4M3'];
const nameOf = (cols: number, dtype: string) => `model.layers.${cols}.mlp.up_proj.weight_${dtype}`;

// Every width in every dtype, two stacks of experts, F8 with factors, and tensors that pass through.
function inputTensors(): Record<string, Tensor> {
  const random = uniform(5);
  const tensors: Record<string, Tensor> = {};
  for (const cols of WIDTHS) {
    for (const dtype of DTYPES) {
      const values = normals(3 * cols, cols).map((x) => x * 0.07 + 0.02);
      values.fill(0, cols, cols + 9); // a group of zeros, if groups are small
      tensors[nameOf(cols, dtype)] = tensorOf(dtype, [3, cols], values);
    }
  }
  tensors['model.norm.weight'] = tensorOf('BF16', [13], normals(13));
  const factors = () => Array.from({ length: 12 }, () => 0.0003 + random() / 500);
  tensors['a.experts.down_proj'] = tensorOf('F16', [2, 3, 172], normals(2 * 3 * 172, 2));
  tensors['b.experts.down_proj'] = tensorOf(
    'F8_E4M3',
    [2, 130, 172],
    normals(2 * 130 * 172, 3).map((x) => x * 50),
  );
  tensors['b.experts.down_proj_scale_inv'] = tensorOf('F32', [2, 2, 2], factors().slice(0, 8));
  tensors['c.q_proj.weight'] = tensorOf(
    'F8_E4M3',
    [129, 300],
    normals(129 * 300, 4).map((x) => x * 90),
  );
  tensors['c.q_proj.weight_scale_inv'] = tensorOf('BF16', [2, 3], factors().slice(0, 6));
  tensors['d.bias'] = rawTensor('I64', [], [1, 2, 3, 4, 5, 6, 7, 8]);
  tensors['d.empty'] = rawTensor('F32', [0, 4], 0);
  tensors['d.odd'] = rawTensor('U8', [5], [1, 2, 3, 4, 5]);
  return tensors;
}

// The weights that are quantized: f8 times its block's factor, in f32.
function weightsOf(name: string, tensors: Record<string, Tensor>): Float64Array {
  const values = valuesOf(tensors[name]);
  const factors = tensors[`${name}_scale_inv`];
  if (!factors) return values;
  const [rows, cols] = tensors[name].shape.slice(-2);
  const [factorRows, factorCols] = factors.shape.slice(-2);
  const factorValues = valuesOf(factors);
  return values.map((value, i) => {
    const [expert, row, col] = [Math.floor(i / (rows * cols)), Math.floor(i / cols) % rows, i % cols];
    const index = (expert * factorRows + Math.floor(row / 128)) * factorCols + Math.floor(col / 128);
    return Math.fround(value * factorValues[index]);
  });
}

const metadata = { format: 'pt', 'ünïcode "key"': 'a\nb' };

async function quantizeToFiles(tensors: Record<string, Tensor>, options: CheckpointOptions) {
  const output = memoryOutput();
  const input = memoryFolder({ 'model.safetensors': safetensors(tensors, metadata) });
  const report = await higgs.quantizeCheckpoint(input, output, { include: /./, ...options });
  return { output, report };
}

const SCHEMES: CheckpointOptions[] = [
  { grid: 'p1n16', groupSize: 1024, seed: 0 },
  { grid: 'p1n8', groupSize: 64, seed: 1 },
  { grid: 'p2n256', groupSize: 512, seed: 4294967295 },
  { grid: 'p2n64', groupSize: 16, signs: 'none' },
  { grid: 'p3n512', groupSize: 128, seed: 77 },
  { grid: 'p4n256', groupSize: 4096, seed: 2 },
  { grid: 't4', groupSize: 1024, seed: 0 },
  { grid: 't4q', groupSize: 64, seed: 5 },
  { grid: 't3', groupSize: 512, seed: 1 },
  { grid: 't2', groupSize: 16, signs: 'none' },
  { grid: 't4z', groupSize: 1024, seed: 3 },
  { grid: 't5', groupSize: 128, seed: 4 },
  { grid: 't6', groupSize: 64, seed: 6 },
  { grid: 't3z', groupSize: 512, seed: 7 },
];

for (const scheme of SCHEMES) {
  const title = `${scheme.grid}, groups of ${scheme.groupSize}`;

  test(`FORMAT.md in f64 reads what quantizeCheckpoint() writes: ${title}`, async () => {
    const tensors = inputTensors();
    const { output } = await quantizeToFiles(tensors, scheme);
    assert.equal([...output.files.keys()], ['model.safetensors']);
    const file = output.files.get('model.safetensors')!;
    const { weights, plain } = readAll([file]);
    const actual = readSafetensors(file).metadata;
    for (const [key, value] of Object.entries(metadata)) assert.is(actual[key], value);

    // Everything of rank 2 and 3 that shrinks is quantized, all else is there bit by bit, in the original order.
    const grid = higgs.grids.get(scheme.grid as string)!;
    const gone: string[] = [];
    for (const [name, { shape, dtype, bytes }] of Object.entries(tensors)) {
      const [rows, cols] = [shape.slice(0, -1).reduce((a, b) => a * b, 1), shape.at(-1) ?? 1];
      const size =
        rows *
        (Math.ceil((sizesOf(layoutGrid(grid), cols).count * grid.bits) / 8) +
          2 * groupsOf(cols, scheme.groupSize!).length);
      const quantized =
        DTYPES.includes(dtype) && shape.length >= 2 && !name.endsWith('_scale_inv') && size < bytes.length;
      assert.is(weights.has(name), quantized, name);
      if (name.endsWith('_scale_inv')) gone.push(name);
      else if (!quantized) {
        const same = plain.get(name)!;
        assert.is(same.dtype, dtype);
        assert.equal(same.shape, shape);
        assert.equal(same.bytes, bytes);
      } else {
        assert.is(weights.get(name)!.dtype, dtype);
        assert.equal(weights.get(name)!.shape, shape);
        assert.is(weights.get(name)!.layout.seed, scheme.signs === 'none' ? null : scheme.seed);
      }
    }
    assert.is(gone.length, 2);
    assert.is(weights.size + plain.size, Object.keys(tensors).length - gone.length);
    const order = [...readSafetensors(file).tensors.keys()].map((name) => name.replace(/\.packed$/, ''));
    assert.equal(
      order.filter((name) => name in tensors),
      Object.keys(tensors).filter((name) => !gone.includes(name)),
    );

    // The decoded weights, and the errors that were noted.
    const plainOutput = memoryOutput();
    await higgs.dequantizeCheckpoint(output.folder(), plainOutput, { dtype: 'F32' });
    const restored = readSafetensors(plainOutput.files.get('model.safetensors')!);
    assert.equal(restored.metadata, metadata);
    for (const [name, { layout, packed, scales, shape, sums }] of weights) {
      const decoded = decode(packed.bytes, valuesOf(scales), layout);
      const restoredTensor = restored.tensors.get(name)!;
      assert.is(restoredTensor.dtype, 'F32');
      assert.equal(restoredTensor.shape, shape);
      const values = valuesOf(restoredTensor);
      for (let i = 0; i < values.length; i++) {
        const far = Math.abs(values[i] - decoded.weights[i]);
        if (!(far <= tolerance(decoded, i, layout.groupSize))) {
          assert.unreachable(`${name}[${i}] is ${values[i]}, in f64 ${decoded.weights[i]}`);
        }
      }
      checkSums(name, weightsOf(name, tensors), decoded, layout, sums);
      checkCodes(name, weightsOf(name, tensors), decoded, valuesOf(scales), layout);
    }
  });

  test(`matvec() is f64 dequantize-then-multiply: ${title}`, () => {
    const grid = higgs.grids.get(scheme.grid as string)!;
    for (const cols of [...WIDTHS, 2049]) {
      const rows = 5;
      const weights = normals(rows * cols, cols);
      const x = normals(cols, 9);
      const matrix = higgs.quantize(weights, { ...scheme, rows, cols });
      const layout = layoutOf(matrix);
      const decoded = decode(matrix.packed, halves(matrix.scales), layout);
      const y = higgs.matvec(matrix, x);
      assert.is(y.length, rows);
      const groups = groupsOf(cols, layout.groupSize);
      for (let row = 0; row < rows; row++) {
        let exact = 0;
        for (let i = 0; i < cols; i++) exact += decoded.weights[row * cols + i] * x[i];
        // x̃ rounds log2 g + 3 times, relative to Σ|x|/√g; its products with v are summed in some order, g roundings
        // at most; σ rounds once, and so does the sum at every group.
        let bound = 0;
        for (const { start, size } of groups) {
          let [vectors, activations] = [0, 0];
          for (let i = start; i < start + size; i++) {
            vectors += Math.abs(decoded.vectors[row * cols + i]);
            activations += Math.abs(x[i]) / Math.sqrt(size);
          }
          bound += gamma(Math.log2(size) + 3 + size + 1 + groups.length) * vectors * activations;
        }
        const far = Math.abs(y[row] - exact);
        assert.ok(
          far <= bound,
          `${cols} columns, row ${row}: ${y[row]}, in f64 ${exact}, bound ${bound} on ${grid.name}`,
        );
      }
    }
  });
}

function layoutOf({ rows, cols, groupSize, seed, grid }: QuantizedMatrix): Layout {
  return { rows, cols, groupSize, seed, grid: layoutGrid(grid) };
}

function layoutGrid(grid: Grid): Layout['grid'] {
  return 'tables' in grid ? grid : { p: grid.p, n: grid.n, points: grid.points };
}

function halves(scales: Uint16Array): Float64Array {
  const bytes = new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
  return valuesOf({ dtype: 'F16', shape: [], bytes });
}

test('dequantizeCheckpoint() rounds once more for F16 and BF16, and by default keeps each dtype, F8 as BF16', async () => {
  const tensors = inputTensors();
  const { output } = await quantizeToFiles(tensors, { grid: 'p2n256' });
  const { weights } = readAll([...output.files.values()]);
  for (const dtype of ['F16', 'BF16', undefined] as const) {
    const restored = memoryOutput();
    await higgs.dequantizeCheckpoint(output.folder(), restored, { ...(dtype && { dtype }) });
    const actual = readSafetensors(restored.files.get('model.safetensors')!).tensors;
    for (const [name, { layout, packed, scales, dtype: original }] of weights) {
      const tensor = actual.get(name)!;
      const expected = dtype ?? (original === 'F8_E4M3' ? 'BF16' : original);
      assert.is(tensor.dtype, expected);
      const decoded = decode(packed.bytes, valuesOf(scales), layout);
      const half = { F32: 0, F16: 2 ** -11, BF16: 2 ** -8 }[expected];
      const values = valuesOf(tensor);
      for (let i = 0; i < values.length; i++) {
        const bound = tolerance(decoded, i, layout.groupSize);
        const far = Math.abs(values[i] - decoded.weights[i]);
        assert.ok(
          far <= bound + half! * (Math.abs(decoded.weights[i]) + bound) + 2 ** -25,
          `${name}[${i}] as ${expected}`,
        );
      }
    }
  }
});

test('quantizeCheckpoint() shards: names, index, grids in the first files, checksums and padding counted over all files', async () => {
  const tensors = inputTensors();
  const limit = 20_000;
  const { output, report } = await quantizeToFiles(tensors, { grid: 'p2n256', maxShardBytes: limit });
  const names = [...output.files.keys()].filter((name) => name.endsWith('.safetensors'));
  assert.ok(names.length >= 3, `${names.length} files`);
  const count = String(names.length).padStart(5, '0');
  assert.equal(
    names,
    names.map((_, i) => `model-${String(i + 1).padStart(5, '0')}-of-${count}.safetensors`),
  );
  const files = names.map((name) => output.files.get(name)!);
  assert.is(
    report.bytesOut,
    files.reduce((sum, { length }) => sum + length, 0),
  );
  const { weights, plain } = readAll(files);
  assert.is(weights.size + plain.size, Object.keys(tensors).length - 2);
  for (const file of files) {
    const tensorNames = [...readSafetensors(file).tensors.keys()].filter((name) =>
      /^(?!higgs\.).*(?<!\.scales)$/.test(name),
    );
    assert.ok(file.length <= limit || tensorNames.length === 1, `${file.length} bytes, ${tensorNames.length} tensors`);
  }
  assert.ok(readSafetensors(files[0]).tensors.has('higgs.grid.p2n256'));
  const index = JSON.parse(new TextDecoder().decode(output.files.get('model.safetensors.index.json')));
  for (const [i, file] of files.entries()) {
    for (const name of readSafetensors(file).tensors.keys()) {
      if (!name.startsWith('higgs.padding.')) assert.is(index.weight_map[name], names[i], name);
    }
  }
  for (const [name, shard] of Object.entries(index.weight_map)) {
    assert.ok(readSafetensors(output.files.get(shard as string)!).tensors.has(name), name);
  }
  // The same weights, the same bytes, in one file or in many.
  const single = readAll([...(await quantizeToFiles(tensors, { grid: 'p2n256' })).output.files.values()]);
  for (const [name, { packed, scales }] of weights) {
    assert.equal(packed.bytes, single.weights.get(name)!.packed.bytes);
    assert.equal(scales.bytes, single.weights.get(name)!.scales.bytes);
  }
});

test('quantizeCheckpoint() stores several grids once each, the scheme of every tensor beside it', async () => {
  const output = memoryOutput();
  const tensors = {
    'model.embed_tokens.weight': tensorOf('BF16', [40, 64], normals(40 * 64)),
    'q_proj.weight': tensorOf('BF16', [4, 64], normals(4 * 64, 2)),
    'k_proj.weight': tensorOf('BF16', [4, 64], normals(4 * 64, 3)),
  };
  const input = memoryFolder({ 'model.safetensors': safetensors(tensors) });
  await higgs.quantizeCheckpoint(input, output, { grid: 'p1n4', embeddings: 'p4n256', groupSize: 32, seed: 3 });
  const { weights } = readAll([output.files.get('model.safetensors')!]);
  assert.is((weights.get('model.embed_tokens.weight')!.layout.grid as Points).p, 4);
  assert.is((weights.get('q_proj.weight')!.layout.grid as Points).n, 4);
  for (const { layout } of weights.values()) assert.equal([layout.groupSize, layout.seed], [32, 3]);
});

test('config.json tells other loaders that the weights are quantized, and the rest of it stays', async () => {
  const output = memoryOutput();
  const input = memoryFolder({
    'model.safetensors': safetensors({ 'q_proj.weight': tensorOf('BF16', [4, 64], normals(256)) }),
    'config.json': new TextEncoder().encode('{"hidden_size": 64, "torch_dtype": "bfloat16"}'),
    'tokenizer.json': Uint8Array.of(1, 2, 3),
    'pytorch_model.bin': Uint8Array.of(9),
  });
  await higgs.quantizeCheckpoint(input, output);
  assert.equal([...output.files.keys()].sort(), ['config.json', 'model.safetensors', 'tokenizer.json']);
  const config = JSON.parse(new TextDecoder().decode(output.files.get('config.json')));
  assert.is(config.quantization_config.quant_method, 'higgs-wasm');
  assert.is(config.hidden_size, 64);
  assert.equal(output.files.get('tokenizer.json'), Uint8Array.of(1, 2, 3));
  const restored = memoryOutput();
  await higgs.dequantizeCheckpoint(output.folder(), restored, { dtype: 'F32' });
  const plain = JSON.parse(new TextDecoder().decode(restored.files.get('config.json')));
  assert.equal(plain, { hidden_size: 64, torch_dtype: 'float32' });
});

// --- the golden file (tests/vectors/README.md)

function goldenInput(): Record<string, Tensor> {
  const values = Array.from({ length: 40 }, (_, i) => (((i * 37) % 101) - 50) / 64); // exact in every dtype
  return {
    'a.norm.weight': rawTensor('BF16', [3], [0x80, 0x3f, 0, 0x40, 0x40, 0x40]),
    'a.up_proj.weight': tensorOf('F32', [2, 20], values),
  };
}

test('the golden file: a change of one byte of the format does not pass unnoticed', async () => {
  const expected = Uint8Array.from(golden.hex.join('').match(/../g)!, (byte) => Number.parseInt(byte, 16));
  const output = memoryOutput();
  const input = memoryFolder({ 'model.safetensors': safetensors(goldenInput(), { format: 'pt' }) });
  await higgs.quantizeCheckpoint(input, output, { grid: 'p1n4', groupSize: 16, seed: 7 });
  const bytes = output.files.get('model.safetensors')!;
  const hex = (part: Uint8Array) => Array.from(part, (byte) => byte.toString(16).padStart(2, '0')).join('');
  assert.is(new TextDecoder().decode(bytes), new TextDecoder().decode(expected)); // shows where the header differs
  assert.is(hex(bytes), hex(expected));
});

test('the golden file is read by FORMAT.md in f64 and by the library', async () => {
  const file = Uint8Array.from(golden.hex.join('').match(/../g)!, (byte) => Number.parseInt(byte, 16));
  const { weights, plain } = readAll([file]);
  assert.equal([...plain.keys()], ['a.norm.weight']);
  const { layout, packed, scales, sums } = weights.get('a.up_proj.weight')!;
  const decoded = decode(packed.bytes, valuesOf(scales), layout);
  checkSums('golden', valuesOf(goldenInput()['a.up_proj.weight']), decoded, layout, sums);
  const restored = memoryOutput();
  await higgs.dequantizeCheckpoint(memoryFolder({ 'model.safetensors': file }), restored);
  const actual = readSafetensors(restored.files.get('model.safetensors')!).tensors.get('a.up_proj.weight')!;
  valuesOf(actual).forEach((value, i) => {
    assert.ok(Math.abs(value - decoded.weights[i]) <= tolerance(decoded, i, 16));
  });
});

test('the signs start with the words that FORMAT.md gives', () => {
  const word = (seed: number, k: number) => {
    let bits = 0;
    for (let i = 0; i < 32; i++) if (signOf(seed, 32 * k + i) < 0) bits += 2 ** i;
    return bits.toString(16);
  };
  assert.equal([word(0, 0), word(0, 1), word(1, 0), word(1, 1)], ['92ca2f0e', '3cd6e3f3', '50653bed', 'cc56a2eb']);
});

test.run();
