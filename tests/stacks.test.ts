// Experts as gpt-oss stores them, as matrices: MXFP4 decoded, transposed stacks turned, whole or in parts.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import type { CheckpointTensor } from '../src/checkpoint/tensor.ts';
import { load } from '../src/index.ts';
import { normals } from './bits.ts';
import {
  memoryFolder,
  memoryOutput,
  rawTensor,
  readSafetensors,
  safetensors,
  tensorOf,
  valuesOf,
} from './checkpoints.ts';

const test = suite('stacks');

// A matrix of two experts, 3 × 64 each, in MXFP4; its values by the standard's table.
const [EXPERTS, ROWS, COLS] = [2, 3, 64];
const groups = (EXPERTS * ROWS * COLS) / 32;
const packed = Array.from({ length: groups * 16 }, (_, i) => (i * 37 + 11) % 256);
const scales = Array.from({ length: groups }, (_, i) => 120 + i);
const table = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6];
const values = packed.flatMap((pair, i) => {
  const factor = 2 ** (scales[Math.floor(i / 16)] - 127);
  return [table[pair & 15] * factor, table[pair >> 4] * factor];
});

const NAME = 'model.layers.0.mlp.experts.down_proj';
const mxfp4 = memoryFolder({
  'model.safetensors': safetensors({
    [`${NAME}_blocks`]: rawTensor('U8', [EXPERTS, ROWS, COLS / 32, 16], packed),
    [`${NAME}_scales`]: rawTensor('U8', [EXPERTS, ROWS, COLS / 32], scales),
    [`${NAME}_bias`]: tensorOf('F32', [EXPERTS, ROWS], normals(EXPERTS * ROWS, 1)),
  }),
});

function turnedFile(dtype: string) {
  const turned = values.map((_, i) => {
    const [expert, col, row] = [Math.floor(i / (ROWS * COLS)), Math.floor(i / ROWS) % COLS, i % ROWS];
    return values[(expert * ROWS + row) * COLS + col];
  });
  return memoryFolder({
    'model.safetensors': safetensors({
      [NAME]: tensorOf(dtype, [EXPERTS, COLS, ROWS], turned),
      [`${NAME}_bias`]: tensorOf(dtype, [EXPERTS, ROWS], normals(EXPERTS * ROWS, 1)),
    }),
  });
}

async function read(tensor: CheckpointTensor, start?: number, end?: number): Promise<number[]> {
  const bytes = new Uint8Array(await tensor.read(start, end));
  return [...valuesOf({ dtype: tensor.dtype, shape: [bytes.length], bytes })];
}

for (const [form, folder, dtype] of [
  ['MXFP4', mxfp4, 'BF16'],
  ['a transposed stack of BF16', turnedFile('BF16'), 'BF16'],
  ['a transposed stack of F32', turnedFile('F32'), 'F32'],
] as const) {
  test(`openCheckpoint() gives matrices of ${form}`, async () => {
    const checkpoint = await openCheckpoint(folder);
    assert.equal(checkpoint.tensors.map(({ name }) => name).sort(), [`${NAME}.weight`, `${NAME}_bias`]);
    const tensor = checkpoint.get(`${NAME}.weight`)!;
    assert.equal([tensor.dtype, tensor.shape], [dtype, [EXPERTS, ROWS, COLS]]);
    const width = dtype === 'F32' ? 4 : 2;
    assert.equal(tensor.byteLength, values.length * width);
    assert.equal(await read(tensor), values);
    for (const [from, to] of [
      [0, 1],
      [7, 40],
      [COLS, 3 * COLS],
      [3 * COLS - 1, 3 * COLS + 1],
      [150, 384],
      [384, 384],
    ]) {
      assert.equal(await read(tensor, from * width, to * width), values.slice(from, to), `${from} to ${to}`);
    }
  });
}

test('quantizing MXFP4 gives what its values in BF16 give', async () => {
  const higgs = await load();
  const files = await Promise.all(
    [mxfp4, turnedFile('BF16')].map(async (folder) => {
      const output = memoryOutput();
      const report = await higgs.quantizeCheckpoint(folder, output, { grid: 'p2n256', groupSize: 32 });
      assert.equal(
        report.tensors.map(({ name }) => name),
        [`${NAME}.weight`],
      );
      return readSafetensors(output.files.get('model.safetensors')!).tensors;
    }),
  );
  const [first, second] = files.map((tensors) =>
    [...tensors].flatMap(([name, { dtype, shape, bytes }]) =>
      name.startsWith(`${NAME}.weight`) ? [{ dtype, shape, bytes }] : [],
    ),
  );
  assert.is(first.length, 2);
  assert.equal(first, second);
});

test('blocks without scales of their shape stay as they are', async () => {
  const folder = memoryFolder({
    'model.safetensors': safetensors({
      [`${NAME}_blocks`]: rawTensor('U8', [EXPERTS, ROWS, COLS / 32, 16], packed),
      [`${NAME}_scales`]: rawTensor('U8', [EXPERTS, ROWS, COLS / 32 - 1], scales.slice(0, EXPERTS * ROWS)),
    }),
  });
  const { tensors } = await openCheckpoint(folder);
  assert.equal(tensors.map(({ name }) => name).sort(), [`${NAME}_blocks`, `${NAME}_scales`]);
});

test.run();
