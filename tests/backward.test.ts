// Gradients: kernels against their scalar twins, bit by bit, in both builds; whole models of every architecture against finite
// differences of the oracle in f64.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import debugBytes from '../build/decoder.debug.wasm';
import releaseBytes from '../build/decoder.wasm';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { dtypeCodes } from '../src/kernels/layout.ts';
import type { Attention } from '../src/model/blocks/attention/attention.ts';
import { weightsOf } from '../src/model/blocks/blocks.ts';
import type { FeedForward } from '../src/model/blocks/feedforward.ts';
import type { Linear } from '../src/model/linear.ts';
import * as twin from '../src/reference/backward.ts';
import { throughF16 } from '../src/reference/decoder.ts';
import { f32ToBf16, f32ToF16, floatBits, fromBits } from '../src/reference/float.ts';
import { measuredOf } from '../src/sensitivity/program/measured.ts';
import { openSession, openSubject, planSession, type Session } from '../src/sensitivity/session.ts';
import { normals, sameBits } from './bits.ts';
import { configs, modelFolder, randomFile, randomIds } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const backTwins = { siluTimesBack: twin.siluTimesBack, geluTimesBack: twin.geluTimesBack } as const;
const gates = ['siluTimesBack', 'geluTimesBack'] as const;
const lengths = [1, 2, 3, 4, 5, 15, 16, 17, 24, 63, 64, 65, 100, 1023, 1024, 1025];

function testKernels(build: string, kernels: DecoderExports, buffer: WebAssembly.Memory): void {
  const test = suite(`backward kernels (${build})`);
  const memory = arena(buffer, 1024);
  const { place, alloc, copy } = memory;
  test.before.each(() => memory.reset());

  const stored = {
    F32: (w: Float32Array) => [w, w],
    F16: (w: Float32Array) => [Uint16Array.from(w, (value) => f32ToF16(floatBits(value))), throughF16(w)],
    BF16: (w: Float32Array) => {
      const bits = Uint16Array.from(w, (value) => f32ToBf16(floatBits(value)));
      return [bits, Float32Array.from(bits, (h) => fromBits(h * 65536))];
    },
  } as const;

  test('addTransposed() equals its twin for every dtype, shape and number of vectors', () => {
    for (const [dtype, through] of Object.entries(stored)) {
      for (const length of lengths) {
        for (const [rows, cols] of [
          [3, length],
          [length, 19],
        ] as const) {
          memory.reset();
          const count = (length % 3) + 1;
          const [bytes, w] = through(normals(rows * cols, length)) as [Uint16Array, Float32Array];
          const d = normals(count * rows, 2);
          const y = normals(count * cols, 3);
          const [address, scratch] = [place(y), alloc(64 * 64 * 4)];
          const code = dtypeCodes[dtype as keyof typeof stored];
          kernels.addTransposed(place(bytes), code, rows, cols, cols, place(d), count, rows, address, cols, scratch);
          for (let j = 0; j < count; j++) {
            const row = y.slice(j * cols, (j + 1) * cols);
            const wanted = twin.addTransposed(w, d.subarray(j * rows, (j + 1) * rows), row);
            sameBits(
              copy(Float32Array, address + j * cols * 4, cols),
              wanted,
              `${dtype} ${rows} × ${cols}, vector ${j}`,
            );
          }
        }
      }
    }
  });

  test('addTransposed() of some columns writes those alone', () => {
    const [rows, stride, first, cols] = [70, 100, 16, 35];
    const w = normals(rows * stride, 1);
    const d = normals(rows, 2);
    const y = normals(stride, 3);
    const address = place(y);
    const from = place(w) + first * 4;
    kernels.addTransposed(
      from,
      0,
      rows,
      cols,
      stride,
      place(d),
      1,
      rows,
      address + first * 4,
      stride,
      alloc(64 * 64 * 4),
    );
    const all = twin.addTransposed(w, d, y);
    sameBits(
      copy(Float32Array, address, stride),
      y.map((value, c) => (c >= first && c < first + cols ? all[c] : value)),
    );
  });

  test('rmsNormBack() equals its twin at every width', () => {
    for (const cols of lengths) {
      memory.reset();
      const [x, weights, d] = [normals(2 * cols, cols), normals(cols, 2), normals(2 * cols, 3)];
      const address = place(d);
      kernels.rmsNormBack(place(x), place(weights), address, 2, cols, 1e-5);
      const row = (values: Float32Array, j: number) => values.subarray(j * cols, (j + 1) * cols);
      const wanted = [0, 1].flatMap((j) => [...twin.rmsNormBack(row(x, j), weights, row(d, j), 1e-5)]);
      sameBits(copy(Float32Array, address, 2 * cols), Float32Array.from(wanted), `rmsNormBack(${cols})`);
      const upstream = row(d, 0);
      const alone = place(upstream);
      kernels.rmsNormBack(place(row(x, 0)), 0, alone, 1, cols, 1e-5);
      sameBits(
        copy(Float32Array, alone, cols),
        twin.rmsNormBack(row(x, 0), undefined, upstream, 1e-5),
        'without weights',
      );
    }
  });

  test('siluTimesBack() and geluTimesBack() equal their twins and write exactly count elements', () => {
    for (const [name, count] of lengths.flatMap((count) => gates.map((name) => [name, count] as const))) {
      memory.reset();
      const gate = normals(count + 8, count).map((value) => value * 20);
      const [up, d, dUp] = [normals(count + 8, 2), normals(count + 8, 3), normals(count + 8, 4)];
      const [a, b] = [place(d), place(dUp)];
      kernels[name](place(gate), place(up), a, b, count);
      const wanted = backTwins[name](gate.subarray(0, count), up.subarray(0, count), d.subarray(0, count));
      d.set(wanted[0]);
      dUp.set(wanted[1]);
      sameBits(copy(Float32Array, a, count + 8), d, `${name}(${count})`);
      sameBits(copy(Float32Array, b, count + 8), dUp, `${name}(${count})`);
    }
  });

  test('reluSquaredBack() equals its twin and writes exactly count elements', () => {
    for (const count of lengths) {
      memory.reset();
      const [x, d] = [normals(count + 8, count), normals(count + 8, 2)];
      const address = place(d);
      kernels.reluSquaredBack(place(x), address, count);
      d.set(twin.reluSquaredBack(x, d.subarray(0, count)));
      sameBits(copy(Float32Array, address, count + 8), d, `reluSquaredBack(${count})`);
    }
  });

  test('clampedGateBack() equals its twin on both sides of its limits and writes exactly count pairs', () => {
    for (const count of lengths) {
      memory.reset();
      const pairs = normals(2 * count + 8, count).map((value) => value * 8);
      if (count > 3) pairs.set([7, -7, 7, 7, 7.000001, -7.000001], 2);
      const [d, dx] = [normals(count + 8, 2), normals(2 * count + 8, 3)];
      const address = place(dx);
      kernels.clampedGateBack(place(pairs), place(d), address, count);
      dx.set(twin.clampedGateBack(pairs.subarray(0, 2 * count), d.subarray(0, count)));
      sameBits(copy(Float32Array, address, 2 * count + 8), dx, `clampedGateBack(${count})`);
    }
  });

  test('attendBack() equals its twin for any head size, number of tokens, window and cap, with sinks or without', () => {
    for (const [dim, tokens, heads, window, cap, hasSinks] of [
      [24, 5, 3, 0, 0, false],
      [16, 1, 1, 0, 0, true],
      [6, 33, 2, 0, 2, true],
      [64, 40, 2, 0, 0, false],
      [20, 40, 1, 7, 0, true],
      [20, 40, 1, 7, 0.5, false],
      [24, 9, 2, 1, 0, true],
    ] as const) {
      memory.reset();
      const [stride, kvStride] = [(heads + 1) * dim, 2 * dim]; // another head lies behind these
      const [q, dy, dq] = [1, 2, 3].map((seed) => normals(tokens * stride, seed)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const [dk, dv] = [normals(tokens * kvStride, 4), normals(tokens * kvStride, 5)];
      const [keys, values] = [normals(tokens * dim, 6), normals(tokens * dim, 7)];
      const sinks = normals(heads, 8);
      const [toQ, toK, toV] = [place(dq), place(dk), place(dv)];
      kernels.attendBack(
        ...([place(q), place(dy), toQ, tokens, heads, stride, dim, place(keys), place(values)] as const),
        ...([toK, toV, kvStride, window, 0.2, cap, hasSinks ? place(sinks) : 0, alloc(3 * (tokens + 4) * 4)] as const),
      );
      const pick = (x: Float32Array) =>
        Float32Array.from({ length: tokens * heads * dim }, (_, i) => {
          return x[Math.floor(i / (heads * dim)) * stride + (i % (heads * dim))];
        });
      const wanted = twin.attendBack(
        { q: pick(q), dy: pick(dy), heads, keys, values },
        dim,
        0.2,
        window,
        cap,
        hasSinks ? sinks : undefined,
      );
      for (let t = 0; t < tokens; t++) {
        dq.set(wanted.dq.subarray(t * heads * dim, (t + 1) * heads * dim), t * stride);
        dk.set(wanted.dk.subarray(t * dim, (t + 1) * dim), t * kvStride);
        dv.set(wanted.dv.subarray(t * dim, (t + 1) * dim), t * kvStride);
      }
      const label = `attendBack, head of ${dim}, ${tokens} tokens`;
      sameBits(copy(Float32Array, toQ, dq.length), dq, `${label}: dq`);
      sameBits(copy(Float32Array, toK, dk.length), dk, `${label}: dk`);
      sameBits(copy(Float32Array, toV, dv.length), dv, `${label}: dv`);
    }
  });

  test.run();
}

const memory = createMemory(64 * 65536, false);
testKernels('release', await instantiateDecoder(releaseBytes, memory), memory);
const debugMemory = createMemory(64 * 65536, false);
testKernels('debug', await instantiateDecoder(debugBytes, debugMemory), debugMemory);

const test = suite('backward');
const TOKENS = 19;
const DRAWS = 2;

interface Gradient {
  name: string;
  /** Σ dₜ xₜᵀ of the second draw, in f64. */
  values: Float64Array;
  squares: number;
}

for (const [name, config] of Object.entries(configs)) {
  test(`gradients are the finite differences of the oracle, and their Gram matrices give their norms: ${name}`, async () => {
    const file = randomFile(config);
    const folder = modelFolder(config, file);
    const options = { estimator: 'fisher', tokens: TOKENS, draws: DRAWS, threads: 1 } as const;
    const session = await openSession(planSession(await openSubject(folder), options), undefined, {});
    const ids = randomIds(TOKENS, config.vocab_size, 3);
    const { labels, gradients } = gradientsOf(session, ids);
    const tensors = new Map([...tensorsOf(file)].map(([tensor, values]) => [tensor, Float64Array.from(values)]));
    const oracle = oracleOf(config, tensors);
    const loss = () => {
      const rows = oracle.logits(ids);
      return labels.reduce((sum, label, t) => sum + rows[t][label] - logSumExp(rows[t]), 0);
    };
    for (const [i, { name, values, squares }] of gradients.entries()) {
      const square = sumSquares(values);
      assert.ok(Math.abs(squares / square - 1) < 1e-5, `${name}: ‖∇‖² is ${squares}, not ${square}`);
      // A direction along the gradient, to get its length right, and across it.
      const across = normals(values.length, i);
      const length = Math.sqrt(square);
      const width = Math.sqrt(sumSquares(across));
      const direction = values.map((value, k) => value / length + across[k] / width);
      const w = tensors.get(name)!;
      const [changed, h] = [w.slice(), 1e-3];
      const lossAt = (step: number) => {
        for (const k of w.keys()) w[k] = changed[k] + step * direction[k];
        return loss();
      };
      const slope = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
      lossAt(0);
      const wanted = values.reduce((sum, value, k) => sum + value * direction[k], 0);
      assert.ok(Math.abs(slope - wanted) < 2e-5 * length, `${name}: slope is ${slope}, not ${wanted}`);
    }
    await session.close();
  });
}

test.run();

// One forward and backward pass; gradients of log p of the second draw's labels.
function gradientsOf({ measuring, run }: Session, ids: number[]): { labels: number[]; gradients: Gradient[] } {
  const { state, workspace, floats, doubles, ints } = measuring;
  const fisher = workspace.fisher!;
  ints.set(ids, state.ids / 4);
  run({ kind: 'embed' });
  for (const block of state.blocks.keys()) run({ kind: 'block', block, save: true });
  for (let first = 0; first < TOKENS; first += state.logitRows) {
    run({ kind: 'labels', first, count: Math.min(state.logitRows, TOKENS - first), seed: 7 });
  }
  const labels = [...ints.subarray(fisher.labels / 4 + TOKENS, fisher.labels / 4 + 2 * TOKENS)];
  const gradients: Gradient[] = [];
  // `x` is (tokens, cols), `d` (draws, tokens, rows).
  const take = ({ name, rows, cols }: Linear, place: number, x: number, d: Float32Array) => {
    const values = new Float64Array(rows * cols);
    for (let t = 0; t < TOKENS; t++) {
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++)
          values[r * cols + c] += d[(TOKENS + t) * rows + r] * floats[x / 4 + t * cols + c];
      }
    }
    const index = workspace.sums / 8 + (place * DRAWS + 1) * TOKENS;
    const squares = doubles.subarray(index, index + TOKENS).reduce((sum, value) => sum + value, 0);
    gradients.push({ name, values, squares });
  };
  const gradient = (address: number, { rows }: Linear) =>
    floats.slice(address / 4, address / 4 + DRAWS * TOKENS * rows);
  const { dGate, dUp, dQ, dK, dV } = fisher.regions;
  for (let index = state.blocks.length - 1; index >= 0; index -= 2) {
    const feedForward = state.blocks[index] as FeedForward;
    const [gate, up, down] = weightsOf(feedForward);
    const behindDown = gradient(fisher.dX, down);
    run({ kind: 'back', block: index });
    take(down, 2, feedForward.gated, behindDown);
    take(gate, 0, state.normed, gradient(dGate, gate));
    take(up, 1, state.normed, gradient(dUp, up));
    const attention = state.blocks[index - 1] as Attention;
    const [q, k, v, output] = weightsOf(attention);
    const behindOutput = gradient(fisher.dX, output);
    run({ kind: 'back', block: index - 1 });
    take(output, 3, attention.mixed, behindOutput);
    take(q, 0, state.normed, gradient(dQ, q));
    take(k, 1, state.normed, gradient(dK, k));
    take(v, 2, state.normed, gradient(dV, v));
  }
  assert.is(gradients.length, measuredOf(state).length);
  return { labels, gradients };
}

function sumSquares(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return sum;
}

function logSumExp(row: Float64Array): number {
  const most = row.reduce((a, b) => Math.max(a, b));
  return most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
}
