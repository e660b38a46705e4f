// gpt-oss: biases everywhere, a sink for each head's softmax, windows in every other layer, experts with a clamped gate. Its experts are
// stored as no others are: src/checkpoint/stacks.ts makes matrices of them.

import type { Architecture, BlockSpec } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { expertCount, softmaxRouting } from './experts.ts';
import { layerWindows, likeLlama } from './llama.ts';
import { ropeOf } from './rope.ts';

/** Reads the config.json of gpt-oss. */
export function gptOss(fields: Fields): Architecture {
  const bias = fields.flag('attention_bias') ?? true;
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const hidden = fields.integer('intermediate_size', 1, CONFIG_LIMITS.hidden);
  const count = expertCount(fields, ['num_local_experts', 'num_experts'], 128);
  const linear = (name: string, rows: number, cols: number, hasBias = false) => ({ name, rows, cols, bias: hasBias });

  const architecture = likeLlama(fields, {
    family: 'gpt_oss',
    epsilon: 1e-5,
    biases: { qkv: bias, output: bias },
    headDim: 64,
    sizes: { kvHeads: 8 },
    windows: layerWindows(fields, (window, layer) => (layer % 2 === 0 ? window : 0), 128),
    ropes: (_, headDim) => ropeOf(fields, headDim, { theta: 150000 }),
    tied: false,
    feedForward(_, layer) {
      const path = `${layer}.mlp`;
      const stack = `${path}.experts`;
      return {
        kind: 'experts',
        norm: { name: `${layer}.post_attention_layernorm.weight`, plus: 0 },
        router: linear(`${path}.router`, count, dim, true),
        correction: undefined,
        routing: softmaxRouting(fields, count, 4, true), // of the chosen scores alone: divided by their sum
        experts: Array.from({ length: count }, (_, e) => ({
          gate: {
            ...linear(`${stack}.${e}.gate_up_proj`, 2 * hidden, dim),
            stack: { name: `${stack}.gate_up_proj.weight`, shape: [count, 2 * hidden, dim], first: 2 * hidden * e },
          },
          up: undefined,
          down: {
            ...linear(`${stack}.${e}.down_proj`, dim, hidden),
            stack: { name: `${stack}.down_proj.weight`, shape: [count, dim, hidden], first: dim * e },
          },
        })),
        shared: undefined,
        sharedGate: undefined,
        activation: 'clamped',
        biases: { gate: { name: `${stack}.gate_up_proj_bias` }, down: { name: `${stack}.down_proj_bias` } },
      };
    },
  });
  const sunk = (spec: BlockSpec, layer: number): BlockSpec =>
    spec.kind === 'attention' ? { ...spec, sinks: { name: `model.layers.${layer}.self_attn.sinks` } } : spec;
  return {
    ...architecture,
    layers: architecture.layers.map((specs, layer) => specs.map((spec) => sunk(spec, layer))),
  };
}
