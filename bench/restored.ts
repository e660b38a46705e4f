// A checkpoint whose linear weights were quantized by a baseline and restored, in F32, in memory.

import type { Higgs } from '../src/higgs.ts';
import { folderOf } from '../src/source/memory.ts';
import type { Folder, Source } from '../src/source/source.ts';
import { safetensors, type Tensor } from '../tests/checkpoints.ts';
import type { Restored } from './baselines.ts';
import { t2 } from './errors.ts';

/** A checkpoint to run, and what it costs. */
export interface Candidate {
  folder: Folder;
  /** Over the linear weights. */
  bitsPerWeight: number;
  /** Mean of the relative errors of the linear weights, each weight once. */
  meanT2: number;
}

/** Quantizes a named weight (rows, cols) and restores it; `bench/baselines.ts` need no name. */
type NamedBaseline = (weights: Float32Array, rows: number, cols: number, name: string) => Restored | Promise<Restored>;

/** Replaces the weights that `higgs quantize` would quantize by what `baseline` makes of them. */
export async function restore(higgs: Higgs, input: Folder, baseline: NamedBaseline): Promise<Candidate> {
  const plan = await higgs.planCheckpoint(input);
  const tensors: Record<string, Tensor> = {};
  const errors: number[] = [];
  let [bits, weights] = [0, 0];
  for (const item of plan.items) {
    if (item.kind === 'grid') continue;
    const { tensor } = item;
    const { name, dtype } = tensor;
    const shape = [...tensor.shape];
    const bytes = await tensor.read();
    if (item.kind === 'copy') {
      tensors[name] = { dtype, shape, bytes: new Uint8Array(bytes) };
      continue;
    }
    const { rows, cols } = item.quantized;
    const original = floatsOf(bytes, dtype);
    const { dequantized, bitsPerWeight } = await baseline(original, rows, cols, name);
    tensors[name] = { dtype: 'F32', shape, bytes: new Uint8Array(dequantized.buffer) };
    errors.push(t2(original, dequantized));
    bits += bitsPerWeight * original.length;
    weights += original.length;
  }
  const files = new Map<string, Source>();
  for (const file of await input.list()) if (file.endsWith('.json')) files.set(file, await input.open(file));
  files.set('model.safetensors', safetensors(tensors).buffer);
  return {
    folder: folderOf(input.name, files),
    bitsPerWeight: bits / weights,
    meanT2: errors.reduce((sum, error) => sum + error, 0) / errors.length,
  };
}

function floatsOf(bytes: ArrayBuffer, dtype: string): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes);
  if (dtype !== 'BF16') throw new RangeError(`weights must be F32 or BF16: got ${dtype}`);
  const halves = new Uint16Array(bytes);
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < words.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}
