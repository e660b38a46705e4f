// A tensor is what checkpoint/tensor.ts says: a container of another kind, weights in another code and factors in another file are
// quantized and verified as safetensors are, by nothing but their `read`.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Checkpoint, openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import type { CheckpointTensor } from '../src/checkpoint/tensor.ts';
import { smallGrids } from '../src/grids/small.ts';
import { wrapKernels } from '../src/kernels/kernels.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { runPlan } from '../src/quantize/checkpoint.ts';
import { openQuantized } from '../src/quantize/format.ts';
import { planCheckpoint } from '../src/quantize/plan.ts';
import { verifyCheckpoint } from '../src/quantize/verify.ts';
import { localPool } from '../src/workers/pool.ts';
import { uniform } from './bits.ts';
import { indexOf, memoryFolder, memoryOutput, safetensors, tensorOf } from './checkpoints.ts';

const test = suite('tensor');
const kernels = wrapKernels(await loadKernels());
const pool = localPool(kernels);
const grid = smallGrids.find(({ name }) => name === 'p1n16')!;
const scheme = { grid, groupSize: 64, seed: 3 };

const NAME = 'model.layers.0.mlp.up_proj.weight';
const [ROWS, COLS] = [1500, 1000]; // two blocks
const random = uniform(4);
const nibbles = Uint8Array.from({ length: (ROWS * COLS) / 2 }, () => random() * 256);
const weights = Float32Array.from(
  { length: ROWS * COLS },
  (_, i) => (((nibbles[i >> 1] >> (4 * (i & 1))) & 15) - 7.5) / 8,
);

// Weights of four bits each that are decoded to f32 as they are read; counts what was decoded.
function coded(reads: number[]): CheckpointTensor {
  return {
    name: NAME,
    dtype: 'F32',
    shape: [ROWS, COLS],
    byteLength: ROWS * COLS * 4,
    file: 'model.coded',
    read: async (start = 0, end = ROWS * COLS * 4) => {
      reads.push(end - start);
      const values = new Float32Array((end - start) / 4);
      for (let i = 0; i < values.length; i++) {
        const index = start / 4 + i;
        values[i] = (((nibbles[index >> 1] >> (4 * (index & 1))) & 15) - 7.5) / 8;
      }
      return values.buffer;
    },
  };
}

function checkpointOf(tensor: CheckpointTensor): Checkpoint {
  const get = (name: string) => (name === tensor.name ? tensor : undefined);
  return { folder: 'coded', files: [], tensors: [tensor], metadata: new Map(), get };
}

test('weights in another code are quantized to the bytes of the same weights as they are', async () => {
  const plain = memoryFolder({ 'model.safetensors': safetensors({ [NAME]: tensorOf('F32', [ROWS, COLS], weights) }) });
  const reads: number[] = [];
  const outputs = [];
  for (const checkpoint of [checkpointOf(coded(reads)), await openCheckpoint(plain)]) {
    const output = memoryOutput();
    await runPlan(planCheckpoint(checkpoint, { scheme }), output, { pool, kernels });
    outputs.push(output);
  }
  const [fromCode, fromPlain] = outputs.map(({ files }) => files.get('model.safetensors'));
  assert.equal(fromCode, fromPlain);
  assert.equal(reads, [1048 * COLS * 4, 452 * COLS * 4]);

  const stored = await openQuantized(await openCheckpoint(outputs[0].folder()));
  const report = await verifyCheckpoint(stored, { pool, kernels, against: checkpointOf(coded(reads)) });
  assert.equal([report.bytesIn, report.tensors.length], [ROWS * COLS * 4, 1]); // else it had thrown
  const other = {
    ...coded([]),
    read: async (start = 0, end = 0) => weights.slice(start / 4, end / 4).reverse().buffer,
  };
  const refused = verifyCheckpoint(stored, { pool, kernels, against: checkpointOf(other) });
  assert.match(await refused.then(String, String), /t² must be .* so this is not the original/);
});

test('what is wrong with the weights names the file that the tensor says', async () => {
  const tensor: CheckpointTensor = {
    ...coded([]),
    read: async (start = 0, end = 0) => new Float32Array((end - start) / 4).fill(Number.NaN).buffer,
  };
  const plan = planCheckpoint(checkpointOf(tensor), { scheme });
  let message = '';
  await runPlan(plan, memoryOutput(), { pool, kernels }).catch((error) => {
    message = error.message;
  });
  assert.match(message, /^model\.coded: .*up_proj.*weights must be finite: \[0, 0\] is NaN/);
});

test('factors belong to their tensor, whichever shard has them', async () => {
  const f8 = tensorOf(
    'F8_E4M3',
    [130, 256],
    Float32Array.from({ length: 130 * 256 }, () => random() * 20 - 10),
  );
  const factors = tensorOf('F32', [2, 2], [0.5, 0.25, 2, 1]);
  const [weight, scales] = ['a.up_proj.weight', 'a.up_proj.weight_scale_inv'];
  const shards = { 'a.safetensors': [weight], 'b.safetensors': [scales] };
  const apart = memoryFolder({
    'model.safetensors.index.json': indexOf(shards),
    'a.safetensors': safetensors({ [weight]: f8 }),
    'b.safetensors': safetensors({ [scales]: factors }),
  });
  const together = memoryFolder({ 'model.safetensors': safetensors({ [weight]: f8, [scales]: factors }) });
  const files = [];
  for (const folder of [apart, together]) {
    const checkpoint = await openCheckpoint(folder);
    assert.is(checkpoint.get(weight)!.factors!.name, scales);
    assert.is(checkpoint.get(scales)!.factors, undefined);
    const output = memoryOutput();
    await runPlan(planCheckpoint(checkpoint, { scheme }), output, { pool, kernels });
    files.push(output.files.get('model.safetensors'));
  }
  assert.equal(files[0], files[1]);
});

test.run();
