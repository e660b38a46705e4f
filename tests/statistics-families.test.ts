// Statistics of experts, of the tokens that reach them, and of latent attention: against sums in f64; the file's bytes, whatever the
// threads, the memory and the groups.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readStatistics, type StatisticsKind, type StatisticsOutput } from '../src/decoder.ts';
import { UnsupportedError } from '../src/errors.ts';
import { memorySink } from '../src/index.ts';
import { writeAlphas } from '../src/linearity/alphas.ts';
import type { Latent } from '../src/model/blocks/attention/absorbed.ts';
import { weightsOf } from '../src/model/blocks/blocks.ts';
import { type Experts, placesOf } from '../src/model/blocks/mixture.ts';
import type { Linear } from '../src/model/linear.ts';
import { measureSensitivity, type SensitivityOptions } from '../src/sensitivity/measure.ts';
import { openSession, openSubject, planSession } from '../src/sensitivity/session.ts';
import { randomSequences } from '../src/sensitivity/tokens.ts';
import { placeSequence } from '../src/sensitivity/work.ts';
import type { Folder } from '../src/source/source.ts';
import { groupWidths } from '../src/statistics/matrices.ts';
import { startThreads } from '../src/workers/node.ts';
import { families } from './families/index.ts';
import { type Plain, regionsOf } from './gradients.ts';
import { modelFolder } from './models.ts';

const test = suite('statistics of families');
const GROUP = 16;
const [TOKENS, DRAWS, SEQUENCES, SEED] = [24, 2, 3, 5];
const statistics = { mode: 'both', groupSize: GROUP } as const;
const plan = { estimator: 'fisher', tokens: TOKENS, draws: DRAWS, threads: 1 } as const;

type Options = Omit<SensitivityOptions, 'statistics'> & { mode?: StatisticsKind['mode']; streamBytes?: number };

async function gather(folder: Folder, { mode = 'both', streamBytes, ...options }: Options) {
  const written: Uint8Array<ArrayBuffer>[] = [];
  const output: StatisticsOutput = {
    name: 'stats.safetensors',
    open: async () => written.at(-1)?.slice().buffer,
    create: async () => {
      const sink = memorySink();
      return { ...sink, close: async () => void written.push(sink.bytes()) };
    },
  };
  const gathering = { output, mode, groupSize: GROUP, ...(streamBytes && { streamBytes }) };
  const settings = { tokens: TOKENS, draws: DRAWS, sequences: SEQUENCES, seed: SEED, source: 'random' } as const;
  const alphas = await measureSensitivity(folder, { ...settings, ...options, statistics: gathering });
  return { file: written.at(-1)!, alphas };
}

// With routers of each kind, experts one by one and in stacks, shared ones, norms apart, latents of queries or none, the delta rule.
for (const name of ['mixtral', 'qwen2_moe', 'deepseek_v2', 'deepseek_v3', 'gpt_oss', 'gemma4_experts', 'qwen3_next']) {
  const folder = modelFolder(families[name].config, families[name].model);

  test(`sensitivities are the same with statistics, and the file is the same for any threads, groups and memory: ${name}`, async () => {
    const settings = { tokens: TOKENS, draws: DRAWS, sequences: SEQUENCES, seed: SEED, source: 'random' } as const;
    const alone = writeAlphas(await measureSensitivity(folder, settings));
    const { file, alphas } = await gather(folder, {});
    assert.is(writeAlphas(alphas), alone);
    const { bytes } = planSession(await openSubject(folder), { ...plan, statistics });
    for (const [label, other] of [
      ['2 threads', { threads: await startThreads(2) }],
      ['in turns, groups of one', { memoryLimit: bytes - 1, streamBytes: 1 }],
    ] as const) {
      const actual = await gather(folder, other);
      assert.ok(Buffer.compare(actual.file, file) === 0, `${label}: other bytes`);
      assert.is(writeAlphas(actual.alphas), alone, label);
    }
  });

  test(`matrices are sums of outer products, to 1e-4, of the tokens that reach an expert: ${name}`, async () => {
    const wanted = await directly(folder);
    assert.ok([...wanted.values()].some(({ x }) => x.length < SEQUENCES * TOKENS));
    for (const mode of ['both', 'inputs'] as const) {
      const { file } = await gather(folder, { mode });
      const actual = await readStatistics(file.buffer, 'stats');
      assert.equal([...actual.weights.keys()], [...wanted.keys()]);
      for (const [weight, { x, d, isDown, isHidden, cols, rows }] of wanted) {
        const { shape, parts } = actual.weights.get(weight)!;
        assert.equal(shape, [rows, cols]);
        assert.equal(parts, isDown ? groupWidths(cols, GROUP) : [cols]);
        const w = x.map((_, i) =>
          d.slice(i * DRAWS, (i + 1) * DRAWS).reduce((sum, gradient) => sum + dot(gradient, gradient), 0),
        );
        const mean = w.reduce((sum, value) => sum + value, 0) / (SEQUENCES * TOKENS);
        const gram = outer(
          x,
          w.map((value) => (mode === 'both' ? value / mean : 1)),
          cols,
        );
        let offset = 0;
        for (const [i, width] of parts.entries()) {
          const block = Float64Array.from({ length: width * width }, (_, k) => {
            return gram[(offset + Math.floor(k / width)) * cols + offset + (k % width)];
          });
          close((await actual.inputs(weight))[i], block, `${weight}, ${mode}, part ${i}`);
          offset += width;
        }
        const outputs = await actual.outputs(weight);
        assert.is(outputs !== undefined, mode === 'both' && !isHidden, weight);
        const each = d.map(() => 1 / DRAWS);
        if (outputs) close(outputs, outer(d, each, rows), `${weight}, G`);
      }
    }
  });
}

test('statistics of layers that share caches or have vectors of their own are refused', async () => {
  const { config, model } = families.gemma4_text;
  const subject = await openSubject(modelFolder(config, model));
  assert.throws(
    () => planSession(subject, { ...plan, statistics }),
    (error: Error) =>
      error instanceof UnsupportedError &&
      /^.*: statistics must be gathered block by block, of all sequences each: \w+ blocks here have gradients of other blocks/.test(
        error.message,
      ),
  );
});

test.run();

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}

function outer(vectors: readonly Float64Array[], weights: readonly number[], n: number): Float64Array {
  const s = new Float64Array(n * n);
  for (const [t, v] of vectors.entries()) {
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) s[i * n + j] += weights[t] * v[i] * v[j];
  }
  return s;
}

// An expert that no token reached has zeros.
function close(actual: Float32Array, wanted: Float64Array, label: string): void {
  assert.is(actual.length, wanted.length, label);
  const error = Math.sqrt(wanted.reduce((sum, value, i) => sum + (value - actual[i]) ** 2, 0));
  assert.ok(error <= 1e-4 * Math.sqrt(dot(wanted, wanted)), `${label}: off by ${error}`);
}

interface Direct {
  readonly rows: number;
  readonly cols: number;
  readonly isDown: boolean;
  readonly isHidden: boolean;
  /** Inputs of the tokens that reach it, and gradients of its outputs, all draws of one after those of the other. */
  readonly x: Float64Array[];
  readonly d: Float64Array[];
}

/** Inputs and gradients as they lie in a session's memory, one sequence after the other. */
async function directly(folder: Folder): Promise<Map<string, Direct>> {
  const session = await openSession(planSession(await openSubject(folder), { ...plan, statistics }), undefined, {});
  const { measuring, run } = session;
  const { state, workspace, floats, ints } = measuring;
  const { saved, fisher } = workspace;
  const { dX, regions } = fisher!;
  const all = new Map<string, Direct>();
  const take = (linear: Linear, role: 'down' | 'hidden' | '', x: Source, d: Source, count = TOKENS) => {
    const { rows, cols } = linear;
    const key = linear.single ?? linear.name;
    if (!all.has(key)) all.set(key, { rows, cols, isDown: role === 'down', isHidden: role === 'hidden', x: [], d: [] });
    const read = ({ values, at, stride }: Source, i: number, width: number) =>
      Float64Array.from(values.subarray(at + i * stride, at + i * stride + width));
    for (let t = 0; t < count; t++) {
      all.get(key)!.x.push(read(x, t, cols));
      for (let draw = 0; draw < DRAWS; draw++) all.get(key)!.d.push(read(d, draw * count + t, rows));
    }
  };
  const sourceAt = (address: number, stride: number): Source => ({ values: floats, at: address / 4, stride });
  const region = (name: string, stride: number, from = 0): Source =>
    sourceAt(regions[name] + from * stride * 4, stride);

  const takeExperts = (block: Experts, before: Source) => {
    const { shared, apart, router, routing, chosen, gathers, gated, width, experts } = block;
    const dim = router.cols;
    const { first, each } = placesOf(block);
    const weights = weightsOf(block);
    if (shared) {
      const input = sourceAt(apart?.sharedInput ?? state.normed, dim);
      take(weights[0], 'hidden', input, region('dGate', shared.width));
      take(weights[1], 'hidden', input, region('dUp', shared.width));
      const d = shared.weight || apart ? region('dShared', dim) : before;
      take(weights[2], 'down', sourceAt(shared.gated, shared.width), d);
    }
    const counts = new Int32Array(experts.length);
    for (const expert of ints.subarray(chosen / 4, chosen / 4 + TOKENS * routing.top)) counts[expert]++;
    let from = 0;
    for (const [expert, count] of counts.entries()) {
      const [gate, up, down] = [0, 1, each - 1].map((i) => weights[first + expert * each + i]);
      const input = sourceAt(gathers[0].to + from * dim * 4, dim);
      take(gate, 'hidden', input, region('dGates', gate.rows, from * DRAWS), count);
      if (each === 3) take(up, 'hidden', input, region('dUps', width, from * DRAWS), count);
      take(down, 'down', sourceAt(gated + from * width * 4, width), region('dOutputs', dim, from * DRAWS), count);
      from += count;
    }
  };
  const takeLatent = (block: Latent, before: Source) => {
    const weights = weightsOf(block);
    const first = block.queryLatent ? 1 : 0;
    const d = (name: string, { rows }: Linear) => region(name, rows);
    const normed = sourceAt(state.normed, block.latent.cols);
    if (block.queryLatent) take(weights[0], '', normed, d('dQueryLatents', weights[0]));
    const queries = block.queryLatent ? sourceAt(block.queryLatent.values, block.queryLatent.width) : normed;
    take(weights[first], '', queries, d('dHeadQueries', weights[first]));
    take(weights[first + 1], '', normed, d('dKeys', weights[first + 1]));
    take(weights[first + 2], '', sourceAt(block.rows, block.headDim), d('dKeyValues', weights[first + 2]));
    take(weights[first + 3], '', sourceAt(block.values, weights[first + 3].cols), before);
    checkKeyValues(block);
  };
  // The gradient of the weight is that of the absorbed form, which families-backward compares with the loss.
  const checkKeyValues = ({ heads, plain, valueDim, rank, rows, headDim, mixedHeads }: Latent) => {
    const count = heads * (plain + valueDim);
    const all = DRAWS * TOKENS;
    const [one, other] = [new Float64Array(count * rank), new Float64Array(count * rank)];
    for (let t = 0; t < TOKENS; t++) {
      for (let r = 0; r < count; r++) {
        const [head, i] = [Math.floor(r / (plain + valueDim)), r % (plain + valueDim)];
        const d = floats[regions.dKeyValues / 4 + (TOKENS + t) * count + r]; // of the second draw
        for (let c = 0; c < rank; c++) {
          one[r * rank + c] += d * floats[rows / 4 + t * headDim + c];
          other[r * rank + c] +=
            i < plain
              ? floats[regions.plainQueries / 4 + (head * TOKENS + t) * plain + i] *
                floats[regions.dHeadLatents / 4 + (head * all + TOKENS + t) * rank + c]
              : floats[regions.dHeadValues / 4 + (head * all + TOKENS + t) * valueDim + i - plain] *
                floats[mixedHeads / 4 + (head * TOKENS + t) * rank + c];
        }
      }
    }
    close(Float32Array.from(one), other, 'gradient of keys and values');
  };

  for (const [sequence, ids] of randomSequences(session.vocabulary, SEQUENCES, TOKENS, SEED).entries()) {
    placeSequence(session, ids);
    run({ kind: 'embed' });
    const streams: Float32Array[] = [];
    const stream = () => floats.slice(state.x / 4, state.x / 4 + TOKENS * state.dim);
    for (const block of state.blocks.keys()) {
      streams.push(stream());
      run({ kind: 'block', block });
    }
    floats.set(stream(), saved / 4);
    for (let first = 0; first < TOKENS; first += state.logitRows) {
      const count = Math.min(state.logitRows, TOKENS - first);
      run({ kind: 'labels', first, count, seed: SEED, sequence });
    }
    for (let index = state.blocks.length - 1; index >= 0; index--) {
      const block = state.blocks[index] as Plain | Experts | Latent;
      const values = floats.slice(dX / 4, dX / 4 + DRAWS * TOKENS * state.dim);
      floats.set(streams[index], saved / 4);
      run({ kind: 'back', block: index, gather: true });
      const isPlain = block.kind === 'experts' || (block.branch.postNorm === 0 && block.branch.multiplier === 1);
      const before = isPlain ? { values, at: 0, stride: state.dim } : region('dBranch', state.dim);
      if (block.kind === 'experts') takeExperts(block, before);
      else if (block.kind === 'latent') takeLatent(block, before);
      else {
        const isHidden = block.kind === 'feedForward';
        const names = regionsOf(block);
        const { output } = block.branch;
        for (const [i, linear] of weightsOf(block).slice(0, -1).entries()) {
          take(linear, isHidden ? 'hidden' : '', sourceAt(linear.input, linear.cols), region(names[i], linear.rows));
        }
        take(output, isHidden ? 'down' : '', sourceAt(output.input, output.cols), before);
      }
    }
  }
  await session.close();
  // As the file has them: layer by layer, from the first.
  const order = state.blocks.flatMap((block) => weightsOf(block).map((linear) => linear.single ?? linear.name));
  return new Map(order.map((name) => [name, all.get(name)!]));
}

interface Source {
  readonly values: Float32Array;
  readonly at: number;
  readonly stride: number;
}
