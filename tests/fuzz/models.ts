// Models that load and then run: configurations of any size, weights of any number, quantized or not, with checksums that hold.

import { loadModel } from '../../src/decoder.ts';
import { type Config, configs, shapesOf } from '../models.ts';
import { changeBytes } from './bytes.ts';
import { changeDraft, type Draft, encodeDraft, type Files, randomStored, randomTensor, refitAll } from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect } from './oracle.ts';
import { aFewTimes, type Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target, type World } from './target.ts';

interface Choices {
  activations: 'int8' | 'f32';
  cache: 'f16' | 'f32';
  ids: number[];
}

function randomConfig(random: Random): Config {
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
    head_dim: random.chance(0.1) ? 1 + random.below(300) : 2 * random.between(1, 20),
    vocab_size: random.between(1, 40),
    max_position_embeddings: random.pick([1, 2, 3, 16, 64, 65, 4096, 1 << 24]),
    rms_norm_eps: random.pick([0, 1e-300, 1e-5, 1]),
    bos_token_id: 0,
    eos_token_id: 0,
    layer_types: random.chance(0.2) ? Array(layers).fill('sliding_attention') : undefined,
    max_window_layers: 1,
    rope_theta: random.pick([1, 10000, 1e12]),
  };
}

function weightsOf(random: Random, config: Config, { grids }: World): Draft {
  const shapes = shapesOf(config);
  if (random.chance(0.6)) return randomStored(random, shapes, grids);
  return { metadata: {}, tensors: shapes.map(([name, shape]) => [name, randomTensor(random, shape)]) };
}

async function run(files: Files): Promise<void> {
  const { activations, cache, ids } = choicesOf<Choices>(files);
  const model = await loadModel(folderOfCase(files), { activations, cache });
  try {
    const { vocabSize, contextLength } = model.config;
    const own = ids.slice(0, contextLength).map((id) => id % vocabSize);
    const all = await model.logits(own, { rows: 'all' });
    expect(all.length === own.length * vocabSize, 'a row of logits for each id');
    const last = await model.logits(own);
    const same = last.every((value, i) => Object.is(value, all[(own.length - 1) * vocabSize + i]));
    expect(same, 'the last row is that of all');
    await model.embed(own);
    await model.perplexity(own.length > 1 ? own : [...own, 0]);
  } finally {
    await model.close();
  }
}

const choices = (random: Random): Choices => ({
  activations: random.pick(['int8', 'f32']),
  cache: random.pick(['f16', 'f32']),
  ids: Array.from({ length: random.pick([1, 2, 5, 17]) }, () => random.below(40)),
});

export const model: Target = {
  name: 'model',
  repair: refitAll,
  make(random, world) {
    const config = randomConfig(random);
    const draft = weightsOf(random, config, world);
    if (random.chance(0.3)) aFewTimes(random, () => changeDraft(draft, random));
    const files = refitAll({ 'model.safetensors': encodeDraft(draft) });
    return { ...files, 'config.json': encode(JSON.stringify(config)), [CASE_NAME]: caseOf({ ...choices(random) }) };
  },
  run,
};

const small = (config: Config): Config => ({
  ...config,
  ...{ hidden_size: 4, intermediate_size: 6, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 2, vocab_size: 3 },
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
