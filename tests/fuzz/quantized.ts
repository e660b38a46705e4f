// Plain checkpoints of odd numbers, sizes and dtypes, quantized by any scheme. What is taken must verify against its original, and
// give the same plain checkpoint however it is cut into files.

import type { CheckpointOptions } from '../../src/index.ts';
import { memoryOutput, type Tensor } from '../checkpoints.ts';
import { type Draft, encodeDraft, randomTensor } from './checkpoint.ts';
import { expect, Fault } from './oracle.ts';
import { NUMBERS, type Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, folderOfCase, type Target } from './target.ts';

const NAMES = [
  'l.0.up_proj.weight',
  'l.1.q_proj.weight',
  'experts.w1.weight',
  'model.embed_tokens.weight',
  'norm.weight',
  'x',
];

function randomOptions(random: Random): CheckpointOptions {
  const grids = ['p1n4', 'p1n16', 'p2n16', 'p2n256', 'p1n256', 't2', 't3', 't4'];
  return {
    grid: random.pick(grids),
    groupSize: random.pick([16, 32, 128, 1024, 4096]),
    ...(random.chance(0.3) && { signs: 'none' }),
    ...(random.chance(0.3) && { seed: random.pick([1, 2 ** 32 - 1]) }),
    ...(random.chance(0.3) && { scaleSearch: true }),
    ...(random.chance(0.3) && { embeddings: random.pick(grids) }),
    ...(random.chance(0.3) && { maxShardBytes: random.pick([1, 500, 3000]) }),
  };
}

// A tensor, and what else belongs to it: factors of F8.
function randomWeight(random: Random, name: string, odd: number): [string, Tensor][] {
  const cols = random.between(1, random.chance(0.1) ? 5000 : 300);
  const rows = random.between(1, 5);
  const stacked = name.startsWith('experts');
  const shape = name === 'x' ? [] : name === 'norm.weight' ? [cols] : stacked ? [2, rows, cols] : [rows, cols];
  const tensor = randomTensor(random, shape, odd);
  if (random.chance(0.05)) tensor.bytes.fill(0);
  if (!random.chance(0.2) || shape.length < 2) return [[name, tensor]];
  const bytes = random.bytes(tensor.shape.reduce((product, size) => product * size, 1));
  if (!random.chance(0.2)) for (let i = 0; i < bytes.length; i++) if ((bytes[i] & 127) === 127) bytes[i]--;
  const f8: [string, Tensor] = [name, { dtype: 'F8_E4M3', shape, bytes }];
  if (random.chance(0.3)) return [f8];
  const blocks = [...shape.slice(0, -2), Math.ceil(rows / 128), Math.ceil(cols / 128)];
  const factors = Float32Array.from({ length: blocks.reduce((product, size) => product * size, 1) }, () =>
    random.chance(odd) ? random.pick(NUMBERS) : 0.01,
  );
  return [f8, [`${name}_scale_inv`, { dtype: 'F32', shape: blocks, bytes: new Uint8Array(factors.buffer) }]];
}

export const quantized: Target = {
  name: 'quantized',
  make(random) {
    const odd = random.pick([0, 0.1, 0.5]);
    const names = NAMES.filter(() => random.chance(0.5));
    const draft: Draft = {
      metadata: random.chance(0.5) ? { format: 'pt', constructor: 'x' } : {},
      tensors: names.flatMap((name) => randomWeight(random, name, odd)),
    };
    return { 'model.safetensors': encodeDraft(draft), [CASE_NAME]: caseOf({ ...randomOptions(random) }) };
  },
  async run(files, { higgs }) {
    const options = choicesOf<CheckpointOptions>(files);
    const input = folderOfCase(files);
    const output = memoryOutput();
    const report = await higgs.quantizeCheckpoint(input, output, options);
    for (const { relativeError } of report.tensors) {
      expect(relativeError >= 0 && relativeError < Infinity, `t² is a number: ${relativeError}`);
    }
    const folder = output.folder();
    const verified = await higgs.verifyCheckpoint(folder, { against: input }).catch((error: Error) => {
      throw new Fault(`what was quantized does not verify: ${error.message}`);
    });
    expect(verified.tensors.length === report.tensors.length, 'as many tensors are verified');
    const plain = memoryOutput();
    const restored = await higgs.dequantizeCheckpoint(folder, plain, { dtype: 'F32' }).catch((error: Error) => {
      throw new Fault(`what was quantized cannot be dequantized: ${error.message}`);
    });
    const [before, after] = [await higgs.inspectCheckpoint(input), await higgs.inspectCheckpoint(plain.folder())];
    const kept = before.tensors.filter(({ name }) => restored.tensors.some((tensor) => tensor.name === name));
    const shapes = (list: readonly { name: string; shape: readonly number[] }[]) =>
      JSON.stringify(list.map(({ name, shape }) => [name, shape]).sort());
    expect(shapes(after.tensors) === shapes(kept), 'names and shapes are those of the original');
    expect(
      before.tensors.every(({ name }) => kept.some((tensor) => tensor.name === name) || name.endsWith('_scale_inv')),
      'nothing is lost',
    );
  },
};
