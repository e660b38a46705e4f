// Gradients of every family, those of fused weights, caps, post-norms and multipliers among them: along a direction each is the slope
// of the model's own loss, and sums of Gram matrices are its squared norm. Some are compared with those of the families' own code in f64:
// tests/families/gradients.py.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import type { Latent } from '../src/model/blocks/attention/absorbed.ts';
import { weightsOf } from '../src/model/blocks/blocks.ts';
import { type Experts, placesOf } from '../src/model/blocks/mixture.ts';
import type { DenseLinear } from '../src/model/linear.ts';
import { sharesEmbedding } from '../src/sensitivity/program/measured.ts';
import { openSession, openSubject, planSession, type Session } from '../src/sensitivity/session.ts';
import { normals } from './bits.ts';
import { safetensors, type Tensor, tensorOf, valuesOf } from './checkpoints.ts';
import exact from './families/gradients.json';
import { families } from './families/index.ts';
import { type Plain, regionsOf } from './gradients.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('families, backward');
const DRAWS = 2;
/** Of f32 to f64, relative to a gradient's length. */
const CLOSE = 3e-5;
const TOKENS = 19; // beyond windows and the beginning of a temperature

interface Gradient {
  readonly linear: DenseLinear;
  /** Σ dₜ xₜᵀ of the second draw, in f64. */
  readonly values: Float64Array;
  /** What the program found of its squared norm; with `byRows`, of those of its rows times those of the weight's. */
  readonly squares: number;
  readonly byRows?: boolean;
}

for (const [name, { config, model, logits }] of Object.entries(families)) {
  test(`gradients are the slopes of the loss: ${name}`, async () => {
    const options = { estimator: 'fisher', tokens: TOKENS, draws: DRAWS, threads: 1 } as const;
    const folder = modelFolder(config, await widened(model));
    const session = await openSession(planSession(await openSubject(folder), options), undefined, {});
    const { state, workspace, floats, ints } = session.measuring;
    ints.set(referencesOf(logits).at(-1)!.ids.slice(-TOKENS), state.ids / 4);
    forward(session);
    const labels = workspace.fisher!.labels / 4 + TOKENS;
    ints.copyWithin(workspace.targets / 4, labels, labels + TOKENS);
    const gradients = gradientsOf(session);
    if (Object.hasOwn(exact, name))
      compare(exact[name as keyof typeof exact], gradients, [...ints.subarray(labels, labels + TOKENS)]);
    for (const [i, { linear, values, squares, byRows }] of gradients.entries()) {
      const length = Math.sqrt(dot(values, values));
      assert.ok(length > 0.01, `${linear.name}: the loss hardly depends on it`);
      const before = floats.slice(linear.weights / 4, linear.weights / 4 + values.length);
      const square = byRows ? squareByRows(values, before, linear.cols) : length ** 2;
      if (squares >= 0) assert.ok(Math.abs(squares / square - 1) < 1e-4, `${linear.name}: ‖∇‖² is ${squares}`);
      const { routes } = forward(session);
      let [slope, wanted] = [Number.NaN, Number.NaN];
      // Where a step sends a token to another expert the loss jumps: then another direction is taken, and a shorter step.
      for (let tries = 0; tries < 8 && Number.isNaN(slope); tries++) {
        const across = normals(values.length, i + 1000 * tries);
        const width = Math.sqrt(dot(across, across));
        const direction = values.map((value, k) => value / length + across[k] / width);
        const lossAt = (step: number) => {
          floats.set(
            before.map((w, k) => w + step * direction[k]),
            linear.weights / 4,
          );
          return forward(session);
        };
        const h = 0.01 / Math.max(1, length / 10) / 1.5 ** tries;
        const [a, b, c, d] = [h, -h, 2 * h, -2 * h].map(lossAt);
        wanted = dot(values, direction);
        if ([a, b, c, d].every((actual) => actual.routes === routes)) {
          slope = (8 * (b.loss - a.loss) - (d.loss - c.loss)) / (12 * h);
        }
      }
      floats.set(before, linear.weights / 4);
      assert.ok(Math.abs(slope - wanted) < 4e-3 * length, `${linear.name}: slope is ${slope}, not ${wanted}`);
    }
    await session.close();
  });
}

test.run();

/** Of a family's own code: by weight its gradient's squared norm, and its inner products with vectors of signs. */
interface Exact {
  readonly labels: readonly number[];
  readonly weights: Readonly<Record<string, readonly number[]>>;
}

function compare({ labels, weights }: Exact, gradients: readonly Gradient[], drawn: readonly number[]): void {
  assert.equal(drawn, labels, `make gradients.json anew, with labels ${drawn.join(' ')}`);
  const left = new Set(Object.keys(weights));
  for (const { linear, values } of gradients) {
    if (linear.stack || /experts\.\d/.test(linear.name)) continue; // which transformers has in other tensors
    assert.ok(left.delete(linear.name), linear.name);
    const [square, ...along] = weights[linear.name];
    const length = Math.sqrt(square);
    const actual = Math.sqrt(dot(values, values));
    assert.ok(Math.abs(actual - length) < CLOSE * length, `${linear.name}: ‖∇‖ is ${actual}, not ${length}`);
    for (const [i, wanted] of along.entries()) {
      const found = values.reduce((sum, value, k) => sum + value * signOf(k, i + 1), 0);
      // A vector of signs is √count long; a random error has √count less of it along it.
      assert.ok(
        Math.abs(found - wanted) < CLOSE * length,
        `${linear.name}: along signs ${i + 1} ${found}, not ${wanted}`,
      );
    }
  }
  assert.equal([...left], []);
}

const signOf = (k: number, seed: number) => ((((Math.imul(k, 2654435761) + 40503 * seed) >>> 0) >>> 15) & 1) * 2 - 1;

// The checkpoint in f32, as weights are moved by little here; experts as matrices, however they are stored.
async function widened(file: Uint8Array): Promise<Uint8Array> {
  const tensors: Record<string, Tensor> = {};
  const { tensors: stored } = await openCheckpoint(modelFolder({}, file));
  for (const { name, dtype, shape, read } of stored) {
    const bytes = new Uint8Array(await read());
    tensors[name] = tensorOf('F32', [...shape], Float64Array.from(valuesOf({ dtype, shape: [...shape], bytes })));
  }
  return safetensors(tensors);
}

// Runs the model and draws labels. @returns −Σ ln p of the targets, and the experts of all tokens
function forward({ measuring, run }: Session): { loss: number; routes: string } {
  const { state, workspace, doubles, ints } = measuring;
  const routes: string[] = [];
  run({ kind: 'embed' });
  for (const [block, weights] of state.blocks.entries()) {
    run({ kind: 'block', block, save: true });
    if (weights.kind !== 'experts') continue;
    const { chosen, routing } = weights;
    routes.push(String(ints.slice(chosen / 4, chosen / 4 + TOKENS * routing.top)));
  }
  let sum = 0;
  for (let first = 0; first < TOKENS; first += state.logitRows) {
    const count = Math.min(state.logitRows, TOKENS - first);
    run({ kind: 'labels', first, count, seed: 7 });
    for (let t = first; t < first + count; t++) sum += doubles[workspace.sums / 8 + t];
  }
  return { loss: sum, routes: routes.join() };
}

function gradientsOf({ measuring, run }: Session): Gradient[] {
  const { state, workspace, floats, doubles, ints } = measuring;
  const fisher = workspace.fisher!;
  const gradients: Gradient[] = [];
  const logits = floats.slice(state.logits / 4, state.logits / 4 + TOKENS * state.vocabSize);
  assert.ok(state.logitRows >= TOKENS, 'logits of all tokens are there at once');
  const squaresAt = (place: number) => {
    const index = workspace.sums / 8 + (place * DRAWS + 1) * TOKENS;
    return doubles.subarray(index, index + TOKENS).reduce((sum, value) => sum + value, 0);
  };
  // `x` is (count, cols), `d` (draws, count, rows).
  const take = (linear: DenseLinear, place: number, x: number, d: Float32Array, count = TOKENS) => {
    const { rows, cols } = linear;
    const values = new Float64Array(rows * cols);
    for (let t = 0; t < count; t++) {
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) values[r * cols + c] += d[(count + t) * rows + r] * floats[x / 4 + t * cols + c];
      }
    }
    gradients.push({ linear, values, squares: squaresAt(place) });
  };
  // An expert's pairs stand behind those of the experts before it, gradients of all draws together.
  const takeExperts = (block: Experts, weights: DenseLinear[], dX: Float32Array) => {
    const { shared, apart, routing, chosen, gathers, width, gated } = block;
    const isJoined = block.experts[0].up === undefined;
    const all = (name: string, count: number) =>
      floats.slice(fisher.regions[name] / 4, fisher.regions[name] / 4 + count);
    if (shared) {
      const [gate, up, down] = weights;
      const d = (name: string, { rows }: DenseLinear) => all(name, DRAWS * TOKENS * rows);
      const input = apart?.sharedInput ?? state.normed;
      take(gate, 0, input, d('dGate', gate));
      take(up, 1, input, d('dUp', up));
      take(down, 2, shared.gated, shared.weight || apart ? d('dShared', down) : dX);
    }
    const counts = new Int32Array(block.experts.length);
    for (const expert of ints.subarray(chosen / 4, chosen / 4 + TOKENS * routing.top)) counts[expert]++;
    let from = 0;
    for (const [expert, count] of counts.entries()) {
      const { first, each } = placesOf(block);
      const place = first + each * expert;
      const [gate, up] = weights.slice(place, place + 2);
      const down = weights[place + each - 1];
      const part = (name: string, rows: number) =>
        floats.slice(
          fisher.regions[name] / 4 + from * DRAWS * rows,
          fisher.regions[name] / 4 + (from + count) * DRAWS * rows,
        );
      if (count > 0) {
        take(gate, place, gathers[0].to + from * gate.cols * 4, part('dGates', gate.rows), count);
        if (!isJoined) take(up, place + 1, gathers[0].to + from * gate.cols * 4, part('dUps', width), count);
        take(down, place + each - 1, gated + from * width * 4, part('dOutputs', down.rows), count);
      } else for (let i = 0; i < each; i++) assert.is(squaresAt(place + i), 0);
      from += count;
    }
  };
  const takeLatent = (block: Latent, weights: DenseLinear[], dX: Float32Array) => {
    const { heads, plain, valueDim, rank, queryLatent, values, mixedHeads } = block;
    const part = (name: string, from: number, count: number) =>
      floats.slice(fisher.regions[name] / 4 + from, fisher.regions[name] / 4 + from + count);
    const first = queryLatent ? 1 : 0;
    const all = DRAWS * TOKENS;
    const d = (name: string, { rows }: DenseLinear) => part(name, 0, all * rows);
    if (queryLatent) take(weights[0], 0, state.normed, d('dQueryLatents', weights[0]));
    take(weights[first], first, queryLatent?.values ?? state.normed, d('dHeadQueries', weights[first]));
    take(weights[first + 1], first + 1, state.normed, d('dKeys', weights[first + 1]));
    take(weights[first + 3], first + 3, values, dX);
    // Of each head, rows of its key, whose outputs are latents, and of its value.
    const linear = weights[first + 2];
    const sum = new Float64Array(linear.rows * rank);
    for (let head = 0; head < heads; head++) {
      const offset = head * (plain + valueDim);
      const dLatents = part('dHeadLatents', head * all * rank, all * rank);
      const dValues = part('dHeadValues', head * all * valueDim, all * valueDim);
      for (let t = 0; t < TOKENS; t++) {
        const q = fisher.regions.plainQueries / 4 + (head * TOKENS + t) * plain;
        const x = mixedHeads / 4 + (head * TOKENS + t) * rank;
        for (let c = 0; c < rank; c++) {
          for (let r = 0; r < plain; r++)
            sum[(offset + r) * rank + c] += floats[q + r] * dLatents[(TOKENS + t) * rank + c];
          for (let r = 0; r < valueDim; r++)
            sum[(offset + plain + r) * rank + c] += dValues[(TOKENS + t) * valueDim + r] * floats[x + c];
        }
      }
    }
    gradients.push({ linear, values: sum, squares: squaresAt(first + 2) });
  };
  for (let index = state.blocks.length - 1; index >= 0; index--) {
    const block = state.blocks[index] as Plain | Experts | Latent;
    const weights = weightsOf(block) as DenseLinear[];
    const copyOf = (address: number, { rows }: DenseLinear) =>
      floats.slice(address / 4, address / 4 + DRAWS * TOKENS * rows);
    const before = copyOf(fisher.dX, weights.at(-1)!);
    run({ kind: 'back', block: index });
    if (block.kind === 'experts') {
      takeExperts(block, weights, before);
      continue;
    }
    if (block.kind === 'latent') {
      takeLatent(block, weights, before);
      continue;
    }
    const { postNorm, multiplier } = block.branch;
    const output = weights.at(-1)!;
    const isPlain = postNorm === 0 && multiplier === 1;
    take(output, weights.length - 1, output.input, isPlain ? before : copyOf(fisher.regions.dBranch, output));
    const places = regionsOf(block).slice(0, weights.length - 1);
    for (const [i, name] of places.entries()) {
      take(weights[i], i, state.normed, copyOf(fisher.regions[name], weights[i]));
    }
  }
  const { perLayerInputs, perLayerFloats } = state;
  const vectors = () => floats.slice(fisher.dPerLayer / 4, fisher.dPerLayer / 4 + DRAWS * TOKENS * perLayerFloats);
  const dVectors = vectors();
  // The embeddings, and the head: rows of ids, and all rows by the labels.
  run({ kind: 'embeddingBack' });
  if (perLayerInputs) {
    const [table, matrix] = [perLayerInputs.embedding, perLayerInputs.projection] as DenseLinear[];
    const ofTable = new Float64Array(table.rows * table.cols);
    const factor = Math.sqrt(perLayerInputs.width / 2);
    for (let t = 0; t < TOKENS; t++) {
      const row = ints[state.ids / 4 + t] * table.cols;
      for (let i = 0; i < table.cols; i++) ofTable[row + i] += factor * dVectors[(TOKENS + t) * table.cols + i];
    }
    gradients.push({ linear: table, values: ofTable, squares: squaresAt(1), byRows: true });
    take(matrix, 2, state.x, vectors());
  }
  const [embedding, head] = [state.embedding, state.head] as DenseLinear[];
  const { dim, vocabSize, logitScale, logitCap } = state;
  const ofEmbedding = new Float64Array(vocabSize * dim);
  const ofHead = new Float64Array(vocabSize * dim);
  for (let t = 0; t < TOKENS; t++) {
    const id = ints[state.ids / 4 + t];
    const d = fisher.dX / 4 + (TOKENS + t) * dim;
    for (let i = 0; i < dim; i++) ofEmbedding[id * dim + i] += state.embeddingScale * floats[d + i];
    const z = logits.subarray(t * vocabSize, (t + 1) * vocabSize);
    const most = z.reduce((a, b) => Math.max(a, b));
    const sum = z.reduce((total, value) => total + Math.exp(value - most), 0);
    const label = ints[fisher.labels / 4 + TOKENS + t];
    for (let v = 0; v < vocabSize; v++) {
      const slope = logitScale * (logitCap ? 1 - (z[v] / logitCap) ** 2 : 1);
      const error = slope * ((v === label ? 1 : 0) - Math.exp(z[v] - most) / sum);
      for (let i = 0; i < dim; i++) ofHead[v * dim + i] += error * floats[fisher.outputs / 4 + t * dim + i];
    }
  }
  // Of the head the program takes the mean over labels: of one matrix for both, all but that.
  if (sharesEmbedding(state)) {
    const both = ofEmbedding.map((value, i) => value + ofHead[i]);
    const weights = floats.subarray(embedding.weights / 4, embedding.weights / 4 + both.length);
    const squares = squaresAt(0) + squareByRows(ofHead, weights, dim);
    gradients.push({ linear: embedding, values: both, squares, byRows: true });
  } else {
    gradients.push({ linear: embedding, values: ofEmbedding, squares: squaresAt(0), byRows: true });
    gradients.push({ linear: head, values: ofHead, squares: -1 });
  }
  return gradients;
}

// Σ ‖g_r‖² ‖w_r‖² of rows g_r of a gradient and w_r of its weight.
function squareByRows(gradient: Float64Array, weights: Float32Array, cols: number): number {
  let sum = 0;
  for (let at = 0; at < gradient.length; at += cols) {
    const [g, w] = [gradient, weights].map((values) => values.subarray(at, at + cols));
    sum += dot(g, g) * dot(w, w);
  }
  return sum;
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
