// The exact choice of grids: against brute force, at the borders, and on a model's real sizes.

import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Alphas, type Grid, load, type PlanTensor, priorAlphas, uniformAlphas } from '../src/index.ts';
import { bareAlpha } from '../src/linearity/alphas.ts';
import { type Choices, prepareProblem } from '../src/linearity/hull.ts';
import { solve } from '../src/linearity/search.ts';
import { uniform } from './bits.ts';

const higgs = await load();

// The least loss within a budget, then the fewest bits: every combination tried.
function brute(tensors: readonly Choices[], budget: number): { loss: number; bits: number } | undefined {
  let best: { loss: number; bits: number } | undefined;
  const visit = (i: number, bits: number, loss: number): void => {
    if (bits > budget) return;
    if (i < tensors.length) {
      for (const [j, added] of tensors[i].bits.entries()) visit(i + 1, bits + added, loss + tensors[i].losses[j]);
    } else if (!best || loss < best.loss || (loss === best.loss && bits < best.bits)) best = { loss, bits };
  };
  visit(0, 0, 0);
  return best;
}

const least = (tensors: readonly Choices[]) => tensors.reduce((sum, { bits }) => sum + Math.min(...bits), 0);

// Whole losses, so that sums are exact; few values, so that ties and twins are frequent.
const tensorOf = (most: number) =>
  fc
    .array(fc.tuple(fc.nat(most), fc.nat(most)), { minLength: 1, maxLength: 5 })
    .map((pairs): Choices => ({ bits: pairs.map(([bits]) => bits), losses: pairs.map(([, loss]) => loss) }));

for (const most of [3, 20, 10_000]) {
  test(`solve() finds what brute force finds, numbers up to ${most}`, () => {
    const tensors = fc.array(tensorOf(most), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(tensors, fc.nat(most * 6), (spare, more) => {
        const budget = least(spare) + more;
        const { choices, bits, loss, gap } = solve(prepareProblem(spare), budget);
        assert.equal({ loss, bits, gap }, { ...brute(spare, budget), gap: 0 });
        assert.is(
          bits,
          choices.reduce((sum, j, i) => sum + spare[i].bits[j], 0),
        );
      }),
      { numRuns: 2000, seed: most },
    );
  });
}

test('solve() finds what brute force finds among twins', () => {
  const tensors = fc
    .tuple(tensorOf(12), tensorOf(12), fc.nat(4), fc.nat(3))
    .map(([a, b, n, m]) => [...Array(n + 1).fill(a), ...Array(m).fill(b)] as Choices[]);
  fc.assert(
    fc.property(tensors, fc.nat(60), (spare, more) => {
      const budget = least(spare) + more;
      const { loss, bits, gap } = solve(prepareProblem(spare), budget);
      assert.equal({ loss, bits, gap }, { ...brute(spare, budget), gap: 0 });
    }),
    { numRuns: 1000, seed: 5 },
  );
});

test('solve() finds what a dynamic programme over all budgets finds, for 60 tensors', () => {
  const next = uniform(9);
  const tensors = Array.from({ length: 60 }, (): Choices => {
    const weights = [4, 4, 16, 56][Math.floor(next() * 4)];
    const alpha = Math.floor(next() ** 4 * 1000);
    const rates = [2, 3, 4, 5, 8];
    return { bits: rates.map((rate) => rate * weights), losses: rates.map((rate) => alpha * 4 ** (8 - rate)) };
  });
  const problem = prepareProblem(tensors);
  let table = new Float64Array(problem.most + 1); // least loss with at most that many bits
  for (const { bits, losses } of tensors) {
    const after = new Float64Array(table.length).fill(Infinity);
    for (const [j, tried] of bits.entries()) {
      for (let b = tried; b < table.length; b++) after[b] = Math.min(after[b], table[b - tried] + losses[j]);
    }
    table = after;
  }
  for (let budget = problem.least; budget <= problem.most; budget += 13) {
    const { loss, bits, gap } = solve(problem, budget);
    assert.equal([loss, gap], [table[budget], 0]);
    assert.ok(bits <= budget && (bits === 0 || table[bits - 1] > loss), 'the fewest bits of that loss');
  }
});

test('solve() stays within the budget and bounds what it misses when it must stop early', () => {
  const next = uniform(4);
  const tensors = Array.from({ length: 14 }, (): Choices => {
    const bits = Array.from({ length: 3 }, () => Math.floor(next() * 1e6));
    return { bits, losses: bits.map((size) => 3e6 - size + Math.floor(next() * 50)) };
  });
  const budget = Math.floor(least(tensors) * 1.7);
  const problem = prepareProblem(tensors);
  const exact = solve(problem, budget);
  assert.is(exact.gap, 0);
  for (const limits of [
    { states: 1, work: 1e6 },
    { states: 50, work: 1e6 },
    { states: 1e6, work: 10 },
  ]) {
    const { loss, bits, gap } = solve(problem, budget, limits);
    assert.ok(bits <= budget && loss >= exact.loss);
    assert.ok(loss - gap <= exact.loss + 1e-3, `${loss} − ${gap} bounds ${exact.loss}`);
  }
});

test('solve() of 10 000 tensors and 20 schemes is within the budget and proven', () => {
  const next = uniform(1);
  const rates = Array.from({ length: 20 }, (_, i) => 1.5 + i * 0.35);
  const tensors = Array.from({ length: 10_000 }, (): Choices => {
    const weights = 1000 * (1000 + Math.floor(next() * 20000)) + Math.floor(next() * 1000);
    const alpha = 1 / (0.001 + next());
    return {
      bits: rates.map((rate) => Math.ceil((rate * weights) / 8) * 8),
      losses: rates.map((rate) => alpha * 4 ** -rate),
    };
  });
  const problem = prepareProblem(tensors);
  for (const share of [0.1, 0.5]) {
    const budget = Math.floor(problem.least + share * (problem.most - problem.least));
    const { bits, gap } = solve(problem, budget);
    assert.ok(bits <= budget && bits > budget * (1 - 1e-6));
    assert.is(gap, 0);
  }
});

test('prepareProblem() and solve() refuse what has no answer', () => {
  assert.throws(() => prepareProblem([{ bits: [], losses: [] }]), /every tensor must have a choice: tensor 0/);
  assert.throws(() => prepareProblem([{ bits: [1], losses: [-1] }]), /losses must be finite and not negative: got -1/);
  assert.throws(() => prepareProblem([{ bits: [1], losses: [Number.NaN] }]), /losses must be finite/);
  assert.throws(() => prepareProblem([{ bits: [1.5], losses: [1] }]), /bits must be whole numbers: got 1.5/);
  assert.throws(() => solve(prepareProblem([{ bits: [8], losses: [1] }]), 7), /budget must be at least 8 bits: got 7/);
  assert.equal(solve(prepareProblem([]), 0), { choices: [], bits: 0, loss: 0, gap: 0 });
});

// --- plans

/** The seven matrices of Llama's layers. */
function llama(layers: number, width: number, kv: number, inner: number): PlanTensor[] {
  const shapes: [string, number[]][] = [
    ['mlp.down_proj', [width, inner]],
    ['mlp.gate_proj', [inner, width]],
    ['mlp.up_proj', [inner, width]],
    ['self_attn.k_proj', [kv, width]],
    ['self_attn.o_proj', [width, width]],
    ['self_attn.q_proj', [width, width]],
    ['self_attn.v_proj', [kv, width]],
  ];
  return Array.from({ length: layers }, (_, layer) =>
    shapes.map(([name, shape]) => ({ name: `model.layers.${layer}.${name}.weight`, shape })),
  ).flat();
}

test('allocate() by the prior: the figures of Llama-3.1-8B’s shapes', () => {
  const tensors = llama(32, 4096, 1024, 14336);
  const plan = higgs.allocate(tensors, priorAlphas(tensors), { bpw: 3.25, grids: ['p2n16', 'p2n64', 'p2n256'] });
  assert.is(plan.gap, 0);
  assert.ok(plan.bpw <= 3.25 && plan.bpw > 3.2499);
  assert.is(plan.uniform?.grid, 'p2n64');
  assert.is(plan.uniform!.bpw.toFixed(4), '3.0156');
  assert.ok(plan.predicted < plan.uniform!.predicted * 0.7);
  const gridOf = (name: string) => plan.tensors.find((tensor) => tensor.name === `model.layers.${name}.weight`)!.grid;
  assert.equal(['1.mlp.down_proj', '31.mlp.down_proj', '9.self_attn.v_proj', '9.mlp.gate_proj'].map(gridOf), [
    'p2n256',
    'p2n256',
    'p2n256',
    'p2n64',
  ]);
  assert.is(
    plan.predicted,
    plan.tensors.reduce((sum, { predicted }) => sum + predicted!, 0),
  );
});

test('allocate() counts scales unless told not to, and keeps limits and grids that are given', () => {
  const tensors = llama(2, 256, 64, 512).map((tensor) =>
    /k_proj/.test(tensor.name) ? { ...tensor, keep: higgs.grids.get('p1n256')! } : tensor,
  );
  const alphas = uniformAlphas(tensors);
  const counted = higgs.allocate(tensors, alphas, { bpw: 3.3 });
  const bare = higgs.allocate(tensors, alphas, { bpw: 3.3, scales: false });
  for (const { bpw } of [counted, bare]) assert.ok(bpw <= 3.3 && bpw > 3.2);
  assert.ok(bare.predicted < counted.predicted);
  const [one, other] = [counted, bare].map((plan) => plan.tensors.find(({ grid }) => grid === 't3z')!);
  assert.equal([one.bpw, other.bpw], [3 + 16 / one.shape[1], 3]);
  const limited = higgs.allocate(tensors, alphas, { bpw: 5, minBits: 3, maxBits: 4 });
  for (const { name, grid } of limited.tensors) {
    assert.match(grid, /k_proj/.test(name) ? /^p1n256$/ : /^(t3z|t4z)$/);
  }
  assert.throws(() => higgs.allocate(tensors, alphas, { bpw: 2 }), /bits per weight must be at least 2\.\d+.*: got 2$/);
  assert.throws(
    () => higgs.allocate(tensors, alphas, { bpw: 4, minBits: 7, maxBits: 7.5 }),
    /one of the grids must have bits from minBits, 7, to maxBits, 7\.5: none/,
  );
  assert.throws(() => higgs.allocate(tensors, alphas, { bpw: 4, grids: [] }), /grids must be at least one/);
  assert.throws(
    () => higgs.allocate([{ name: 'x', shape: [3] }], alphas, { bpw: 4 }),
    /tensors\[0\]\.shape must have two or three sizes: got 1$/,
  );
});

test('allocate() counts α below zero as 0, takes the fewest bits of equal loss, and wants every α', () => {
  const [a, b] = [
    { name: 'a.weight', shape: [64, 256] },
    { name: 'b.weight', shape: [64, 256] },
  ];
  const alphas = (values: Record<string, number>): Alphas => ({
    ...uniformAlphas([]),
    tensors: new Map(
      Object.entries(values).map(([name, alpha]) => [name, { alpha, error: null, r2: null, shape: null, levels: [] }]),
    ),
  });
  const plan = higgs.allocate([a, b], alphas({ 'a.weight': -3, 'b.weight': 1 }), {
    bpw: 8.1,
    grids: ['p2n16', 'p2n256', 'p1n256'],
  });
  assert.equal(
    plan.tensors.map(({ grid, alpha, predicted }) => [grid, alpha, predicted]),
    [
      ['p2n16', 0, 0],
      ['p1n256', 1, higgs.grids.get('p1n256')!.mse],
    ],
  );
  assert.throws(() => higgs.allocate([a, b], alphas({ 'a.weight': 1 }), { bpw: 4 }), /b\.weight has none/);
  const kept = { ...b, keep: higgs.grids.get('p1n16')! };
  const partly = higgs.allocate([a, kept], alphas({ 'a.weight': 1 }), { bpw: 4.1 });
  assert.equal([partly.tensors[1].alpha, partly.tensors[1].predicted], [null, null]);
  const other = new Map([['a.weight', { ...alphas({ 'a.weight': 1 }).tensors.get('a.weight')!, shape: [256, 64] }]]);
  assert.throws(
    () => higgs.allocate([a], { ...alphas({}), tensors: other }, { bpw: 4 }),
    /sensitivity of a\.weight must be of a tensor \[64, 256\]: it is of \[256, 64\]/,
  );
});

test('allocate() gives trellises to rows of 128 columns and more only, unless there is nothing else', () => {
  const tensors = [64, 127, 128, 256].map((cols) => ({ name: `${cols}.weight`, shape: [64, cols] }));
  const gridsOf = (grids?: string[]) =>
    higgs
      .allocate(tensors, uniformAlphas(tensors), { bpw: 5, maxBits: 4, ...(grids && { grids }) })
      .tensors.map(({ grid }) => grid[0]);
  assert.equal(gridsOf(), ['p', 'p', 't', 't']);
  assert.equal(gridsOf(['t4', 't3']), ['t', 't', 't', 't']);
});

test('tradeoff() falls, its hull bends one way, and no plan lies below the hull', () => {
  const tensors = llama(4, 256, 64, 512);
  const { hull, exact, uniform } = higgs.tradeoff(tensors, priorAlphas(tensors));
  assert.ok(hull.length > 50 && exact.length > 20);
  assert.is(uniform.length, higgs.grids.size);
  for (let i = 2; i < hull.length; i++) {
    const slope = (k: number) => (hull[k - 1].predicted - hull[k].predicted) / (hull[k].bpw - hull[k - 1].bpw);
    assert.ok(slope(i) <= slope(i - 1) * (1 + 1e-9));
  }
  for (const { bpw, predicted } of [...exact, ...uniform]) {
    const k = hull.findIndex((point) => point.bpw >= bpw - 1e-12);
    if (k < 1) continue;
    const share = (bpw - hull[k - 1].bpw) / (hull[k].bpw - hull[k - 1].bpw);
    const line = hull[k - 1].predicted + share * (hull[k].predicted - hull[k - 1].predicted);
    assert.ok(predicted >= line * (1 - 1e-9), `${bpw}: ${predicted} is below ${line}`);
  }
});

test('priorAlphas() shares a kind’s coefficient among experts, adds up fused parts, and knows no embeddings', () => {
  const shape = [64, 64];
  const names = [
    'h.0.attn.c_attn.weight',
    'h.3.mlp.experts.0.up_proj.weight',
    'h.3.mlp.experts.1.up_proj.weight',
    'h.5.x.weight',
    'wte.weight',
  ];
  const { tensors, estimator, loss } = priorAlphas(names.map((name) => ({ name, shape })));
  assert.equal([estimator, loss], ['prior', 'relative']);
  assert.equal(
    names.map((name) => tensors.get(name)?.alpha.toFixed(4)),
    ['0.3800', '0.1550', '0.1550', '0.2000', undefined],
  );
});

test('a grid of the caller, with an error of its own, is planned with', () => {
  const published: Grid[] = [
    ['p2n16', 0.1075996],
    ['p2n64', 0.0296062],
  ].map(([name, mse]) => ({ ...higgs.grids.get(name as string)!, mse: mse as number }));
  const tensors = llama(1, 256, 64, 512);
  const plan = higgs.allocate(tensors, uniformAlphas(tensors), { bpw: 3, grids: published, scales: false });
  assert.is(plan.predicted.toFixed(7), '0.0296062');
});

test('allocate() refuses sensitivities whose losses have no finite sum', () => {
  const tensors = Array.from({ length: 12 }, (_, i) => ({ name: `${i}.weight`, shape: [4, 64] }));
  const alphas = { ...uniformAlphas(tensors), tensors: new Map(tensors.map(({ name }) => [name, bareAlpha(1.7e308)])) };
  assert.throws(
    () => higgs.allocate(tensors, alphas, { bpw: 4, grids: ['p1n4'] }),
    /^sensitivities must be small enough to be summed: their losses exceed 1\.797\S+$/,
  );
});

test('allocate() shows the name of a tensor without its control characters', () => {
  const tensors = [{ name: 'a\u001b[2J\n', shape: [4, 64] }];
  const none = { ...uniformAlphas([]), tensors: new Map() };
  assert.throws(
    () => higgs.allocate(tensors, none, { bpw: 4 }),
    /must have a sensitivity: a\\u001b\[2J\\u000a has none/,
  );
});

test('allocate() refuses a budget without an end, which no file of a plan can hold', () => {
  const tensors = [{ name: 'a', shape: [4, 64] }];
  const budget = { bpw: Number.POSITIVE_INFINITY };
  assert.throws(
    () => higgs.allocate(tensors, uniformAlphas(tensors), budget),
    /^bpw must be a finite number: got Infinity$/,
  );
});

test.run();
