// SHA-256 of what the library makes of a small checkpoint: the same on every runtime, or some runtime's bits differ.
// The input uses integers, +, × and rounding to f32 only: Math.log and Math.cos may differ between engines.

import { largeGrids } from '../../src/grids/large.ts';
import {
  type Alphas,
  type BudgetOptions,
  type CheckpointOptions,
  type Folder,
  type Higgs,
  load,
  priorAlphas,
  readBitPlan,
  uniformAlphas,
  writeAlphas,
  writeBitPlan,
} from '../../src/index.ts';
import { measureSensitivity } from '../../src/sensitivity/measure.ts';
import { startThreads } from '../../src/workers/web.ts';
import { loadAlone } from '../alone.ts';
import { uniform } from '../bits.ts';
import { indexOf, memoryFolder, memoryOutput, safetensors, type Tensor } from '../checkpoints.ts';
import { configs, modelFolder, randomFile, randomIds } from '../models.ts';

export interface Hashes {
  /** Of quantized checkpoints, file by file. */
  checkpoint: string;
  /** Of the plain checkpoints made of them. */
  dequantized: string;
  /** Of matrices times vectors. */
  matvec: string;
  /** Of checkpoints quantized to trellises, of what is made of them, and of models that run them. */
  trellises: string;
  /** The same by labels. */
  labels: string;
  /** Of plans within budgets, of what they predict, and of checkpoints quantized by them. */
  plans: string;
  /** Of models' logits, on one thread and, where there are threads, on two. */
  logits: string;
  /** Of models' sensitivities by both estimators, on one thread and, where there are threads, on two. */
  sensitivities: string;
  /** Of checkpoints that were refined, by gradients and without, on one thread and, where there are threads, on two. */
  refined: string;
}

// Every p, codes of 2 to 12 bits, groups that a row has one of and many of.
const SCHEMES: CheckpointOptions[] = [
  { grid: 'p1n4', groupSize: 256, seed: 1 },
  { grid: 'p1n16', groupSize: 1024 },
  { grid: 'p2n256', groupSize: 64, seed: 4294967295 },
  { grid: 'p2n1024', groupSize: 512, signs: 'none' },
  { grid: 'p3n512', groupSize: 128, seed: 77 },
  { grid: 'p3n4096', groupSize: 4096, seed: 5 },
  { grid: 'p4n256', groupSize: 16, seed: 2 },
];
const TRELLISES: CheckpointOptions[] = [
  { grid: 't4', groupSize: 1024 },
  { grid: 't4q', groupSize: 64, seed: 3 },
  { grid: 't3', groupSize: 256, scaleSearch: true },
  { grid: 't3f', groupSize: 16 },
  { grid: 't2', groupSize: 512, signs: 'none' },
  { grid: 't2c', groupSize: 128, seed: 9 },
];
const LABELS: CheckpointOptions[] = [
  { grid: 't3z', groupSize: 256, seed: 2 },
  { grid: 't4x', groupSize: 1024, scaleSearch: true },
  { grid: 't4z', groupSize: 64, seed: 3 },
  { grid: 't5', groupSize: 1024 },
  { grid: 't5z', groupSize: 16 },
  { grid: 't6', groupSize: 512, signs: 'none' },
];
const SHARD_BYTES = 40_000;
const MATRICES = [
  [33, 1000],
  [5, 4864],
  [17, 173],
] as const;

/** What every runtime must agree on. */
export async function hashes(): Promise<Hashes> {
  const higgs = await load(undefined, { grids: largeGrids });
  const input = checkpoint();
  const [quantized, restored, products] = await used(higgs, input, SCHEMES);
  const codes = await used(higgs, input, TRELLISES);
  const labelled = await used(higgs, input, LABELS);
  return {
    checkpoint: await sha256(quantized),
    dequantized: await sha256(restored),
    matvec: await sha256(products),
    trellises: await sha256([...codes.flat(), utf8.encode(await logits(higgs, { grid: 't4', embeddings: 't3' }))]),
    labels: await sha256([...labelled.flat(), utf8.encode(await logits(higgs, { grid: 't5', embeddings: 't4x' }))]),
    plans: await plans(higgs, input),
    logits: await logits(higgs, { grid: 'p2n64', groupSize: 64, embeddings: 'p1n16' }),
    sensitivities: await sensitivities(),
    refined: await refined(higgs),
  };
}

// Quantizes, dequantizes and multiplies with every scheme.
async function used(
  higgs: Higgs,
  input: Folder,
  schemes: readonly CheckpointOptions[],
): Promise<[quantized: Uint8Array[], restored: Uint8Array[], products: Uint8Array[]]> {
  const [quantized, restored, products]: [Uint8Array[], Uint8Array[], Uint8Array[]] = [[], [], []];
  for (const scheme of schemes) {
    const output = memoryOutput();
    await higgs.quantizeCheckpoint(input, output, { ...scheme, embeddings: 'p1n256', maxShardBytes: SHARD_BYTES });
    quantized.push(...listed(output.files));
    const plain = memoryOutput();
    await higgs.dequantizeCheckpoint(output.folder(), plain);
    restored.push(...listed(plain.files));
    for (const [rows, cols] of MATRICES) {
      const matrix = higgs.quantize(weights(rows * cols, rows), { ...scheme, rows, cols });
      products.push(new Uint8Array(higgs.matvec(matrix, weights(cols, cols)).buffer));
    }
  }
  return [quantized, restored, products];
}

// Sensitivities that are measured, and a prior; bits and bytes; every grid, and some with limits and grids that are given.
async function plans(higgs: Higgs, input: Folder): Promise<string> {
  const tensors = await higgs.planTensors(input, { embeddings: 'any' });
  const next = uniform(9);
  const measured = { ...uniformAlphas(tensors), loss: 'kl', estimator: 'fisher' } as const;
  const alphas: Alphas = {
    ...measured,
    tensors: new Map(
      tensors.map(({ name, shape }) => [name, { ...measured.tensors.get(name)!, alpha: next(), shape }]),
    ),
  };
  const budgets: [Alphas, BudgetOptions][] = [
    [alphas, { bpw: 3.4, groupSize: 256, embeddings: 'any' }],
    [alphas, { size: 120_000, embeddings: 'any', maxShardBytes: SHARD_BYTES, seed: 7 }],
    [priorAlphas(tensors), { bpw: 5, embeddings: 'p1n256', keep: [[/q_proj/, 'p3n512']], minBits: 2.5, maxBits: 6 }],
  ];
  const parts: Uint8Array[] = [];
  for (const [budget, options] of budgets) {
    const plan = readBitPlan(writeBitPlan(await higgs.planBits(input, budget, options)), 'plan.json');
    const output = memoryOutput();
    const { predicted } = await higgs.quantizeCheckpoint(input, output, { plan });
    const tradeoff = higgs.tradeoff(tensors, alphas, { groupSize: 256 });
    parts.push(utf8.encode(writeBitPlan(plan) + JSON.stringify([predicted, tradeoff])), ...listed(output.files));
  }
  return sha256(parts);
}

// Every architecture, plain and quantized.
async function logits(higgs: Higgs, scheme: CheckpointOptions): Promise<string> {
  const parts: Uint8Array[][] = [[], []];
  for (const config of Object.values(configs)) {
    const plain = modelFolder(config, randomFile(config));
    const output = memoryOutput();
    await higgs.quantizeCheckpoint(plain, output, scheme);
    for (const folder of [plain, output.folder()]) {
      for (const size of [1, 2]) {
        const model = await loadAlone(folder, { threads: await startThreads(size) });
        const actual = await model.forward(randomIds(80, config.vocab_size), { logits: 'all' });
        parts[size - 1].push(new Uint8Array(actual.buffer));
        await model.close();
      }
    }
  }
  const [one, two] = await Promise.all(parts.map(sha256));
  if (one !== two) throw new Error(`logits must not depend on threads: ${one} on one, ${two} on two`);
  return one;
}

// An architecture with all that a backward pass can meet, and one without.
async function sensitivities(): Promise<string> {
  const parts: Uint8Array[][] = [[], []];
  for (const name of ['llama, biases, linear rope, interleaved', 'qwen3']) {
    const config = configs[name];
    const folder = modelFolder(config, randomFile(config));
    for (const estimator of ['fisher', 'noise'] as const) {
      for (const size of [1, 2]) {
        const options = { estimator, tokens: 24, sequences: 2, levels: [0.01, 0.03] };
        const alphas = await measureSensitivity(folder, { ...options, threads: await startThreads(size) });
        parts[size - 1].push(utf8.encode(writeAlphas(alphas)));
      }
    }
  }
  const [one, two] = await Promise.all(parts.map(sha256));
  if (one !== two) throw new Error(`sensitivities must not depend on threads: ${one} on one, ${two} on two`);
  return one;
}

// Trellises of every depth and points of every p, and a budget.
async function refined(higgs: Higgs): Promise<string> {
  const parts: Uint8Array[][] = [[], []];
  const config = configs.qwen3;
  const source = await higgs.open(modelFolder(config, randomFile(config)));
  const schemes: CheckpointOptions[] = [
    ...['t4', 't3', 't2', 'p1n16', 'p2n64', 'p3n512', 'p4n256'].map((grid) => ({ grid, groupSize: 32 })),
    { bpw: 3.8, groupSize: 64 },
  ];
  for (const [i, scheme] of schemes.entries()) {
    for (const size of [1, 2]) {
      const threads = await startThreads(size);
      const output = memoryOutput();
      const mode = i % 2 ? 'inputs' : 'both';
      const alphas = scheme.bpw === undefined ? {} : { alphas: uniformAlphas(await source.planTensors()) };
      await source.quantize(output, { ...scheme, ...alphas, refine: { mode, tokens: 24, sequences: 2, threads } });
      parts[size - 1].push(...listed(output.files));
    }
  }
  const [one, two] = await Promise.all(parts.map(sha256));
  if (one !== two) throw new Error(`refined bytes must not depend on threads: ${one} on one, ${two} on two`);
  return one;
}

// Two shards: every dtype that is quantized, F8 with factors, experts, odd widths, an embedding, what passes through.
function checkpoint(): Folder {
  const shards: Record<string, Record<string, Tensor>> = {
    'model-00001-of-00002.safetensors': {
      'model.embed_tokens.weight': f32([41, 576], 1),
      'model.layers.0.mlp.up_proj.weight': f32([48, 1000], 2),
      'model.layers.0.mlp.down_proj.weight': f16([37, 896], 3),
      'model.layers.0.input_layernorm.weight': bf16([1000], 4),
    },
    'model-00002-of-00002.safetensors': {
      'model.layers.1.self_attn.q_proj.weight': f8([130, 300], 5),
      'model.layers.1.self_attn.q_proj.weight_scale_inv': factors([2, 3], 6),
      'model.layers.1.self_attn.o_proj.weight': bf16([64, 173], 7),
      'model.layers.1.mlp.experts.down_proj': f16([2, 9, 576], 8),
    },
  };
  const files = Object.entries(shards).map(([name, tensors]) => [name, safetensors(tensors, { format: 'pt' })]);
  const names = Object.entries(shards).map(([name, tensors]) => [name, Object.keys(tensors)]);
  return memoryFolder({
    ...Object.fromEntries(files),
    'model.safetensors.index.json': indexOf(Object.fromEntries(names)),
    'config.json': new TextEncoder().encode('{"model_type":"llama","torch_dtype":"bfloat16"}'),
  });
}

// Nearly N(0, 0.05²): twelve uniform numbers, a sum that f64 has exactly.
function weights(count: number, seed: number): Float32Array<ArrayBuffer> {
  const next = uniform(seed);
  return Float32Array.from({ length: count }, () => {
    let sum = -6;
    for (let k = 0; k < 12; k++) sum += next();
    return sum * 0.05;
  });
}

const countOf = (shape: number[]) => shape.reduce((product, size) => product * size, 1);
const bytesOf = ({ buffer }: { buffer: ArrayBuffer }) => new Uint8Array(buffer);

function f32(shape: number[], seed: number): Tensor {
  return { dtype: 'F32', shape, bytes: bytesOf(weights(countOf(shape), seed)) };
}

// The upper halves of f32.
function bf16(shape: number[], seed: number): Tensor {
  const words = new Uint32Array(weights(countOf(shape), seed).buffer);
  return { dtype: 'BF16', shape, bytes: bytesOf(Uint16Array.from(words, (word) => word >>> 16)) };
}

// Any sign and mantissa, exponents from 2⁻⁷ to 2⁻².
function f16(shape: number[], seed: number): Tensor {
  const next = uniform(seed);
  const half = () => (Math.floor(next() * 65536) & 0x83ff) | ((8 + Math.floor(next() * 6)) << 10);
  return { dtype: 'F16', shape, bytes: bytesOf(Uint16Array.from({ length: countOf(shape) }, half)) };
}

// Any pattern but NaN, which ends in seven ones.
function f8(shape: number[], seed: number): Tensor {
  const next = uniform(seed);
  const byte = () => (Math.floor(next() * 2) << 7) | Math.floor(next() * 127);
  return { dtype: 'F8_E4M3', shape, bytes: Uint8Array.from({ length: countOf(shape) }, byte) };
}

function factors(shape: number[], seed: number): Tensor {
  const next = uniform(seed);
  return { dtype: 'F32', shape, bytes: bytesOf(Float32Array.from({ length: countOf(shape) }, () => next() / 512)) };
}

function listed(files: ReadonlyMap<string, Uint8Array>): Uint8Array[] {
  return [...files].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([name, bytes]) => [utf8.encode(name), bytes]);
}

const utf8 = new TextEncoder();

async function sha256(parts: readonly Uint8Array[]): Promise<string> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', joined));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
