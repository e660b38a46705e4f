// Models that load and then run: configurations of any size, weights of any number, quantized or not, with checksums that hold.

import { loadModel } from '../../src/decoder.ts';
import type { Higgs } from '../../src/index.ts';
import { memoryOutput } from '../checkpoints.ts';
import { families } from '../families/index.ts';
import { type Config, configs, shapesOf } from '../models.ts';
import { changeBytes } from './bytes.ts';
import {
  changeDraft,
  type Draft,
  encodeDraft,
  type Files,
  randomStored,
  randomTensor,
  refitAll,
} from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect } from './oracle.ts';
import { aFewTimes, type Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target, type World } from './target.ts';

interface Choices {
  activations: 'int8' | 'f32';
  cache: 'f16' | 'f32' | 'q8' | 'q4';
  ids: number[];
  /** Whether logits must be those of the dequantized weights. */
  isRight?: boolean;
}

/** Of any architecture and any size, small ones more often. */
export function randomConfig(random: Random): Config {
  const kvHeads = random.between(1, 3);
  const heads = kvHeads * random.between(1, 3);
  const layers = random.between(1, 2);
  return {
    ...random.pick(Object.values(configs)),
    hidden_size: random.between(1, 80),
    intermediate_size: random.between(1, 150),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: random.chance(0.05) ? 1 + random.below(300) : 2 * random.between(1, 20),
    vocab_size: random.between(1, 40),
    max_position_embeddings: random.pick([1, 2, 3, 16, 16, 16, 64, 65, 4096, 1 << 24]),
    rms_norm_eps: random.pick([0, 1e-300, 1e-5, 1e-5, 1e-5, 1]),
    bos_token_id: 0,
    eos_token_id: 0,
    layer_types: random.chance(0.2) ? Array(layers).fill('sliding_attention') : undefined,
    max_window_layers: 1,
    sliding_window: random.pick([1, 3, 5000]),
    rope_theta: random.pick([1, 10000, 1e12]),
  };
}

function weightsOf(random: Random, config: Config, { grids }: World, odd: number): Draft {
  const shapes = shapesOf(config);
  if (random.chance(0.7)) return randomStored(random, shapes, grids, odd);
  return { metadata: {}, tensors: shapes.map(([name, shape]) => [name, randomTensor(random, shape, odd / 8)]) };
}

async function run(files: Files, { higgs }: World): Promise<void> {
  const { activations, cache, ids, isRight } = choicesOf<Choices>(files);
  const model = await loadModel(folderOfCase(files), { activations, cache });
  try {
    const { vocabSize, contextLength } = model.config;
    const window = ids.slice(0, contextLength).map((id) => id % vocabSize);
    const all = await model.logits(window, { rows: 'all' });
    expect(all.length === window.length * vocabSize, 'a row of logits for each id');
    const last = await model.logits(window);
    const same = last.every((value, i) => Object.is(value, all[(window.length - 1) * vocabSize + i]));
    expect(same, 'the last row is that of all');
    // Codes of a cache change where what they stand for is rounded otherwise.
    const isFloat = cache === 'f16' || cache === 'f32';
    if (isRight && isFloat && activations === 'f32') await compare(files, higgs, window, all);
    await model.embed(window);
    await model.perplexity(window.length > 1 ? window : [...window, 0]);
  } finally {
    await model.close();
  }
}

// Logits of the same weights, dequantized. A hidden state near zero blows roundings up: what is compared is far from it.
async function compare(files: Files, higgs: Higgs, ids: readonly number[], logits: Float32Array): Promise<void> {
  const { cache } = choicesOf<Choices>(files);
  const output = memoryOutput();
  await higgs.dequantizeCheckpoint(folderOfCase(files), output, { dtype: 'F32' });
  const plain = await loadModel(output.folder(), { activations: 'f32', cache });
  try {
    const right = await plain.logits(ids, { rows: 'all' });
    const largest = right.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
    for (let i = 0; i < right.length; i++) {
      const isNear = Math.abs(right[i] - logits[i]) <= 0.02 * largest;
      expect(
        isNear || Number.isNaN(right[i]),
        `logit ${i} is that of the dequantized model: ${right[i]}, got ${logits[i]}`,
      );
    }
  } finally {
    await plain.close();
  }
}

const choices = (random: Random): Choices => ({
  activations: random.pick(['int8', 'f32']),
  cache: random.pick(['f16', 'f32', 'q8', 'q4']),
  ids: Array.from({ length: random.pick([1, 2, 5, 17]) }, () => random.below(40)),
});

export const model: Target = {
  name: 'model',
  repair: refitAll,
  make(random, world) {
    const config = randomConfig(random);
    const odd = random.pick([0, 0, 0.2, 1]);
    const draft = weightsOf(random, config, world, odd);
    const isChanged = random.chance(0.25);
    if (isChanged) aFewTimes(random, () => changeDraft(draft, random));
    const files = refitAll({ 'model.safetensors': encodeDraft(draft) });
    const isQuantized = 'higgs.format' in draft.metadata;
    return {
      ...files,
      'config.json': encode(JSON.stringify(config)),
      [CASE_NAME]: caseOf({ ...choices(random), isRight: isQuantized && odd === 0 && !isChanged }),
    };
  },
  run,
};

const small = (config: Config): Config => ({
  ...config,
  ...{
    hidden_size: 4,
    intermediate_size: 6,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 2,
    vocab_size: 3,
  },
  num_hidden_layers: config.layer_types ? 2 : 1,
  bos_token_id: 1,
  eos_token_id: [2],
});
const seeds = Object.values(configs).map(small);
const weights = seeds.map((config) =>
  encodeDraft({
    metadata: {},
    tensors: shapesOf(config).map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      return [name, { dtype: 'F32', shape, bytes: new Uint8Array(new Float32Array(count).fill(0.5).buffer) }];
    }),
  }),
);

export const config: Target = {
  name: 'config',
  make(random) {
    const which = random.below(seeds.length);
    const text = changedJson(seeds[which], random);
    const files: Files = {
      'config.json': random.chance(0.9) ? encode(text) : changeBytes(encode(JSON.stringify(seeds[which])), random),
      'model.safetensors': weights[which],
      [CASE_NAME]: caseOf({ ...choices(random) }),
    };
    if (random.chance(0.3)) {
      const generation = changedJson({ bos_token_id: 1, eos_token_id: [2, 0], max_length: 20 }, random);
      files['generation_config.json'] = encode(generation);
    }
    return files;
  },
  run,
};

/** Every family, its config.json changed. */
export const family: Target = {
  name: 'family',
  make(random) {
    const { config, model } = random.pick(Object.values(families));
    return {
      'config.json': encode(changedJson(config, random)),
      'model.safetensors': model.slice(),
      [CASE_NAME]: caseOf({ ...choices(random) }),
    };
  },
  run,
};
