// Choosing a token, and the functions that decide it: compared with Math, with literal vectors, with plain definitions.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exp, log, logSumExp } from '../src/numerics/exponential.ts';
import { uniform } from '../src/numerics/random.ts';
import { argmax, createSampler, type SamplingOptions } from '../src/text/sample.ts';
import { normals, uniform as other } from './bits.ts';

const test = suite('sample');
const none: ReadonlySet<number> = new Set();

test('exp() is within 1e-15 of Math.exp from the smallest to the largest result', () => {
  const next = other(1);
  for (let i = 0; i < 50_000; i++) {
    const x = (next() - 0.5) * (i % 2 ? 1416 : 4);
    const expected = Math.exp(x);
    assert.ok(Math.abs(exp(x) - expected) <= 1e-15 * expected, `exp(${x}) = ${exp(x)}, not ${expected}`);
  }
});

test('exp() handles what is not in between', () => {
  const cases: [number, number][] = [
    [0, 1],
    [-0, 1],
    [1, Math.E],
    [709.782712893384, Math.exp(709.782712893384)],
    [710, Number.POSITIVE_INFINITY],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, 0],
    [-746, 0],
  ];
  for (const [x, y] of cases) assert.ok(Object.is(exp(x), y) || Math.abs(exp(x) / y - 1) < 1e-15, `exp(${x})`);
  assert.ok(Number.isNaN(exp(Number.NaN)));
  // Subnormal results: a few units of the last place, 2⁻¹⁰⁷⁴.
  for (const x of [-708.5, -720, -740, -745.1]) assert.ok(Math.abs(exp(x) - Math.exp(x)) <= 2e-323, `exp(${x})`);
});

test('log() is within 1e-15 of Math.log, at 1 too', () => {
  const next = other(2);
  for (let i = 0; i < 50_000; i++) {
    const x = i % 3 === 0 ? 1 + (next() - 0.5) * 1e-3 : i % 3 === 1 ? next() * 10 : 2 ** ((next() - 0.5) * 2000);
    const expected = Math.log(x);
    assert.ok(Math.abs(log(x) - expected) <= 1e-15 * Math.abs(expected), `log(${x}) = ${log(x)}, not ${expected}`);
  }
  assert.is(log(1), 0);
  assert.is(log(0), Number.NEGATIVE_INFINITY);
  assert.is(log(Number.POSITIVE_INFINITY), Number.POSITIVE_INFINITY);
  assert.ok(Number.isNaN(log(-1)) && Number.isNaN(log(Number.NaN)));
  for (const x of [5e-324, 1e-310, 2.2250738585072014e-308]) {
    assert.ok(Math.abs(log(x) / Math.log(x) - 1) < 1e-15, `log(${x})`);
  }
});

test('logSumExp() of large logits does not overflow', () => {
  assert.ok(Math.abs(logSumExp([1000, 1000]) - (1000 + Math.LN2)) < 1e-12);
  assert.is(logSumExp([7]), 7);
});

test('uniform() has these numbers, in [0, 1), in every runtime', () => {
  const next = uniform(42);
  assert.equal([next(), next(), next()], [0.07237175092844705, 0.6428957766201335, 0.13270415148366177]);
  const sample = Float64Array.from({ length: 100_000 }, uniform(7));
  const mean = sample.reduce((sum, x) => sum + x, 0) / sample.length;
  assert.ok(Math.abs(mean - 0.5) < 5 / Math.sqrt(12 * sample.length));
  assert.ok(sample.every((x) => x >= 0 && x < 1));
});

test('argmax() takes the first of equals and names NaN', () => {
  assert.is(argmax(Float32Array.of(1, 3, 3, 2)), 1);
  assert.is(argmax(Float32Array.of(-Infinity, -1, -Infinity)), 1);
  assert.throws(() => argmax(Float32Array.of(1, Number.NaN)), /logits must be numbers: got NaN for token 1/);
});

test('createSampler() is greedy by default, whatever the other options', () => {
  const row = normals(100, 3);
  const best = argmax(row);
  for (const options of [{}, { topK: 5 }, { topP: 0.1, seed: 9 }]) assert.is(createSampler(options)(row, none), best);
});

test('createSampler() penalises what occurred as Hugging Face does, also when greedy', () => {
  const row = Float32Array.of(2, 1.5, -1, -1.5);
  assert.is(createSampler({ repetitionPenalty: 1.5 })(row, new Set([0])), 1); // 2 / 1.5 < 1.5
  assert.is(createSampler({ repetitionPenalty: 2 })(Float32Array.of(-1, -1.5), new Set([0])), 1); // -1 · 2 < -1.5
  assert.equal([...row], [2, 1.5, -1, -1.5]);
});

// The definition, in plain steps.
function probabilities(row: Float32Array, options: SamplingOptions): Float64Array {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options;
  const order = [...row.keys()].sort((a, b) => row[b] - row[a] || a - b);
  let kept = topK > 0 ? order.slice(0, topK) : order;
  const softmax = (ids: number[]) => {
    const weights = ids.map((id) => Math.exp((row[id] - row[order[0]]) / temperature));
    const sum = weights.reduce((a, b) => a + b);
    return weights.map((weight) => weight / sum);
  };
  let above = 0;
  const share = softmax(kept);
  kept = kept.filter((_, i) => {
    const keep = above < topP;
    above += share[i];
    return keep;
  });
  const likely = softmax(kept);
  kept = kept.filter((_, i) => likely[i] >= minP * likely[0]);
  const result = new Float64Array(row.length);
  for (const [i, p] of softmax(kept).entries()) result[kept[i]] = p;
  return result;
}

for (const options of [
  { temperature: 1 },
  { temperature: 0.5 },
  { temperature: 1.3, topK: 7 },
  { temperature: 1, topP: 0.8 },
  { temperature: 1, minP: 0.2 },
  { temperature: 2, topK: 20, topP: 0.9, minP: 0.1 },
  { temperature: 1, topK: 1000 },
  { temperature: 1, topP: 1e-9 },
]) {
  test(`createSampler() draws in proportion to what is left: ${JSON.stringify(options)}`, () => {
    const row = normals(50, 4).map((x) => 2 * x);
    const expected = probabilities(row, options);
    const counts = new Float64Array(row.length);
    const [draws, sample] = [20_000, createSampler({ ...options, seed: 5 })];
    for (let i = 0; i < draws; i++) counts[sample(row, none)]++;
    for (const [id, p] of expected.entries()) {
      if (p === 0) assert.is(counts[id], 0, `token ${id} must have been filtered`);
      const deviation = Math.sqrt(draws * p * (1 - p));
      assert.ok(Math.abs(counts[id] - draws * p) <= 5 * deviation + 1, `token ${id}: ${counts[id]} of ${draws * p}`);
    }
  });
}

test('createSampler() gives the same tokens for the same seed, others for another', () => {
  const row = normals(50, 6);
  const draw = (seed: number) => {
    const sample = createSampler({ temperature: 1, seed });
    return Array.from({ length: 20 }, () => sample(row, none)).join();
  };
  assert.is(draw(1), draw(1));
  assert.is.not(draw(1), draw(2));
});

test('createSampler() names an option that is out of range', () => {
  const wrong: [SamplingOptions, RegExp][] = [
    [{ temperature: -1 }, /temperature must be a number from 0 to 100: got -1/],
    [{ temperature: Number.NaN }, /temperature/],
    [{ topK: 1.5 }, /topK must be an integer of at least 0: got 1.5/],
    [{ topP: 0 }, /topP must be a number above 0 and up to 1: got 0/],
    [{ topP: 1.01 }, /topP/],
    [{ minP: -0.1 }, /minP must be a number from 0 to 1/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty must be a number above 0/],
    [{ seed: -1 }, /seed must be an integer from 0 to 4294967295: got -1/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => createSampler(options),
      (error: Error) => error instanceof RangeError && message.test(error.message),
    );
  }
  assert.throws(
    () => createSampler({ temperature: '1' as unknown as number }),
    (error: Error) => error instanceof TypeError && /temperature must be a number: got "1"$/.test(error.message),
  );
});

test('a sampler names logits that are not finite, whatever the options', () => {
  const broken: [logits: number[], message: RegExp][] = [
    [[1, Infinity, 2, Infinity], /^logits must be finite numbers: got Infinity for token 1$/],
    [[-Infinity, -Infinity], /^logits must be finite numbers: got -Infinity for token 0$/],
    [[1, 2, Number.NaN], /^logits must be numbers: got NaN for token 2$/],
  ];
  const options: SamplingOptions[] = [
    {},
    { temperature: 1 },
    { temperature: 1, topP: 0.9 },
    { temperature: 1, minP: 0.1 },
    { temperature: 1, topK: 2 },
    { temperature: 1, topK: 3, topP: 0.5, minP: 0.5 },
    { temperature: 0.7, repetitionPenalty: 1.3 },
  ];
  for (const [logits, message] of broken) {
    for (const each of options) {
      assert.throws(
        () => createSampler(each)(Float32Array.from(logits), new Set([0, 1])),
        (error: Error) => error instanceof RangeError && message.test(error.message),
      );
    }
  }
});

test('a sampler names what a repetition penalty makes infinite', () => {
  const sample = createSampler({ temperature: 1, repetitionPenalty: 1e-3 });
  assert.throws(() => sample(Float32Array.of(3e38, 1), new Set([0])), /got Infinity for token 0/);
  const all = createSampler({ repetitionPenalty: 100 });
  assert.throws(() => all(Float32Array.of(-3e38, -3e38), new Set([0, 1])), /got -Infinity for token 0/);
});

test('a sampler never draws a token of −∞', () => {
  const row = Float32Array.of(-Infinity, 0, -Infinity, 0);
  for (const options of [{ topP: 0.99 }, { minP: 0.01 }, { topK: 3 }, {}]) {
    const sample = createSampler({ temperature: 1, ...options });
    for (let i = 0; i < 50; i++) assert.is(sample(row, none) % 2, 1);
  }
});

test.run();
