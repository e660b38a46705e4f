// Tokens that the model samples for its own sensitivities: against the oracle, token by token.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { USE, uniformStream } from '../src/numerics/stream.ts';
import { stepsOf } from '../src/sensitivity/progress.ts';
import { openSession, openSubject, planSession, type Session } from '../src/sensitivity/session.ts';
import { sample, sampledIds, sequenceStep } from '../src/sensitivity/tokens.ts';
import { type Config, configs, modelFolder, randomFile } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('sensitivity, sampled tokens');

test('sample() takes the first id up to which more than the share lies', () => {
  const logits = Float32Array.from([0, Math.log(2), Number.NEGATIVE_INFINITY, Math.log(5)]);
  const shares = [0, 0.124, 0.126, 0.374, 0.376, 0.999999];
  assert.equal(
    shares.map((share) => sample(logits, share)),
    [0, 0, 1, 1, 3, 3],
  );
  assert.throws(() => sample(new Float32Array(3).fill(Number.NaN), 0.5), /logits must be numbers: got NaN for token 0/);
  assert.throws(() => sample(Float32Array.of(0, Infinity, 1), 0.5), /got Infinity for token 1/);
  assert.throws(() => sample(Float32Array.of(-Infinity, -Infinity), 0.5), /got -Infinity for token 0/);
});

test('sampledIds() draws with the probabilities of the model, the same for any number of sequences together', async () => {
  for (const name of ['llama', 'llama, biases, linear rope, interleaved', 'qwen3']) {
    const config: Config = { ...configs[name], vocab_size: 19, bos_token_id: 1, eos_token_id: 2 };
    const file = randomFile(config);
    const tokens = 40;
    const options = { estimator: 'fisher', tokens, draws: 1, threads: 1, sampled: 3 } as const;
    const session = await openSession(
      planSession(await openSubject(modelFolder(config, file)), options),
      undefined,
      {},
    );
    const sampling = { ...samplingOf(session), tokens, seed: 6 };
    const actual = await sampledIds(sampling, 4, 7);
    assert.equal(await sampledIds(sampling, 5, 6), [actual[1]]);
    // An earlier run may have sampled the first ids of each.
    for (const sampled of [1, 2, 17, 39]) {
      const begun = new Map(actual.map((ids, j) => [4 + j, ids.slice(0, sampled + j)]));
      assert.equal(await sampledIds({ ...sampling, begun }, 4, 7), actual, `${sampled} are known`);
    }
    await session.close();
    const tensors = tensorsOf(file);
    for (const [j, ids] of actual.entries()) {
      const random = uniformStream(6, USE.own << 24, 4 + j, 0);
      const rows = oracleOf(config, tensors).logits(ids);
      const wanted = rows.slice(0, -1).map((row, t) => (ids[t] === 2 ? 1 : pick(softmax(row), random())));
      assert.equal(ids, [1, ...wanted], name);
    }
    assert.ok(actual.flat().includes(2), 'no text ended');
  }
});

test('sampledIds() begins with any id where there is no bos, and goes on behind an end', async () => {
  const { bos_token_id: _, ...config } = { ...configs.llama, vocab_size: 5, eos_token_id: 2 } as Config & {
    bos_token_id?: number;
  };
  const options = { estimator: 'fisher', tokens: 64, draws: 1, threads: 1, sampled: 8 } as const;
  const session = await openSession(
    planSession(await openSubject(modelFolder(config, randomFile(config))), options),
    undefined,
    {},
  );
  const sampling = { ...samplingOf(session), tokens: 64, seed: 0 };
  const actual = await sampledIds(sampling, 0, 8);
  const begun = new Map(actual.map((ids, j) => [j, ids.slice(0, 30)]));
  assert.equal(await sampledIds({ ...sampling, begun }, 0, 8), actual);
  await session.close();
  assert.ok(new Set(actual.map(([first]) => first)).size > 1);
  assert.ok(actual.every((ids) => ids.length === 64 && ids.every((id) => id >= 0 && id < 5)));
  const behind = actual.flatMap((ids) => ids.filter((_, t) => ids[t - 1] === 2));
  assert.ok(new Set(behind).size > 1);
});

test.run();

const samplingOf = (session: Session) => ({
  ...{ vocabulary: session.vocabulary, step: sequenceStep(session), steps: stepsOf(1, undefined, undefined) },
  ...{ begun: new Map<number, number[]>(), onBegun: () => {}, signal: undefined },
});

function pick(p: Float64Array, share: number): number {
  let sum = 0;
  return p.findIndex((value) => {
    sum += value;
    return sum > share;
  });
}

function softmax(row: Float64Array): Float64Array {
  const most = row.reduce((a, b) => Math.max(a, b));
  const powers = row.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}
