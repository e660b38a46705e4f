// Requests of public functions with any value for every argument and every option. Functions are listed here with a call that is right;
// a case puts hostile values in the places of some of its arguments.

import { createSampler } from '../../src/decoder.ts';
import { readAlphas, readBitPlan } from '../../src/index.ts';
import { normals } from '../bits.ts';
import { memoryFolder, memoryOutput, safetensors, tensorOf } from '../checkpoints.ts';
import { NUMBERS, type Random, TEXTS } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, type Target, type World } from './target.ts';

/** A function, and arguments that it takes. Options are objects of plain values. */
export interface Request {
  readonly name: string;
  readonly values: readonly unknown[];
  call(world: World, values: readonly never[]): unknown;
}

const alphas = readAlphas('{"alpha":{"l.0.up_proj":0.2,"l.1.up_proj":0.3}}', 'alphas.json');
const input = memoryFolder({
  'model.safetensors': safetensors({
    'l.0.up_proj.weight': tensorOf('F32', [3, 40], normals(120, 1)),
    'l.1.up_proj.weight': tensorOf('F32', [2, 64], normals(128, 2)),
  }),
});
const budget = { bpw: 4, groupSize: 64, minBits: 2, maxBits: 8, scales: true, signs: 'seeded', seed: 1 };
const shapes = [
  { name: 'l.0.up_proj.weight', shape: [3, 40] },
  { name: 'l.1.up_proj.weight', shape: [2, 64] },
];

const requests: readonly Request[] = [
  {
    name: 'quantize',
    values: [{ rows: 2, cols: 60, grid: 'p1n16', groupSize: 32, seed: 0, signs: 'seeded', scaleSearch: false }],
    call({ higgs }, [options]) {
      const weights = normals(120);
      const matrix = higgs.quantize(weights, options);
      higgs.matvec(matrix, higgs.dequantize(matrix).subarray(0, matrix.cols));
    },
  },
  {
    name: 'planCheckpoint',
    values: [{ grid: 't4', groupSize: 64, maxShardBytes: 4000 }],
    call: ({ higgs }, [options]) => higgs.planCheckpoint(input, options),
  },
  {
    name: 'quantizeCheckpoint',
    values: [{ grid: 'p2n16', groupSize: 64, seed: 3, maxShardBytes: 4000, scaleSearch: true }],
    call: ({ higgs }, [options]) => higgs.quantizeCheckpoint(input, memoryOutput(), options),
  },
  {
    name: 'allocate',
    values: [shapes, budget],
    call: ({ higgs }, [tensors, options]) => higgs.allocate(tensors, alphas, options),
  },
  {
    name: 'tradeoff',
    values: [shapes, budget],
    call: ({ higgs }, [tensors, options]) => higgs.tradeoff(tensors, alphas, options),
  },
  { name: 'planBits', values: [budget], call: ({ higgs }, [options]) => higgs.planBits(input, alphas, options) },
  {
    name: 'planBits of a size',
    values: [{ size: 2000, groupSize: 64 }],
    call: ({ higgs }, [options]) => higgs.planBits(input, alphas, options),
  },
  {
    name: 'createSampler',
    values: [{ temperature: 0.7, topK: 3, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1, seed: 1 }],
    call: (_, [options]) => createSampler(options)(Float32Array.of(1, 2, 3, 4, 5), new Set([1])),
  },
  { name: 'readBitPlan', values: ['{"higgs.plan":1}'], call: (_, [content]) => readBitPlan(content, 'plan.json') },
];

// Values that can be written down: what a case holds.
const kinds: readonly ((random: Random) => unknown)[] = [
  (random) => random.pick(NUMBERS),
  (random) => random.pick(TEXTS),
  (random) => random.pick([null, true, false, [], {}, [1], { a: 1 }, [[]], ['p1n4']]),
];

function changed(values: readonly unknown[], random: Random): unknown[] {
  const own = structuredClone([...values]);
  const at = random.below(own.length);
  const value = random.pick(kinds)(random);
  const whole = own[at];
  if (typeof whole === 'object' && whole !== null && random.chance(0.9)) {
    const inside = Array.isArray(whole) ? random.pick(whole) : whole;
    if (typeof inside !== 'object' || inside === null || Object.keys(inside).length === 0) return own;
    const holder = inside as Record<string, unknown>;
    const key = random.pick(Object.keys(holder));
    const inner = holder[key];
    if (Array.isArray(inner) && inner.length > 0 && random.chance(0.8)) inner[random.below(inner.length)] = value;
    else if (random.chance(0.1)) delete holder[key];
    else holder[key] = value;
  } else own[at] = value;
  return own;
}

export const request: Target = {
  name: 'request',
  subjects: ['memory', 'must'],
  make(random) {
    const which = random.below(requests.length);
    let values: readonly unknown[] = requests[which].values;
    for (let left = 1 + random.below(2); left > 0; left--) values = changed(values, random);
    return { [CASE_NAME]: caseOf({ which: requests[which].name, values }) };
  },
  async run(files, world) {
    const { which, values } = choicesOf<{ which: string; values: unknown[] }>(files);
    await requests.find(({ name }) => name === which)!.call(world, values as never[]);
  },
};
