// Shapes of models that people run on laptops, and of some that must not need a larger machine.

export interface Shape {
  hidden: number;
  ffn: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocabulary: number;
}

/** By name. */
export const models: Readonly<Record<string, Shape>> = {
  'smollm2-135m': { hidden: 576, ffn: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64, vocabulary: 49152 },
  '240m': { hidden: 1024, ffn: 2816, layers: 16, heads: 16, kvHeads: 16, headDim: 64, vocabulary: 32000 },
  'qwen2.5-0.5b': { hidden: 896, ffn: 4864, layers: 24, heads: 14, kvHeads: 2, headDim: 64, vocabulary: 151936 },
  'llama-3.2-1b': { hidden: 2048, ffn: 8192, layers: 16, heads: 32, kvHeads: 8, headDim: 64, vocabulary: 128256 },
  '2.5b': { hidden: 2560, ffn: 9728, layers: 23, heads: 32, kvHeads: 8, headDim: 80, vocabulary: 128256 },
  '5b': { hidden: 4096, ffn: 11008, layers: 24, heads: 32, kvHeads: 32, headDim: 128, vocabulary: 32000 },
};

/** @throws {RangeError} when no model has that name */
export function shapeOf(model: string): Shape {
  const shape = models[model];
  if (!shape) throw new RangeError(`model must be one of ${Object.keys(models).join(', ')}: got ${model}`);
  return shape;
}

/** A tensor of a Llama-shaped model with its names in safetensors and in GGUF. */
export interface ModelTensor {
  name: string;
  ggufName: string;
  shape: readonly number[];
  /** Whether it is a weight of a linear layer; embeddings and norms are not. */
  linear: boolean;
}

/** The tensors of a Llama-shaped model, embeddings tied. */
export function tensorsOf({ hidden, ffn, layers, heads, kvHeads, headDim, vocabulary }: Shape): ModelTensor[] {
  const tensor = (name: string, ggufName: string, ...shape: number[]): ModelTensor => ({
    name: `model.${name}.weight`,
    ggufName: `${ggufName}.weight`,
    shape,
    linear: name.endsWith('_proj'),
  });
  const layer = (i: number) => [
    tensor(`layers.${i}.input_layernorm`, `blk.${i}.attn_norm`, hidden),
    tensor(`layers.${i}.mlp.down_proj`, `blk.${i}.ffn_down`, hidden, ffn),
    tensor(`layers.${i}.mlp.gate_proj`, `blk.${i}.ffn_gate`, ffn, hidden),
    tensor(`layers.${i}.mlp.up_proj`, `blk.${i}.ffn_up`, ffn, hidden),
    tensor(`layers.${i}.post_attention_layernorm`, `blk.${i}.ffn_norm`, hidden),
    tensor(`layers.${i}.self_attn.k_proj`, `blk.${i}.attn_k`, kvHeads * headDim, hidden),
    tensor(`layers.${i}.self_attn.o_proj`, `blk.${i}.attn_output`, hidden, heads * headDim),
    tensor(`layers.${i}.self_attn.q_proj`, `blk.${i}.attn_q`, heads * headDim, hidden),
    tensor(`layers.${i}.self_attn.v_proj`, `blk.${i}.attn_v`, kvHeads * headDim, hidden),
  ];
  return [
    tensor('embed_tokens', 'token_embd', vocabulary, hidden),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
    tensor('norm', 'output_norm', hidden),
  ];
}

/** Number of elements. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Weights of the linear layers. */
export function linearWeights(shape: Shape): number {
  return tensorsOf(shape).reduce((sum, tensor) => sum + (tensor.linear ? sizeOf(tensor.shape) : 0), 0);
}
