// A decoder of the Llama family in plain loops of f64: the oracle of the models' tests. It reads configuration and tensors by means
// of its own and knows nothing of kernels; it computes the whole text again for every question.

import { readSafetensors, valuesOf } from './checkpoints.ts';

/** The content of config.json: numbers, flags and lists as the models' authors write them. */
// biome-ignore lint/suspicious/noExplicitAny: an oracle trusts its input
type Content = Record<string, any>;

type Matrix = { rows: number; cols: number; w: ArrayLike<number> };

export interface Oracle {
  /** Hidden states after the last norm, (ids, dim). */
  hidden(ids: readonly number[]): Float64Array[];
  /** Logits, (ids, vocabulary). */
  logits(ids: readonly number[]): Float64Array[];
}

/**
 * @param config the content of config.json
 * @param weights values of tensors by name; `tensorsOf` reads them from a file
 */
export function oracleOf(config: Content, weights: ReadonlyMap<string, ArrayLike<number>>): Oracle {
  const { hidden_size: dim, intermediate_size: wide, num_attention_heads: heads, vocab_size: vocabulary } = config;
  const kvHeads = config.num_key_value_heads ?? heads;
  const size = config.head_dim ?? dim / heads;
  const get = (name: string) => {
    const actual = weights.get(name);
    if (!actual) throw new Error(`the oracle misses ${name}`);
    return actual;
  };
  const matrix = (name: string, rows: number, cols: number): Matrix => ({ rows, cols, w: get(`${name}.weight`) });

  function product({ rows, cols, w }: Matrix, x: ArrayLike<number>, bias?: ArrayLike<number>): Float64Array {
    const y = new Float64Array(rows);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += w[r * cols + c] * x[c];
      y[r] = sum + (bias ? bias[r] : 0);
    }
    return y;
  }
  const linear = (name: string, rows: number, cols: number, x: ArrayLike<number>) =>
    product(matrix(name, rows, cols), x, weights.get(`${name}.bias`));

  function norm(x: Float64Array, name: string): Float64Array {
    const w = get(name);
    let square = 0;
    for (const value of x) square += value * value;
    const factor = 1 / Math.sqrt(square / x.length + config.rms_norm_eps);
    return x.map((value, i) => value * factor * w[i]);
  }

  const turns = inverseFrequencies(config, size);
  function turn(x: Float64Array, position: number): Float64Array {
    const y = x.slice();
    const half = size / 2;
    for (let i = 0; i < half; i++) {
      const [a, b] = config.rope_interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
      const angle = position * turns[i];
      y[a] = x[a] * Math.cos(angle) - x[b] * Math.sin(angle);
      y[b] = x[b] * Math.cos(angle) + x[a] * Math.sin(angle);
    }
    return y;
  }

  function headsOf(x: Float64Array, count: number, position: number, normName?: string): Float64Array[] {
    return Array.from({ length: count }, (_, h) => {
      let head: Float64Array = x.slice(h * size, (h + 1) * size);
      if (normName && weights.has(normName)) head = norm(head, normName);
      return normName === undefined ? head : turn(head, position);
    });
  }

  function hidden(ids: readonly number[]): Float64Array[] {
    const embedding = get('model.embed_tokens.weight');
    let states: Float64Array[] = ids.map((id) => Float64Array.from({ length: dim }, (_, i) => embedding[id * dim + i]));
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const name = `model.layers.${layer}`;
      const path = `${name}.self_attn`;
      const normed = states.map((x) => norm(x, `${name}.input_layernorm.weight`));
      const q = normed.map((x, t) =>
        headsOf(linear(`${path}.q_proj`, heads * size, dim, x), heads, t, `${path}.q_norm.weight`),
      );
      const k = normed.map((x, t) =>
        headsOf(linear(`${path}.k_proj`, kvHeads * size, dim, x), kvHeads, t, `${path}.k_norm.weight`),
      );
      const v = normed.map((x, t) => headsOf(linear(`${path}.v_proj`, kvHeads * size, dim, x), kvHeads, t));
      const window = windowOf(config, layer);
      states = states.map((x, t) => {
        const mixed = new Float64Array(heads * size);
        for (let h = 0; h < heads; h++) {
          const kv = Math.floor((h * kvHeads) / heads);
          const attended = ids.map((_, s) => s).filter((s) => s <= t && s > t - window);
          const scores = attended.map((s) => inner(q[t][h], k[s][kv]) / Math.sqrt(size));
          const most = Math.max(...scores);
          const powers = scores.map((score) => Math.exp(score - most));
          const sum = powers.reduce((a, b) => a + b, 0);
          for (const [i, s] of attended.entries()) {
            for (let d = 0; d < size; d++) mixed[h * size + d] += (powers[i] / sum) * v[s][kv][d];
          }
        }
        const after = linear(`${path}.o_proj`, dim, heads * size, mixed).map((value, i) => value + x[i]);
        const inside = norm(after, `${name}.post_attention_layernorm.weight`);
        const up = linear(`${name}.mlp.up_proj`, wide, dim, inside);
        const gate = linear(`${name}.mlp.gate_proj`, wide, dim, inside);
        const product = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);
        return linear(`${name}.mlp.down_proj`, dim, wide, product).map((value, i) => value + after[i]);
      });
    }
    return states.map((x) => norm(x, 'model.norm.weight'));
  }

  const head = config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head';
  return {
    hidden,
    logits: (ids) => hidden(ids).map((x) => product(matrix(head, vocabulary, dim), x)),
  };
}

/** The values of a file's tensors, by name. */
export function tensorsOf(file: Uint8Array): Map<string, ArrayLike<number>> {
  return new Map([...readSafetensors(file).tensors].map(([name, tensor]) => [name, valuesOf(tensor)]));
}

function windowOf(config: Content, layer: number): number {
  const all = Number.POSITIVE_INFINITY;
  if (config.layer_types) return config.layer_types[layer] === 'sliding_attention' ? config.sliding_window : all;
  if (config.model_type === 'mistral') return config.sliding_window ?? all;
  return config.use_sliding_window && layer >= config.max_window_layers ? config.sliding_window : all;
}

// The formulas of the models' papers, in wavelengths.
function inverseFrequencies(config: Content, size: number): number[] {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  const theta = rope.rope_theta ?? config.rope_theta;
  const type = rope.rope_type ?? rope.type;
  return Array.from({ length: size / 2 }, (_, i) => {
    const frequency = theta ** ((-2 * i) / size);
    if (type === 'linear') return frequency / rope.factor;
    if (type !== 'llama3') return frequency;
    const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = rope;
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength > original / low) return frequency / factor;
    if (wavelength < original / high) return frequency;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * frequency) / factor + smooth * frequency;
  });
}

function inner(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i], 0);
}
