// Interrupted runs whose journal or partial files were changed: what goes on gives the bytes of an uninterrupted run, or refuses.

import type { ResumableFolder } from '../../src/index.ts';
import { folderOf, memorySink } from '../../src/source/memory.ts';
import { normals } from '../bits.ts';
import { safetensors, tensorOf } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { expect } from './oracle.ts';
import { randomOf } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, type Target, type World } from './target.ts';

const matrix = (rows: number, cols: number, seed: number) => tensorOf('F32', [rows, cols], normals(rows * cols, seed));
const input = {
  'model.safetensors': safetensors({
    'l.0.up_proj.weight': matrix(4, 100, 1),
    'norm.weight': tensorOf('F32', [5], [1, 2, 3, 4, 5]),
    'l.1.up_proj.weight': matrix(3, 130, 2),
    'l.2.up_proj.weight': matrix(2, 64, 3),
  }),
};
const options = { grid: 'p1n16', groupSize: 64, maxShardBytes: 900, resume: { identity: 'fuzz' } };

class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** A folder that ends after so many operations, and keeps what was written. */
function disk(files: Map<string, Uint8Array>, operations = Infinity): ResumableFolder {
  let left = operations;
  const operate = () => {
    if (left-- <= 0) throw new Interrupted();
  };
  const sink = (name: string, kept: Uint8Array) => {
    const memory = memorySink();
    const store = () => files.set(name, memory.bytes());
    const start = memory.write(kept).then(store);
    return {
      async write(bytes: Uint8Array) {
        await start;
        operate();
        await memory.write(bytes);
        store();
      },
      async close() {
        await start;
        operate();
      },
      abort: async () => {},
    };
  };
  return {
    name: 'memory',
    list: async () => [...files.keys()].sort(),
    open: (name) =>
      folderOf('memory', new Map([...files].map(([key, bytes]) => [key, bytes.slice().buffer as ArrayBuffer]))).open(
        name,
      ),
    async create(name) {
      operate();
      return sink(name, new Uint8Array());
    },
    async extend(name, byteLength) {
      operate();
      return sink(name, files.get(name)!.slice(0, byteLength));
    },
    async remove(name) {
      operate();
      files.delete(name);
    },
  };
}

async function quantize({ higgs }: World, files: Map<string, Uint8Array>, operations?: number): Promise<void> {
  const folder = folderOf('input', { 'model.safetensors': input['model.safetensors'].slice().buffer });
  await higgs.quantizeCheckpoint(folder, disk(files, operations), options);
}

let whole: Files | undefined;
let partials: Files[] | undefined;

async function interruptions(world: World): Promise<Files[]> {
  if (partials) return partials;
  const complete = new Map<string, Uint8Array>();
  await quantize(world, complete);
  whole = Object.fromEntries(complete);
  partials = [];
  for (let operations = 1; ; operations++) {
    const files = new Map<string, Uint8Array>();
    try {
      await quantize(world, files, operations);
      return partials;
    } catch (error) {
      if (!(error instanceof Interrupted)) throw error;
      if (files.size > 0) partials.push(Object.fromEntries(files));
    }
  }
}

export const resumed: Target = {
  name: 'resumed',
  make(random) {
    // Which interruption is chosen is a share of those there are: they are made when the case runs.
    const name = random.pick(['higgs.journal', 'higgs.journal', 'shard']);
    return { [CASE_NAME]: caseOf({ share: random.float(), name, seed: random.below(2 ** 31) }) };
  },
  async run(files, world) {
    const { share, name, seed } = choicesOf<{ share: number; name: string; seed: number }>(files);
    const states = await interruptions(world);
    const state = { ...states[Math.floor(share * states.length)] };
    const random = randomOf(seed, 'resumed', 0);
    const changed = name === 'shard' ? Object.keys(state).find((key) => key.endsWith('.safetensors')) : name;
    if (changed !== undefined && state[changed]) state[changed] = changeBytes(state[changed], random);
    const output = new Map(Object.entries(state));
    await quantize(world, output);
    for (const [file, bytes] of Object.entries(whole!)) {
      const sink = output.get(file);
      expect(
        sink !== undefined && sink.length === bytes.length && sink.every((byte, i) => byte === bytes[i]),
        `${file} is that of an uninterrupted run`,
      );
    }
  },
};
