// What the bench compares with: its 4-bit encoders against their scalar form, and the levels they are defined by.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { baselines } from '../bench/baselines.ts';
import { gptq } from '../bench/gptq.ts';
import { af4Levels, nf4Levels } from '../bench/levels.ts';
import { loadPeers } from '../bench/peers.ts';
import { f16ToF32Bits } from '../src/reference/float.ts';
import { normals, sameBits } from './bits.ts';

const test = suite('peers');
const [ROWS, COLS] = [5, 384];
const COUNT = ROWS * COLS;
const peers = await loadPeers(COUNT);

// Rows: as in models; zeros; one large weight a group; tiny ones, whose scales are subnormal f16; all of one sign.
const weights = normals(COUNT).map((z, i) => {
  const row = Math.floor(i / COLS);
  return row === 0
    ? z * 0.02
    : row === 1
      ? 0
      : row === 2
        ? i % 32 === 7
          ? z * 50
          : z
        : row === 3
          ? z * 1e-7
          : Math.abs(z);
});
const narrow = Uint16Array.from(new Uint32Array(weights.buffer), (bits) => bits >>> 16);
const widened = new Float32Array(Uint32Array.from(narrow, (bits) => bits << 16).buffer);

for (const { name, groupSize, bitsPerWeight, encode } of peers.encoders) {
  for (const dtype of ['f32', 'bf16'] as const) {
    test(`${name} encodes ${dtype} to what its scalar form restores`, () => {
      const x = peers.memory.place(dtype === 'f32' ? weights : narrow);
      encode(x, dtype === 'bf16', COUNT);
      const expected = baselines[name](dtype === 'f32' ? weights : widened, ROWS, COLS);
      sameBits(decode(name, groupSize), expected.dequantized.map(positiveZero), name);
      assert.is(expected.bitsPerWeight, bitsPerWeight);
    });
  }
}

test('nf4Levels() are those of the paper', () => {
  const levels = nf4Levels();
  assert.equal([levels.length, levels[0], levels[7], levels[15]], [16, -1, 0, 1]);
  for (const [i, level] of [
    [1, -0.6962],
    [6, -0.091],
    [8, 0.0796],
    [14, 0.723],
  ] as const) {
    assert.ok(Math.abs(levels[i] - level) < 5e-5, `[${i}]: ${levels[i]}`);
  }
});

test('af4Levels() err less than NF4 in the mean, and no level does better elsewhere', () => {
  const [count, groupSize] = [1 << 17, 64];
  const scaled = normals(count, 9);
  for (let start = 0; start < count; start += groupSize) {
    const group = scaled.subarray(start, start + groupSize);
    const most = group.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
    group.forEach((w, i) => {
      group[i] = w / most;
    });
  }
  const error = (levels: Float32Array) =>
    scaled.reduce((sum, w) => sum + levels.reduce((least, level) => Math.min(least, Math.abs(w - level)), 2), 0) /
    count;
  const levels = af4Levels(groupSize);
  const best = error(levels);
  assert.ok(best < error(nf4Levels()));
  for (const i of [1, 6, 8, 14]) {
    for (const step of [-0.02, 0.02]) {
      const moved = levels.map((level, k) => (k === i ? level + step : level));
      assert.ok(error(moved) > best, `[${i}] moved by ${step}`);
    }
  }
});

test('every baseline keeps its order of errors on Gaussian weights', () => {
  const w = normals(64 * 512, 3);
  const t2 = (name: string) => {
    const { dequantized } = baselines[name](w, 64, 512);
    return w.reduce((sum, x, i) => sum + (x - dequantized[i]) ** 2, 0) / w.reduce((sum, x) => sum + x * x, 0);
  };
  assert.ok(t2('AF4 g64') < t2('NF4 g64'));
  assert.ok(t2('NF4 g64') < t2('int4 symmetric g64'));
  assert.ok(t2('HQQ int4 g64') < t2('int4 asymmetric g64'));
  for (const bits of [3, 4]) {
    assert.ok(t2(`int${bits} asymmetric g32`) < t2(`int${bits} asymmetric g64`));
    assert.ok(t2(`int${bits} asymmetric g64`) < t2(`int${bits} asymmetric g128`));
  }
  assert.ok(t2('HQQ int3 g64') < t2('int3 asymmetric g64'));
});

test('a baseline counts every scale of rows that end in a shorter group', () => {
  const w = normals(2 * 100, 4);
  assert.is(baselines['NF4 g64'](w, 2, 100).bitsPerWeight, 4 + (2 * 16) / 100);
  assert.is(baselines['int3 asymmetric g32'](w, 2, 100).bitsPerWeight, 3 + (4 * 19) / 100);
});

test('gptq() rounds to nearest where inputs are independent, and loses less where they are not', () => {
  const [bits, groupSize] = [4, 128];
  const one = normals(COUNT, 5);
  const alike = Float32Array.from({ length: COLS * COLS }, (_, i) => (i % (COLS + 1) === 0 ? 1 : 0));
  const nearest = baselines['int4 asymmetric g128'](one, ROWS, COLS);
  const same = gptq(one, ROWS, COLS, { inputs: alike, bits, groupSize });
  sameBits(same.dequantized.map(positiveZero), nearest.dequantized.map(positiveZero), 'inputs alike');
  assert.is(same.bitsPerWeight, nearest.bitsPerWeight);

  // Neighbours have much in common, and later columns are larger.
  const inputs = Float32Array.from({ length: COLS * COLS }, (_, i) => {
    const [a, b] = [Math.floor(i / COLS), i % COLS];
    return 0.95 ** Math.abs(a - b) * (1 + a / COLS) * (1 + b / COLS);
  });
  const lossOf = (restored: Float32Array) => {
    let loss = 0;
    for (let row = 0; row < ROWS; row++) {
      const error = one.subarray(row * COLS, (row + 1) * COLS).map((w, i) => w - restored[row * COLS + i]);
      for (let a = 0; a < COLS; a++) for (let b = 0; b < COLS; b++) loss += error[a] * error[b] * inputs[a * COLS + b];
    }
    return loss;
  };
  const { dequantized } = gptq(one, ROWS, COLS, { inputs, bits, groupSize });
  assert.ok(lossOf(dequantized) < 0.3 * lossOf(nearest.dequantized), `${lossOf(dequantized)}`);
});

test.run();

// Restores what the last `encode` left.
function decode(name: string, groupSize: number): Float32Array {
  const { memory } = peers;
  const packed = memory.copy(Uint8Array, peers.packed, COUNT / 2);
  const scales = memory.copy(Uint16Array, peers.scales, COUNT / groupSize);
  const zeros = memory.copy(Uint8Array, peers.zeros, COUNT / groupSize / 2 + 1);
  const floats = new Float32Array(Uint32Array.from(scales, f16ToF32Bits).buffer);
  const levels = nf4Levels();
  return Float32Array.from({ length: COUNT }, (_, i) => {
    const group = Math.floor(i / groupSize);
    const code = (packed[i >> 1] >> (4 * (i & 1))) & 15;
    const zero = name.includes('asymmetric') ? (zeros[group >> 1] >> (4 * (group & 1))) & 15 : 8;
    return positiveZero((name.startsWith('NF4') ? levels[code] : code - zero) * floats[group]);
  });
}

// A code of zero has no sign.
function positiveZero(x: number): number {
  return x === 0 ? 0 : x;
}
