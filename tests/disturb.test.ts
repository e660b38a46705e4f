// What bench:linearity computes with: losses of disturbed weights, ratios with standard errors, the plot.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openPatient } from '../bench/disturb.ts';
import { quantileOf, ratioOf } from '../bench/ratio.ts';
import { type Dot, scatterOf } from '../bench/scatter.ts';
import { normals } from './bits.ts';
import { configs, modelFolder, randomFile } from './models.ts';

const test = suite('disturb');

test('ratioOf() is the ratio of sums; of equal weights the mean with its standard error', () => {
  const values = Array.from(normals(50, 3));
  const { value, error } = ratioOf(
    values,
    values.map(() => 1),
  );
  const mean = values.reduce((sum, x) => sum + x, 0) / 50;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / 49;
  assert.ok(Math.abs(value - mean) < 1e-12 && Math.abs(error - Math.sqrt(variance / 50)) < 1e-12);
  const exact = ratioOf([3, 6, 1.5], [2, 4, 1]);
  assert.equal([exact.value, exact.error], [1.5, 0]);
});

test('quantileOf() is a value that the share does not exceed', () => {
  const values = [5, 1, 4, 2, 3];
  assert.equal([quantileOf(values, 0), quantileOf(values, 0.5), quantileOf(values, 0.9)], [1, 3, 5]);
});

test('a matrix disturbed alone costs what it costs among matrices that are as they were, and those cost nothing', async () => {
  const folder = modelFolder(configs.llama, randomFile(configs.llama, ['F32']));
  const texts = [Array.from(normals(20), (z) => Math.floor(Math.abs(z) * 50)), Array.from({ length: 30 }, (_, i) => i)];
  for (const tokens of [
    { tokens: 12, texts: 3 },
    { tokens: 12, texts },
  ]) {
    const patient = await openPatient(folder, tokens, 1);
    const sequences = typeof tokens.texts === 'number' ? tokens.texts : tokens.texts.length;
    assert.is(patient.matrices.length, 14);
    assert.equal([patient.alphas.length, patient.alphas[0].length], [sequences, 14]);
    assert.is(patient.base === null, typeof tokens.texts === 'number');
    const same = (i: number) => patient.matrices[i].weights;
    const noised = (i: number) => same(i).map((w, k) => w + 0.1 * Math.sin(k));
    const disturbances = [
      { variants: [same], alone: 1 },
      { variants: [noised], alone: 2 },
      ...[0, 6, 9].map((only) => ({ variants: [(i: number) => (i === only ? noised(i) : same(i))], alone: 0 })),
    ];
    const [clean, all, ...single] = patient.lossesOf(disturbances);
    assert.ok([...clean.together, ...clean.alone[0]].every((loss) => Math.abs(loss) < 1e-9));
    assert.equal([all.together.length, all.alone.length], [sequences, 2]);
    for (const [k, only] of [0, 6, 9].entries()) {
      for (const s of [0, 1]) assert.is(all.alone[s][only], single[k].together[s]);
    }
    assert.ok(all.together.some((loss) => Math.abs(loss) > 1e-4));
    await patient.close();
  }
});

test('scatterOf() places measured = predicted on the line, and counts what has no place', () => {
  const dot = (predicted: number, measured: number, whole = false): Dot => {
    return { panel: 'a < b', colour: 'p1', predicted, measured, whole };
  };
  const svg = scatterOf([dot(0.01, 0.01), dot(1, 1, true), dot(0.1, -1)], 'x', 'y');
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  assert.match(svg, /a &lt; b \(1 of 3 not above 0\)/);
  const [, x, y] = /class="dots"[^>]*d="M(\d+) (\d+)h0"/.exec(svg)!;
  assert.is(Number(x) + Number(y), 300);
  const [, cx, cy] = /class="whole" cx="(\d+)" cy="(\d+)"/.exec(svg)!;
  assert.equal([Number(cx), Number(cy)], [300, 0]);
});

test.run();
