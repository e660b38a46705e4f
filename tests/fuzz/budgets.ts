// Files of sensitivities and of plans, budgets and limits of any number. What is read and written again is the same; a plan that is
// made keeps its budget, is of finite numbers and can be stored.

import {
  type BitPlan,
  type Higgs,
  predict,
  readAlphas,
  readBitPlan,
  sensitivitiesOf,
  writeAlphas,
  writeBitPlan,
} from '../../src/index.ts';
import { rawTensor, safetensors } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect, Fault } from './oracle.ts';
import { NUMBERS, type Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target } from './target.ts';

const SHAPES: Readonly<Record<string, number[]>> = {
  'model.layers.0.self_attn.q_proj.weight': [4, 160],
  'model.layers.0.mlp.down_proj.weight': [8, 48],
  'model.layers.1.mlp.experts.w1.weight': [2, 3, 130],
  ...Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`model.layers.${i + 2}.mlp.up_proj.weight`, [2, 40 + i]])),
};
const names = Object.keys(SHAPES);
const countOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
const checkpoint = safetensors(
  Object.fromEntries(names.map((name) => [name, rawTensor('F32', SHAPES[name], countOf(SHAPES[name]) * 4)])),
);
const alpha = (shape: readonly number[] | null, value: number) => ({
  ...{ alpha: value, error: 0.01, r2: null, shape },
  levels: [{ t2: 0.01, delta: 0.002, error: null, used: true }],
});
const alphaSeeds = [
  {
    ...{ 'higgs.alphas': 1, model: { name: 'x', identity: null }, estimator: 'noise', loss: 'kl', base: 2.5 },
    settings: { source: 'model', tokens: 128 },
    tensors: Object.fromEntries(names.map((name, i) => [name, alpha(i === 0 ? null : SHAPES[name], 0.2 * (i + 1))])),
  },
  { source: 'paper', alpha: Object.fromEntries(names.map((name) => [name.replace('.weight', ''), 0.19])) },
];

/** Sensitivities whose sums and products leave the range of numbers. */
const ODD = [1e308, 1.7e308, 5e-324, 1e-300, 0, -1e308, 1e40];

interface Choices {
  way: 'bpw' | 'size' | 'tradeoff';
  budget: number;
  size: number;
  groupSize: number;
  minBits: number;
  maxBits: number;
  scales: boolean;
  grids: string[];
}

const numberNear = (random: Random, usual: number) =>
  random.chance(0.7) ? usual * (0.5 + random.float()) : random.pick(NUMBERS);

function choices(random: Random): Choices {
  return {
    way: random.pick(['bpw', 'size', 'tradeoff']),
    budget: numberNear(random, 4),
    size: Math.floor(numberNear(random, 4000)),
    groupSize: random.chance(0.8) ? random.pick([16, 64, 1024]) : random.pick(NUMBERS),
    minBits: random.chance(0.8) ? 0 : random.pick(NUMBERS),
    maxBits: random.chance(0.8) ? 12 : random.pick(NUMBERS),
    scales: random.chance(0.5),
    grids: random.pick([['p1n4', 'p2n256', 't3'], ['t2', 't4'], ['p2n16', 'p1n16', 'p1n256'], ['p1n8']]),
  };
}

function checkPlan(plan: BitPlan, budget: number): void {
  expect(plan.bpw <= budget, `a plan keeps its budget of ${budget}: it takes ${plan.bpw}`);
  for (const value of [plan.bpw, plan.predicted, plan.gap, plan.uniform?.predicted ?? 0]) {
    expect(Number.isFinite(value), `figures of a plan are finite: ${value}`);
  }
  const text = writeBitPlan(plan);
  let again: BitPlan;
  try {
    again = readBitPlan(text, 'plan.json');
  } catch (error) {
    throw new Fault(`a plan that was made is refused: ${(error as Error).message}`);
  }
  expect(writeBitPlan(again) === text, 'a plan reads as it was written');
}

export const alphas: Target = {
  name: 'alphas',
  subjects: ['alphas.json', 'memory'],
  make(random) {
    const seed = structuredClone(random.pick(alphaSeeds)) as {
      tensors?: Record<string, { alpha: number }>;
      alpha?: Record<string, number>;
    };
    if (random.chance(0.5)) {
      const often = random.float();
      const one = random.pick(ODD);
      const isAlike = random.chance(0.3);
      const odd = () => (isAlike ? one : random.chance(often) ? random.pick(ODD) : 0.3);
      for (const tensor of Object.values(seed.tensors ?? {})) tensor.alpha = odd();
      if (seed.alpha) for (const name of Object.keys(seed.alpha)) seed.alpha[name] = odd();
    }
    let text = encode(random.chance(0.5) ? JSON.stringify(seed) : changedJson(seed, random));
    if (random.chance(0.1)) text = changeBytes(text, random);
    return { 'alphas.json': text, 'model.safetensors': checkpoint, [CASE_NAME]: caseOf({ ...choices(random) }) };
  },
  async run(files, { higgs }) {
    const read = readAlphas(files['alphas.json'], 'alphas.json');
    const text = writeAlphas(read);
    expect(writeAlphas(readAgain(text)) === text, 'sensitivities read as they were written');
    const { way, budget, size, ...options } = choicesOf<Choices>(files);
    if (way === 'bpw') return planFor(higgs, files, read, { ...options, bpw: budget }, budget, Infinity);
    if (way === 'size') return planFor(higgs, files, read, { ...options, size }, Infinity, size);
    const { hull, exact, uniform } = higgs.tradeoff(await higgs.planTensors(folderOfCase(files)), read, options);
    for (const { bpw, predicted } of [...hull, ...exact, ...uniform]) {
      expect(Number.isFinite(bpw) && Number.isFinite(predicted), 'points of the trade-off are finite');
    }
  },
};

function readAgain(text: string) {
  try {
    return readAlphas(text, 'alphas.json');
  } catch (error) {
    throw new Fault(`sensitivities that were written are refused: ${(error as Error).message}`);
  }
}

async function planFor(
  higgs: Higgs,
  files: Files,
  read: Parameters<Higgs['planBits']>[1],
  options: Parameters<Higgs['planBits']>[2],
  budget: number,
  size: number,
): Promise<void> {
  const folder = folderOfCase(files);
  const plan = await higgs.planBits(folder, read, options);
  expect(!Number.isNaN(budget) && !Number.isNaN(size), 'a budget is a number');
  checkPlan(plan, budget);
  const { bytesOut } = await higgs.planCheckpoint(folder, { plan });
  expect(bytesOut <= size, `a plan keeps its size of ${size}: it takes ${bytesOut}`);
  const predicted = predict([{ name: names[0], relativeError: 0.5 }], sensitivitiesOf(plan));
  expect(!Number.isNaN(predicted.delta), 'a prediction is a number');
}

const planSeed = {
  ...{ 'higgs.plan': 1, estimator: 'prior', loss: 'relative', base: null, budget: 3.25, scales: true, bpw: 3.2 },
  ...{ predicted: 0.23, gap: 0, uniform: { grid: 'p1n8', bpw: 3.1, predicted: 0.7 } },
  tensors: Object.fromEntries(
    names.map((name, i) => [
      name,
      {
        shape: SHAPES[name],
        grid: ['p1n4', 't3', 'p2n256'][i % 3],
        groupSize: 64,
        seed: i || null,
        bpw: 3,
        alpha: 0.3,
        predicted: 0.01,
      },
    ]),
  ),
};

export const plan: Target = {
  name: 'plan',
  subjects: ['plan.json', 'memory', 'grid must be one of those loaded'],
  make(random) {
    let text = encode(changedJson(planSeed, random));
    if (random.chance(0.2)) text = changeBytes(text, random);
    return { 'plan.json': text, 'model.safetensors': checkpoint };
  },
  async run(files, { higgs }) {
    const read = readBitPlan(files['plan.json'], 'plan.json');
    const text = writeBitPlan(read);
    expect(writeBitPlan(readBitPlan(text, 'plan.json')) === text, 'a plan reads as it was written');
    const folder = folderOfCase({ 'model.safetensors': files['model.safetensors'] });
    const planned = await higgs.planCheckpoint(folder, { plan: read });
    const items = planned.items.filter(({ kind }) => kind === 'quantize');
    expect(items.length === read.tensors.length, 'every tensor of a plan is quantized');
  },
};
