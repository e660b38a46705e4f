// Gradients of every family, those of fused weights, caps, post-norms and multipliers among them: along a direction each is the slope
// of the model's own loss, and sums of Gram matrices are its squared norm.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { BlockSpec } from '../src/families/architecture.ts';
import type { Attention } from '../src/model/blocks/attention.ts';
import { weightsOf } from '../src/model/blocks/blocks.ts';
import type { FeedForward } from '../src/model/blocks/feedforward.ts';
import type { DenseLinear } from '../src/model/linear.ts';
import { isTied } from '../src/sensitivity/measured.ts';
import { openSession, planSession, type Session } from '../src/sensitivity/session.ts';
import { normals } from './bits.ts';
import { readSafetensors, safetensors, type Tensor, tensorOf, valuesOf } from './checkpoints.ts';
import { families } from './families/index.ts';
import { modelFolder } from './models.ts';
import { referencesOf } from './references.ts';

const test = suite('families, backward');
const DRAWS = 2;
const TOKENS = 19; // beyond windows and the beginning of a temperature

interface Gradient {
  readonly linear: DenseLinear;
  /** Σ dₜ xₜᵀ of the second draw, in f64. */
  readonly values: Float64Array;
  /** What the program found of its squared norm. */
  readonly squares: number;
}

for (const [name, { config, model, logits }] of Object.entries(families)) {
  test(`gradients are the slopes of the loss: ${name}`, async () => {
    const options = { estimator: 'fisher', tokens: TOKENS, draws: DRAWS, threads: 1 } as const;
    const session = await openSession(await planSession(modelFolder(config, widened(model)), options), undefined, {});
    const { state, workspace, floats, ints } = session.measuring;
    ints.set(referencesOf(logits).at(-1)!.ids.slice(0, TOKENS), state.ids / 4);
    forward(session);
    const labels = workspace.fisher!.labels / 4 + TOKENS;
    ints.copyWithin(workspace.targets / 4, labels, labels + TOKENS);
    for (const [i, { linear, values, squares }] of gradientsOf(session).entries()) {
      const length = Math.sqrt(dot(values, values));
      assert.ok(length > 0.01, `${linear.name}: the loss hardly depends on it`);
      if (squares >= 0) assert.ok(Math.abs(squares / length ** 2 - 1) < 1e-4, `${linear.name}: ‖∇‖² is ${squares}`);
      const across = normals(values.length, i);
      const width = Math.sqrt(dot(across, across));
      const direction = values.map((value, k) => value / length + across[k] / width);
      const own = floats.slice(linear.weights / 4, linear.weights / 4 + values.length);
      const at = (step: number) => {
        floats.set(
          own.map((w, k) => w + step * direction[k]),
          linear.weights / 4,
        );
        return -forward(session);
      };
      const h = 0.01 / Math.max(1, length / 10);
      const slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      floats.set(own, linear.weights / 4);
      const wanted = dot(values, direction);
      assert.ok(Math.abs(slope - wanted) < 4e-3 * length, `${linear.name}: slope is ${slope}, not ${wanted}`);
    }
    await session.close();
  });
}

test.run();

// The checkpoint in f32, as weights are moved by little here.
function widened(file: Uint8Array): Uint8Array {
  const tensors: Record<string, Tensor> = {};
  for (const [name, tensor] of readSafetensors(file).tensors) {
    tensors[name] = tensorOf('F32', tensor.shape, Float64Array.from(valuesOf(tensor)));
  }
  return safetensors(tensors);
}

// Runs the model and draws labels. @returns −Σ ln p of the targets
function forward({ measuring, run }: Session): number {
  const { state, workspace, doubles } = measuring;
  run({ kind: 'embed' });
  for (const block of state.blocks.keys()) run({ kind: 'block', block, save: true });
  let sum = 0;
  for (let first = 0; first < TOKENS; first += state.logitRows) {
    const count = Math.min(state.logitRows, TOKENS - first);
    run({ kind: 'labels', first, count, seed: 7 });
    for (let t = first; t < first + count; t++) sum += doubles[workspace.sums / 8 + t];
  }
  return sum;
}

function gradientsOf({ measuring, run }: Session): Gradient[] {
  const { state, workspace, floats, doubles, ints } = measuring;
  const fisher = workspace.fisher!;
  const gradients: Gradient[] = [];
  const logits = floats.slice(state.logits / 4, state.logits / 4 + TOKENS * state.vocabSize);
  assert.ok(state.logitRows >= TOKENS, 'logits of all tokens are there at once');
  const squaresAt = (place: number) => {
    const at = workspace.sums / 8 + (place * DRAWS + 1) * TOKENS;
    return doubles.subarray(at, at + TOKENS).reduce((sum, value) => sum + value, 0);
  };
  // `x` is (tokens, cols), `d` (draws, tokens, rows).
  const take = (linear: DenseLinear, place: number, x: number, d: Float32Array) => {
    const { rows, cols } = linear;
    const values = new Float64Array(rows * cols);
    for (let t = 0; t < TOKENS; t++) {
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++)
          values[r * cols + c] += d[(TOKENS + t) * rows + r] * floats[x / 4 + t * cols + c];
      }
    }
    gradients.push({ linear, values, squares: squaresAt(place) });
  };
  for (let index = state.blocks.length - 1; index >= 0; index--) {
    const block = state.blocks[index];
    const weights = weightsOf(block) as DenseLinear[];
    const copyOf = (at: number, { rows }: DenseLinear) => floats.slice(at / 4, at / 4 + DRAWS * TOKENS * rows);
    const before = copyOf(fisher.dX, weights.at(-1)!);
    run({ kind: 'back', block: index });
    const { postNorm, multiplier } = block.branch;
    const output = weights.at(-1)!;
    const isPlain = postNorm === 0 && multiplier === 1;
    const x = block.kind === 'attention' ? (block as Attention).mixed : (block as FeedForward).gated;
    take(output, weights.length - 1, x, isPlain ? before : copyOf(fisher.regions.dBranch, output));
    const names: Record<BlockSpec['kind'], string[]> = { attention: ['dQ', 'dK', 'dV'], feedForward: ['dGate', 'dUp'] };
    const places = block.fused ? ['dFused'] : names[block.kind].slice(0, weights.length - 1);
    for (const [i, name] of places.entries()) {
      take(weights[i], i, state.normed, copyOf(fisher.regions[name], weights[i]));
    }
  }
  // The embeddings, and the head: rows of ids, and all rows by the labels.
  run({ kind: 'embeddingBack' });
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
  if (isTied(state)) {
    const both = ofEmbedding.map((value, i) => value + ofHead[i]);
    const squares = squaresAt(0) + dot(ofHead, ofHead);
    gradients.push({ linear: embedding, values: both, squares });
  } else {
    gradients.push({ linear: embedding, values: ofEmbedding, squares: squaresAt(0) });
    gradients.push({ linear: head, values: ofHead, squares: -1 });
  }
  return gradients;
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
