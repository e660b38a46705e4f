// Figures of texts over a fake decoder, against their definitions in plain steps with Math.exp and Math.log.

import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openFolder } from '../src/source/file.ts';
import { type PerplexityOptions, perplexity } from '../src/text/perplexity.ts';
import { assembleModel } from '../src/text/textmodel.ts';
import { uniform } from './bits.ts';
import { fakeLanguage, hashed } from './fake-language.ts';

const test = suite('perplexity');
const VOCABULARY = 40;
const next = uniform(1);
const IDS = Array.from({ length: 100 }, () => Math.floor(next() * VOCABULARY));

const logProbabilities = (ids: number[], seed = 1) => {
  const row = Array.from(hashed(seed)(ids, VOCABULARY));
  const sum = Math.log(row.reduce((total, logit) => total + Math.exp(logit), 0));
  return row.map((logit) => logit - sum);
};

// Scores of every token: windows by their definition.
function scores(
  ids: number[],
  room: number,
  stride: number,
  bos: number[],
  seed = 1,
): { nll: number; before: number[] }[] {
  const actual: { nll: number; before: number[] }[] = [];
  let scored = 0;
  for (let start = 0; scored < ids.length; start += stride) {
    const end = Math.min(start + room, ids.length);
    for (let i = Math.max(scored, bos.length ? start : start + 1); i < end; i++) {
      const before = [...bos, ...ids.slice(start, i)];
      actual.push({ nll: -logProbabilities(before, seed)[ids[i]], before });
    }
    scored = end;
  }
  return actual;
}

const close = (actual: number, expected: number, label: string) =>
  assert.ok(
    Math.abs(actual - expected) <= 1e-12 * Math.max(1, Math.abs(expected)),
    `${label}: ${actual}, not ${expected}`,
  );

const cases: [PerplexityOptions, windows: number][] = [
  [{ context: 11, bos: 1 }, 10],
  [{ context: 12, bos: 1 }, 10],
  [{ context: 64, bos: 1 }, 2],
  [{ context: 10, bos: null }, 10],
  [{ context: 11, bos: 1, stride: 3 }, 31],
  [{ context: 10, bos: null, stride: 1 }, 91],
  [{ context: 11, bos: null }, 10],
  [{ context: 2, bos: 1 }, 100],
];
for (const [options, windows] of cases) {
  test(`perplexity() scores each token once, by the definition: ${JSON.stringify(options)}`, async () => {
    const bos = options.bos === null ? [] : [options.bos!];
    const room = options.context! - bos.length;
    const nll = scores(IDS, room, options.stride ?? room, bos).map((score) => score.nll);
    const mean = nll.reduce((a, b) => a + b) / nll.length;
    const variance = nll.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (nll.length - 1);
    const error = Math.sqrt(variance / nll.length);
    const actual = await perplexity(fakeLanguage(), IDS, { ...options, bytes: 123 });
    close(actual.meanNll, mean, 'meanNll');
    close(actual.standardError, error, 'standardError');
    close(actual.perplexity, Math.exp(mean), 'perplexity');
    close(actual.perplexityError, Math.exp(mean) * error, 'perplexityError');
    close(actual.bitsPerByte!, (mean * nll.length) / Math.LN2 / 123, 'bitsPerByte');
    assert.is(actual.tokensScored, nll.length);
    assert.is(actual.tokens, IDS.length);
    assert.is(actual.windows, windows);
    assert.equal([actual.context, actual.stride, actual.bos], [options.context, options.stride ?? room, options.bos]);
    assert.is(actual.against, undefined);
  });
}

test('perplexity() takes the bos of the model and a context of 256 by default', async () => {
  const actual = await perplexity(fakeLanguage({ bos: 1, contextLength: 512 }), IDS);
  assert.equal([actual.context, actual.stride, actual.bos, actual.windows], [256, 255, 1, 1]);
  assert.is((await perplexity(fakeLanguage({ contextLength: 32 }), IDS)).context, 32);
});

test('perplexity() of a last window of one token, and of one token in all', async () => {
  const actual = await perplexity(fakeLanguage(), IDS.slice(0, 11), { context: 10, bos: null });
  assert.equal([actual.tokensScored, actual.windows], [9, 2]);
  const one = await perplexity(fakeLanguage({ bos: 1 }), [5]);
  close(one.meanNll, -logProbabilities([1])[5], 'meanNll');
  assert.is(one.standardError, 0);
});

test('perplexity() is the same whatever runs beside it and whatever the size of a call', async () => {
  const options = { context: 11, bos: 1, stride: 3 };
  const alone = await perplexity(fakeLanguage(), IDS, options);
  const language = fakeLanguage();
  const both = await Promise.all([perplexity(language, IDS, options), perplexity(language, IDS, options)]);
  assert.equal(both, [alone, alone]);
  // A vocabulary of which a call has four rows.
  const vocabSize = 1 << 20;
  const logitsOf = (ids: readonly number[]) => new Float32Array(vocabSize).fill(0, 0, 1).fill(ids.length, 1, 2);
  const wide = fakeLanguage({ vocabSize, contextLength: 8, logitsOf });
  const actual = await perplexity(wide, [0, 1, 1, 0, 1, 1, 1], { bos: 1, context: 8 });
  const expected = [0, 1, 1, 0, 1, 1, 1].map(
    (id, i) => Math.log(vocabSize - 1 + Math.exp(i + 1)) - (id === 1 ? i + 1 : 0),
  );
  close(actual.meanNll, expected.reduce((a, b) => a + b) / 7, 'meanNll');
  assert.is(wide.longest, 4);
});

test('perplexity() against another model gives the divergence of all predictions', async () => {
  const options = { context: 11, bos: 1 };
  const [mine, theirs] = [fakeLanguage(), fakeLanguage({ logitsOf: hashed(2) })];
  const { against, ...actual } = await perplexity(mine, IDS, { ...options, against: theirs });
  const { against: none, ...alone } = await perplexity(fakeLanguage(), IDS, options);
  assert.equal(actual, alone);
  const kls = scores(IDS, 10, 10, [1]).map(({ before }) => {
    const [p, q] = [logProbabilities(before, 2), logProbabilities(before, 1)];
    return p.reduce((sum, logP, i) => sum + Math.exp(logP) * (logP - q[i]), 0);
  });
  const mean = kls.reduce((a, b) => a + b) / kls.length;
  close(against!.meanKl, mean, 'meanKl');
  close(
    against!.standardError,
    Math.sqrt(kls.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (kls.length - 1) / kls.length),
    'standardError',
  );
  const sorted = [...kls].sort((a, b) => a - b);
  const { p50, p90, p95, p99, max } = against!.percentiles;
  for (const [value, rank] of [
    [p50, 50],
    [p90, 90],
    [p95, 95],
    [p99, 99],
    [max, 100],
  ] as const) {
    close(value, sorted[rank - 1], `percentile ${rank}`); // of 100 tokens
  }
  const nll = scores(IDS, 10, 10, [1], 2).map((score) => score.nll);
  close(against!.meanNll, nll.reduce((a, b) => a + b) / nll.length, 'meanNll');
  const differences = scores(IDS, 10, 10, [1]).map((score, i) => score.nll - nll[i]);
  const difference = differences.reduce((a, b) => a + b) / differences.length;
  const variance = differences.reduce((sum, x) => sum + (x - difference) ** 2, 0) / (differences.length - 1);
  close(against!.ratio, Math.exp(difference), 'ratio');
  close(against!.ratio, actual.perplexity / against!.perplexity, 'ratio');
  close(against!.ratioError, Math.exp(difference) * Math.sqrt(variance / differences.length), 'ratioError');
  const best = (row: number[]) => row.indexOf(Math.max(...row));
  const agreed = scores(IDS, 10, 10, [1]).filter(
    ({ before }) => best(logProbabilities(before, 1)) === best(logProbabilities(before, 2)),
  );
  assert.is(against!.top1Agreement, agreed.length / 100);
});

test('perplexity() against the model itself diverges nowhere', async () => {
  const { against } = await perplexity(fakeLanguage(), IDS, { context: 11, bos: 1, against: fakeLanguage() });
  assert.equal([against!.meanKl, against!.percentiles.max, against!.top1Agreement], [0, 0, 1]);
  assert.equal([against!.ratio, against!.ratioError], [1, 0]);
});

test('perplexity() tells how far it is, and ends when aborted', async () => {
  const steps: string[] = [];
  const options = {
    context: 51,
    bos: 1,
    onProgress: ({ done, total }: { done: number; total: number }) => steps.push(`${done}/${total}`),
  };
  await perplexity(fakeLanguage(), IDS, options);
  assert.equal(steps, ['50/100', '100/100']);
  const abort = new AbortController();
  const error = await perplexity(fakeLanguage(), IDS, {
    ...options,
    signal: abort.signal,
    onProgress: () => abort.abort(new Error('enough')),
  }).catch((each) => each);
  assert.is(error.message, 'enough');
});

test('perplexity() names what cannot be', async () => {
  const language = fakeLanguage();
  const wrong: [number[], PerplexityOptions, RegExp][] = [
    [[], {}, /text must have a token to score: it has 0/],
    [[1], { bos: null }, /text must have a token to score: it has 1/],
    [[1, 40], {}, /text must be token ids from 0 to 39: got 40 at 1/],
    [IDS, { context: 65 }, /context must be an integer from 2 to 64: got 65/],
    [IDS, { context: 1 }, /context must be an integer from 2/],
    [IDS, { context: 11, bos: 1, stride: 11 }, /stride must be an integer from 1 to 10: got 11/],
    [IDS, { stride: 0 }, /stride/],
    [IDS, { bos: 40 }, /bos must be token ids from 0 to 39: got 40/],
    [
      IDS,
      { against: fakeLanguage({ vocabSize: 41 }) },
      /both models must have the same vocabulary: they have 40 and 41 tokens/,
    ],
  ];
  for (const [ids, options, message] of wrong) {
    const error = await perplexity(language, ids, options).catch((each) => each);
    assert.instance(error, RangeError);
    assert.match(error.message, message);
  }
  const broken = fakeLanguage({ logitsOf: () => new Float32Array(VOCABULARY).fill(Number.NaN) });
  assert.match((await perplexity(broken, IDS).catch((each) => each)).message, /logits must be numbers: got NaN/);
});

test('Model.perplexity() of a text cuts it as the protocol of the embedded model says', async () => {
  const reference = JSON.parse(readFileSync('models/books-llama/reference.json', 'utf8')).perplexity_test;
  const text = readFileSync('models/books-llama/test.txt', 'utf8');
  const folder = await openFolder('models/books-llama');
  // Every token is equally likely: the mean is ln 2048, and bits per byte follow from the counts alone.
  const logitsOf = () => new Float32Array(2048);
  const model = await assembleModel(folder, fakeLanguage({ vocabSize: 2048, contextLength: 512, bos: 1, logitsOf }));
  await folder.close();
  const actual = await model.perplexity(text);
  assert.is(actual.tokensScored, reference.float64.tokens_scored);
  assert.is(actual.windows, reference.float64.windows);
  close(actual.meanNll, Math.log(2048), 'meanNll');
  close(actual.bitsPerByte!, (11 * reference.n_ids) / reference.bytes, 'bitsPerByte');
});

test('perplexity() names logits that are not finite, of either model', async () => {
  const of = (value: number, position: number) =>
    fakeLanguage({
      logitsOf: (ids) => hashed()(ids, VOCABULARY).map((logit, id) => (id === position ? value : logit)),
    });
  const [target] = IDS;
  const cases: [value: number, at: number, message: string][] = [
    [Number.NaN, 7, 'logits must be numbers: got NaN for token 7'],
    [Infinity, 7, 'logits must be finite numbers: got Infinity for token 7'],
    [-Infinity, target, `logits must be finite numbers: got -Infinity for token ${target}`],
  ];
  for (const [value, position, message] of cases) {
    const broken = of(value, position);
    const errors = [perplexity(broken, IDS, { bos: 1 }), perplexity(fakeLanguage(), IDS, { bos: 1, against: broken })];
    for (const each of errors) {
      const error = await each.catch((caught) => caught);
      assert.instance(error, RangeError);
      assert.is(error.message, message);
    }
  }
});

test('perplexity() names a token that only the other model gives a probability', async () => {
  const ids = IDS.map((id) => (id === 9 ? 8 : id));
  const broken = fakeLanguage({
    logitsOf: (before) => hashed()(before, VOCABULARY).map((logit, id) => (id === 9 ? -Infinity : logit)),
  });
  assert.ok(Number.isFinite((await perplexity(broken, ids, { bos: 1 })).perplexity));
  const error = await perplexity(broken, ids, { bos: 1, against: fakeLanguage() }).catch((caught) => caught);
  assert.is(error.message, 'logits must be finite numbers: got -Infinity for token 9');
});

test.run();
