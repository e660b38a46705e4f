// Squared gradients of embeddings and head, their rows by those of the weights, against finite differences of the oracle with the labels that
// were drawn.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { measureSensitivity } from '../src/sensitivity/measure.ts';
import { openSession, openSubject, planSession } from '../src/sensitivity/session.ts';
import { startThreads } from '../src/workers/node.ts';
import { type Config, configs, modelFolder, randomFile } from './models.ts';
import { oracleOf, tensorsOf } from './oracle.ts';

const test = suite('sensitivity of embeddings');
const [EMBEDDING, HEAD] = ['model.embed_tokens.weight', 'lm_head.weight'];
const DRAWS = 3;
const STEP = 1e-4;
const DIM = 24;
// Ids come twice, and a label may be one of them.
const IDS = [3, 0, 3, 4, 1, 0, 2];

for (const [name, config] of Object.entries({ qwen3: configs.qwen3, llama: configs.llama })) {
  for (const threads of [1, 2]) {
    test(`fisher: gradients of embeddings and head are those of finite differences: ${name}, ${threads} threads`, async () => {
      const small: Config = {
        ...config,
        vocab_size: 5,
        num_hidden_layers: 1,
        hidden_size: DIM,
        layer_types: undefined,
      };
      const file = randomFile(small, ['F32']);
      const tensors = tensorsOf(file);
      const tied = small.tie_word_embeddings === true;
      const tokens = IDS.length;
      const options = { estimator: 'fisher', tokens, draws: DRAWS, threads } as const;
      const planned = planSession(await openSubject(modelFolder(small, file)), options);
      const { measuring, run, close } = await openSession(planned, await startThreads(threads), {});
      const { state, workspace, doubles, ints } = measuring;
      ints.set(IDS, state.ids / 4);
      run({ kind: 'embed' });
      for (const block of [0, 1]) run({ kind: 'block', block, save: true });
      run({ kind: 'labels', count: tokens, seed: 2 });
      const index = workspace.sums / 8;
      const oracle = oracleOf(small, tensors);
      const predictions = oracle.logits(IDS).map((row) => logSoftmax(row).map(Math.exp));
      const hidden = oracle.hidden(IDS);
      const rowsOf = (name: string) => Array.from({ length: 5 }, (_, i) => squareOfRow(tensors.get(name)!, i));
      const squares = rowsOf(EMBEDDING);
      const ofHead = rowsOf(tied ? EMBEDDING : HEAD);
      for (const t of IDS.keys()) {
        const spread = predictions[t].reduce((sum, p, id) => sum + p * (1 - p) * ofHead[id], 0);
        const wanted = dot(hidden[t], hidden[t]) * spread;
        assert.ok(near(doubles[index + tokens + t], wanted), `head, token ${t}`);
      }
      for (const block of [1, 0]) run({ kind: 'back', block });
      run({ kind: 'embeddingBack' });
      for (let draw = 0; draw < DRAWS; draw++) {
        const labels = ints.slice(workspace.fisher!.labels / 4 + draw * tokens).subarray(0, tokens);
        // Of one matrix in both places, ‖A + B‖² − ‖A‖² with A the gradient of the head alone.
        const gradient = squareOfGradient(small, tensors, labels, squares);
        const errors = predictions.map((p, t) => p.map((share, y) => (y === labels[t] ? 1 : 0) - share));
        const head = errors.reduce(
          (sum, a, t) => sum + errors.reduce((inner, b, s) => inner + dot(a, b, ofHead) * dot(hidden[t], hidden[s]), 0),
          0,
        );
        let actual = 0;
        for (let t = 0; t < tokens; t++) actual += doubles[index + draw * tokens + t];
        assert.ok(Math.abs(actual - (tied ? gradient - head : gradient)) < 1e-4 * gradient, `draw ${draw}: ${actual}`);
      }
      await close();
      const alphas = await measureSensitivity(modelFolder(small, file), { tokens, sequences: 2 });
      assert.equal([alphas.tensors.has(EMBEDDING), alphas.tensors.has(HEAD)], [true, !tied]);
    });
  }
}

test.run();

// ‖∇ Σ ln p(label)‖² with respect to the embeddings, which may be the head too: each row's by the embedding's own.
function squareOfGradient(
  config: Config,
  tensors: Map<string, ArrayLike<number>>,
  labels: Int32Array,
  squares: readonly number[],
): number {
  const embedding = Float64Array.from(tensors.get(EMBEDDING)!);
  const total = (i: number, step: number) => {
    const moved = embedding.slice();
    moved[i] += step;
    const logits = oracleOf(config, new Map([...tensors, [EMBEDDING, moved]])).logits(IDS);
    return logits.reduce((sum, row, t) => sum + logSoftmax(row)[labels[t]], 0);
  };
  const square = (i: number) => ((total(i, STEP) - total(i, -STEP)) / (2 * STEP)) ** 2;
  return embedding.reduce((sum, _, i) => sum + square(i) * squares[Math.floor(i / DIM)], 0);
}

function squareOfRow(values: ArrayLike<number>, row: number): number {
  const embeddingRow = Float64Array.from(values).subarray(row * DIM, (row + 1) * DIM);
  return dot(embeddingRow, embeddingRow);
}

function logSoftmax(row: Float64Array): Float64Array {
  const sum = Math.log(row.reduce((total, value) => total + Math.exp(value), 0));
  return row.map((value) => value - sum);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>, weights?: readonly number[]): number {
  return Array.from(a).reduce((sum, value, i) => sum + value * b[i] * (weights?.[i] ?? 1), 0);
}

function near(actual: number, wanted: number): boolean {
  return Math.abs(actual - wanted) < 1e-4 * Math.abs(wanted);
}
