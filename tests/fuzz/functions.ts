// Public functions, with arguments that work, and values that none of them expects.

import { createSampler } from '../../src/decoder.ts';
import { type Higgs, readAlphas, readBitPlan } from '../../src/index.ts';
import { normals } from '../bits.ts';
import { memoryFolder, memoryOutput, safetensors, tensorOf } from '../checkpoints.ts';

/** A function, its parameters by name, and arguments that work, made anew for each call. */
export interface PublicFunction {
  readonly name: string;
  readonly parameters: readonly string[];
  args(): unknown[] | Promise<unknown[]>;
  /** Calls it, and ends what it started. */
  call(...args: never[]): unknown;
  /** Members of the parameters that are objects, by the parameter's name. */
  readonly members?: Readonly<Record<string, readonly string[]>>;
}

const alphas = readAlphas('{"alpha":{"l.0.up_proj":0.2,"l.1.up_proj":0.3}}', 'alphas.json');
const input = memoryFolder({
  'model.safetensors': safetensors({
    'l.0.up_proj.weight': tensorOf('F32', [3, 40], normals(120, 1)),
    'l.1.up_proj.weight': tensorOf('F32', [2, 64], normals(128, 2)),
  }),
});
const tensors = [
  { name: 'l.0.up_proj.weight', shape: [3, 40] },
  { name: 'l.1.up_proj.weight', shape: [2, 64] },
];
const scheme = ['grid', 'groupSize', 'seed', 'signs'];
const planning = ['bpw', 'grids', 'groupSize', 'seed', 'signs', 'scales', 'minBits', 'maxBits'];

export async function functionsOf(higgs: Higgs): Promise<readonly PublicFunction[]> {
  const matrix = () => higgs.quantize(normals(120), { rows: 2, cols: 60, grid: 'p1n16', groupSize: 32 });
  return [
    {
      name: 'higgs.quantize',
      parameters: ['weights', 'options'],
      args: () => [normals(120), { rows: 2, cols: 60, grid: 'p1n16', groupSize: 32 }],
      call: higgs.quantize,
      members: { options: ['rows', 'cols', ...scheme, 'scaleSearch'] },
    },
    {
      name: 'higgs.matvec',
      parameters: ['matrix', 'x'],
      args: () => [matrix(), normals(60)],
      call: higgs.matvec,
      members: { matrix: ['rows', 'cols', 'grid', 'groupSize', 'seed', 'packed', 'scales'] },
    },
    {
      name: 'higgs.quantizeCheckpoint',
      parameters: ['input', 'output', 'options'],
      args: () => [input, memoryOutput(), { grid: 'p2n16', groupSize: 64, maxShardBytes: 4000 }],
      call: higgs.quantizeCheckpoint,
      members: { options: [...scheme, 'maxShardBytes', 'scaleSearch'] },
    },
    {
      name: 'higgs.allocate',
      parameters: ['tensors', 'alphas', 'options'],
      args: () => [tensors, alphas, { bpw: 4, groupSize: 64 }],
      call: higgs.allocate,
      members: { options: planning },
    },
    {
      name: 'higgs.planBits',
      parameters: ['input', 'alphas', 'options'],
      args: () => [input, alphas, { size: 2000, groupSize: 64 }],
      call: higgs.planBits,
      members: { options: [...planning, 'size', 'maxShardBytes'] },
    },
    {
      name: 'createSampler',
      parameters: ['options'],
      args: () => [{ temperature: 0.7, topK: 3, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1, seed: 1 }],
      call: (options) => createSampler(options)(Float32Array.of(1, 2, 3, 4, 5), new Set([1])),
      members: { options: ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'seed'] },
    },
    { name: 'readBitPlan', parameters: ['content', 'file'], args: () => ['{"higgs.plan":1}', 'x'], call: readBitPlan },
  ];
}

/** What hostile functions throw; it may come through, for a caller's own errors do. */
export const THROWN = 'thrown by a hostile value';

/** Ways to make a hostile value, by what it is. */
export const HOSTILE: Readonly<Record<string, () => unknown>> = {
  null: () => null,
  undefined: () => undefined,
  true: () => true,
  'a bigint': () => 10n ** 400n,
  'a symbol': () => Symbol('hostile'),
  'a function': () => () => undefined,
  'an object': () => ({}),
  'an object without a prototype': () => Object.create(null),
  'a length of 1e9': () => ({ length: 1e9 }),
  'a length of -1': () => ({ length: -1 }),
  'an empty array': () => [],
  'an array of 1e9 holes': () => new Array(1e9),
  'an array of null': () => [null],
  'no floats': () => new Float32Array(0),
  doubles: () => new Float64Array(3).fill(Number.NaN),
  'shared floats': () => new Float32Array(new SharedArrayBuffer(256)),
  'a Map': () => new Map<unknown, unknown>([[1, 2]]),
  'a regular expression': () => /x/gy,
  'a Promise': () => Promise.resolve({}),
};
