// Latent attention (DeepSeek): of each token the cache keeps one latent l and one turned key k for all heads. Head h has a part B of
// its keys' weight and a part C of its values':
//   score = (q · B l + turned q · k) · scale,  y = Σ p C l
// which is computed as (Bᵀ q) · l and C (Σ p l): queries come to the latents, no head's key or value is ever made. So it is attention
// of all heads over one head of keys, [l, k], whose values are l. Prompts go the same way as single tokens, for the same bits.

import type { LatentSpec } from '../../../families/architecture.ts';
import { dtypeCodes } from '../../../kernels/layout.ts';
import { keyAt } from '../../cache.ts';
import type { Linear } from '../../linear.ts';
import { copyFloats, tokensOfThread } from '../../steps.ts';
import type { Back, BlockKind } from '../block.ts';
import { addBranch, branchBack, branchGradients, planBranch } from '../branch.ts';
import { attendAbsorbed, keyRows, type Latent, valueRows } from './absorbed.ts';

const weightsOf = ({ queryLatent, queries, latent, keyValues, branch }: Latent): Linear[] => [
  ...(queryLatent ? [queryLatent.weight] : []),
  ...[queries, latent, keyValues, branch.output],
];

/** Latent attention: what it needs, forward and back. */
export const latent: BlockKind<LatentSpec, Latent> = {
  linears: ({ queryLatent, queries, latent, keyValues, output }) => [
    ...(queryLatent ? [queryLatent.weight] : []),
    ...[queries, latent, keyValues, output],
  ],

  plan(spec, planner) {
    const { heads, plain, turned, valueDim, rank, scale, latentEpsilon } = spec;
    const headDim = rank + turned;
    const regions = {
      headQueries: planner.activation('queries', heads * (plain + turned)),
      rows: planner.activation('latents', headDim),
      absorbed: planner.activation('absorbed', heads * headDim),
      mixed: planner.activation('mixed', heads * headDim),
      mixedHeads: planner.activation('mixed heads', heads * rank),
      values: planner.activation('values', heads * valueDim),
    };
    const norm = planner.norm(spec.norm, spec.latent.cols);
    const queryLatent = spec.queryLatent;
    const width = queryLatent?.weight.rows ?? 0;
    const middle = queryLatent && {
      width,
      weight: planner.linear(queryLatent.weight, planner.normed),
      norm: planner.norm(queryLatent.norm, width),
      values: planner.activation('query latents', width),
    };
    const queries = planner.linear(spec.queries, middle?.values ?? planner.normed);
    const latent = planner.linear(spec.latent, planner.normed);
    const latentNorm = planner.norm(spec.latentNorm, rank);
    const keyValues = planner.decoded(spec.keyValues);
    return {
      ...{ kind: 'latent', heads, plain, turned, valueDim, rank, scale, latentEpsilon, headDim },
      ...{ norm, queries, latent, latentNorm, keyValues },
      queryLatent: middle && { ...middle, rotations: planner.rotationsOf(queries) },
      rotations: planner.rotationsOf(middle?.weight ?? queries, latent),
      branch: planBranch(planner, spec, regions.values),
      rope: planner.rope(spec.rope),
      ...regions,
      cache: planner.cache(1, rank, turned),
    };
  },

  weights: weightsOf,
  statistics: (block) =>
    weightsOf(block).map((linear) => ({
      ...{ cut: false, outputs: true },
      ...(linear === block.keyValues && { reads: block.rows }),
    })),
  inputs: (_, block, tokens) =>
    weightsOf(block).map((linear) =>
      linear === block.keyValues
        ? { x: block.rows, stride: block.headDim, count: tokens }
        : { x: linear.input, stride: linear.cols, count: tokens },
    ),
  replace(block, place, linear) {
    const { queryLatent, branch } = block;
    if (queryLatent && place === 0) return { ...block, queryLatent: { ...queryLatent, weight: linear } };
    const key = (['queries', 'latent', 'keyValues', 'output'] as const)[place - (queryLatent ? 1 : 0)];
    return key === 'output' ? { ...block, branch: { ...branch, output: linear } } : { ...block, [key]: linear };
  },

  forward(thread, state, block, pass) {
    attendAbsorbed(thread, state, block, pass);
    addBranch(thread, state, block.branch, pass.count);
  },

  gradients({ heads, plain, turned, valueDim, rank, headDim, queryLatent, branch }, tokens, draws, threads) {
    const all = draws * tokens;
    const wide = headDim + Math.max(plain, valueDim);
    const width = queryLatent?.width ?? 0;
    return {
      latents: tokens * headDim, // before their norm
      queryLatents: tokens * width,
      plainQueries: heads * tokens * plain,
      dValues: all * heads * valueDim,
      dHeadValues: heads * all * valueDim,
      dMixed: all * heads * headDim,
      dAbsorbed: all * heads * headDim,
      dHeadLatents: heads * all * rank,
      dKeys: all * headDim,
      dCached: all * headDim,
      dHeadQueries: all * heads * (plain + turned),
      dQueryLatents: all * width,
      wideKeys: tokens * wide,
      wideRooms: threads * 5 * tokens * wide,
      dKeyValues: all * heads * (plain + valueDim),
      ...branchGradients(branch, tokens, draws),
    };
  },

  back(back, block) {
    const { thread, state, pass, draws, dNormed } = back;
    const { barrier } = thread;
    const { count: tokens } = pass;
    const { heads, plain, valueDim, rank, headDim, queryLatent, queries, latent, branch, values, mixedHeads } = block;
    const [dValues, dHeadValues, dHeadLatents] = ['dValues', 'dHeadValues', 'dHeadLatents'].map(back.region);
    const [dKeys, dHeadQueries, dQueryLatents] = ['dKeys', 'dHeadQueries', 'dQueryLatents'].map(back.region);
    const before = { latents: back.region('latents'), queries: back.region('queryLatents') };
    const first = queryLatent ? 1 : 0; // place of the queries' weight

    back.restore();
    barrier();
    attendAbsorbed(thread, state, block, pass, before);
    const dOutput = branchBack(back, branch);
    back.inputGram(values, heads * valueDim);
    back.squares(first + 3, dOutput, branch.output.rows);
    back.transposed(dValues, [branch.output, dOutput]);
    barrier();
    valuesBack(back, block);
    barrier();
    mixBack(back, block);
    barrier();
    absorbedBack(back, block);
    cachedBack(back, block, before.latents);
    barrier();

    for (let head = 0; head < heads; head++) {
      const all = draws * tokens;
      back.inputGram(back.region('plainQueries') + head * tokens * plain * 4, plain);
      back.partSquares(first + 2, dHeadLatents + head * all * rank * 4, rank, head > 0);
      back.inputGram(mixedHeads + head * tokens * rank * 4, rank);
      back.partSquares(first + 2, dHeadValues + head * all * valueDim * 4, valueDim, true);
    }
    if (back.gain) {
      keyValuesBack(back, block);
      const inputs = { x: block.rows, stride: headDim, count: tokens };
      barrier();
      back.gain(first + 2, inputs, back.region('dKeyValues'));
    }
    back.inputGram(queryLatent?.values ?? state.normed, queries.cols);
    back.squares(first, dHeadQueries, queries.rows);
    if (queryLatent) {
      const { width, norm } = queryLatent;
      back.transposed(dQueryLatents, [queries, dHeadQueries]);
      barrier();
      const [from, end] = back.part(draws * tokens);
      for (let i = from; i < end; i++) {
        const x = before.queries + (i % tokens) * width * 4;
        thread.kernels.rmsNormBack(x, norm, dQueryLatents + i * width * 4, 1, width, block.latentEpsilon);
      }
      barrier();
    }
    back.inputGram(state.normed, latent.cols);
    back.squares(first + 1, dKeys, headDim);
    if (queryLatent) back.squares(0, dQueryLatents, queryLatent.width);
    const ofQueries = queryLatent ? ([queryLatent.weight, dQueryLatents] as const) : ([queries, dHeadQueries] as const);
    back.transposed(dNormed, [latent, dKeys], ofQueries);
    barrier();
    back.behindNorm(block.norm);
  },
};

// Gradients of what attention made of latents, from those of values; both, and queries, are put by heads. This thread's heads.
function valuesBack(back: Back, block: Latent): void {
  const { thread, draws, pass, floats } = back;
  const { kernels } = thread;
  const { count: tokens } = pass;
  const { heads, plain, turned, valueDim, rank, headDim, headQueries, keyValues } = block;
  const all = draws * tokens;
  const [first, end] = back.part(heads);
  for (let head = first; head < end; head++) {
    const d = back.region('dHeadValues') + head * all * valueDim * 4;
    const to = back.region('dMixed') + head * headDim * 4;
    for (let i = 0; i < all; i++) {
      copyFloats(kernels, back.region('dValues') + (i * heads + head) * valueDim * 4, valueDim, d + i * valueDim * 4);
      floats.fill(0, to / 4 + i * heads * headDim, to / 4 + i * heads * headDim + headDim);
    }
    kernels.addTransposed(
      ...([valueRows(block, head), dtypeCodes[keyValues.dtype], valueDim, rank, rank, d, all, valueDim] as const),
      ...([to, heads * headDim, back.scratch] as const),
    );
    const q = back.region('plainQueries') + head * tokens * plain * 4;
    for (let j = 0; j < tokens; j++) {
      copyFloats(kernels, headQueries + (j * heads + head) * (plain + turned) * 4, plain, q + j * plain * 4);
    }
  }
}

// Attention of all heads, one draw: a piece of work of one thread.
function mixBack(back: Back, { heads, headDim, absorbed, cache, scale }: Latent): void {
  const { count: tokens } = back.pass;
  const [dMixed, dAbsorbed, dKeys, dCached] = ['dMixed', 'dAbsorbed', 'dKeys', 'dCached'].map(back.region);
  const [first, end] = back.part(back.draws);
  const rows = keyAt(cache, 0, 0);
  for (let draw = first; draw < end; draw++) {
    const [wide, narrow] = [draw * tokens * heads * headDim * 4, draw * tokens * headDim * 4];
    back.thread.kernels.attendBack(
      ...([absorbed, dMixed + wide, dAbsorbed + wide, tokens, heads, heads * headDim, headDim] as const),
      ...([rows, rows, dKeys + narrow, dCached + narrow, headDim] as const),
      ...([0, scale, 0, 0, back.scratch] as const),
    );
  }
}

// Gradients of queries, from those of how they met the cache, which are put by heads: this thread's heads.
function absorbedBack(back: Back, block: Latent): void {
  const { thread, state, draws, pass } = back;
  const { kernels } = thread;
  const { count: tokens } = pass;
  const { heads, plain, turned, rank, headDim, keyValues } = block;
  const { width, interleaved } = state.ropes[block.rope];
  const all = draws * tokens;
  const [first, end] = back.part(heads);
  for (let head = first; head < end; head++) {
    const d = back.region('dHeadLatents') + head * all * rank * 4;
    const to = back.region('dHeadQueries') + head * (plain + turned) * 4;
    for (let i = 0; i < all; i++) {
      const from = back.region('dAbsorbed') + (i * heads + head) * headDim * 4;
      const address = to + (i * heads * (plain + turned) + plain) * 4;
      copyFloats(kernels, from, rank, d + i * rank * 4);
      copyFloats(kernels, from + rank * 4, turned, address);
      const angles = back.opposite(block.rope) + (i % tokens) * width * 4;
      kernels.rope(address, 1, width / 2, angles, interleaved ? 1 : 0);
    }
    kernels.denseRows(
      ...([keyRows(block, head), dtypeCodes[keyValues.dtype], plain, rank, d, all] as const),
      ...([to, heads * (plain + turned), back.scratch] as const),
    );
  }
}

// Gradients of what the weight of keys and values would give, head by head, were it applied to latents. Attention goes back once more,
// with each query behind how it meets the cache, each head's gradient behind that of its mixture, and zeros behind the cache's rows:
//   query   Bᵀ q │ turned q │ q      gradient   d Σ p l │ 0 │ d y      row   l │ turned k │ 0
function keyValuesBack(back: Back, block: Latent): void {
  const { thread, draws, pass, floats } = back;
  const { kernels } = thread;
  const { count: tokens } = pass;
  const { heads, plain, valueDim, headDim, absorbed, rows, scale } = block;
  const wide = headDim + Math.max(plain, valueDim);
  const [dMixed, dHeadValues, dKeyValues] = ['dMixed', 'dHeadValues', 'dKeyValues'].map(back.region);
  const keys = back.region('wideKeys');
  const room = (i: number) => back.region('wideRooms') + (5 * thread.index + i) * tokens * wide * 4;
  const [q, dy, dq, dk, dv] = [0, 1, 2, 3, 4].map(room);
  // A row of two parts and zeros.
  const put = (to: number, token: number, part: number, behind: number, count: number) => {
    const address = to + token * wide * 4;
    copyFloats(kernels, part, headDim, address);
    copyFloats(kernels, behind, count, address + headDim * 4);
    floats.fill(0, address / 4 + headDim + count, address / 4 + wide);
  };
  const [begin, stop] = tokensOfThread(thread, tokens);
  for (let j = begin; j < stop; j++) put(keys, j, rows + j * headDim * 4, rows, 0);
  thread.barrier();
  const [first, end] = back.part(draws * heads);
  for (let i = first; i < end; i++) {
    const [draw, head] = [Math.floor(i / heads), i % heads];
    const queries = back.region('plainQueries') + head * tokens * plain * 4;
    for (let j = 0; j < tokens; j++) {
      const [offset, entry] = [(j * heads + head) * headDim * 4, draw * tokens + j];
      put(q, j, absorbed + offset, queries + j * plain * 4, plain);
      const value = dHeadValues + (head * draws * tokens + entry) * valueDim * 4;
      put(dy, j, dMixed + (entry * heads + head) * headDim * 4, value, valueDim);
    }
    kernels.attendBack(
      ...([q, dy, dq, tokens, 1, wide, wide, keys, keys, dk, dv, wide, 0, scale, 0, 0, back.scratch] as const),
    );
    for (let j = 0; j < tokens; j++) {
      const to = dKeyValues + ((draw * tokens + j) * heads + head) * (plain + valueDim) * 4;
      copyFloats(kernels, dk + (j * wide + headDim) * 4, plain, to);
      copyFloats(kernels, dv + (j * wide + headDim) * 4, valueDim, to + plain * 4);
    }
  }
}

// Gradients of latents and turned keys, from those of the cache as keys and as values: this thread's tokens.
function cachedBack(back: Back, block: Latent, before: number): void {
  const { thread, state, draws, pass } = back;
  const { kernels } = thread;
  const { count: tokens } = pass;
  const { rank, headDim, latentNorm, latentEpsilon } = block;
  const { width, interleaved } = state.ropes[block.rope];
  const [first, end] = back.part(draws * tokens);
  for (let i = first; i < end; i++) {
    const [address, token] = [back.region('dKeys') + i * headDim * 4, i % tokens];
    kernels.add(address, back.region('dCached') + i * headDim * 4, headDim);
    const angles = back.opposite(block.rope) + token * width * 4;
    kernels.rope(address + rank * 4, 1, width / 2, angles, interleaved ? 1 : 0);
    kernels.rmsNormBack(before + token * headDim * 4, latentNorm, address, 1, rank, latentEpsilon);
  }
}
