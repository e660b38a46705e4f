// Models against the logits that their own code computes: what tests/families/make.py wrote beside each checkpoint.

import type { Folder } from '../src/index.ts';
import type { Threads } from '../src/workers/threads.ts';
import { loadAlone } from './alone.ts';
import { readSafetensors, valuesOf } from './checkpoints.ts';

/** Ids, and their logits in f64, (ids, vocabulary), of a model that is opened with this context. */
export interface Reference {
  readonly context: number;
  readonly ids: number[];
  readonly logits: Float64Array;
  /** Largest error of the family's own code in f32, where it is stored. */
  readonly rounded?: number;
}

/** The runs that a file of references holds. */
export function referencesOf(file: Uint8Array): Reference[] {
  const { tensors } = readSafetensors(file);
  return [...tensors].flatMap(([name, tensor]) => {
    if (!name.startsWith('ids.')) return [];
    const context = Number(name.slice(4));
    const logits = Float64Array.from(valuesOf(tensors.get(`logits.${context}`)!));
    const error = tensors.get(`rounded.${context}`);
    return [
      {
        context,
        ids: [...new Int32Array(Uint8Array.from(tensor.bytes).buffer)],
        logits,
        ...(error && { rounded: valuesOf(error)[0] }),
      },
    ];
  });
}

/** Logits of all ids, with nothing rounded but to f32. */
export async function logitsOf(folder: Folder, { context, ids }: Reference, threads?: Threads): Promise<Float32Array> {
  const options = { context, cache: 'f32', activations: 'f32', ...(threads && { threads }) } as const;
  const model = await loadAlone(folder, options);
  const all = await model.forward(ids, { logits: 'all' });
  await model.close();
  return all;
}

/** Largest difference of two rows of numbers. */
export function farthest(actual: ArrayLike<number>, wanted: ArrayLike<number>): number {
  if (actual.length !== wanted.length) throw new Error(`${wanted.length} numbers are wanted, ${actual.length} found`);
  let most = 0;
  for (let i = 0; i < actual.length; i++) {
    const apart = Math.abs(actual[i] - wanted[i]);
    most = apart > most || Number.isNaN(apart) ? apart : most;
  }
  return most;
}

/** Root mean square. */
export function deviation(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum / values.length);
}
