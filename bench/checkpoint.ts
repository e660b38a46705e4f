// A checkpoint with the shapes of a real model and seeded Gaussian weights in bf16: it can be quantized, and run, not understood.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layOutShards } from '../src/checkpoint/safetensors/layout.ts';
import { createFolder } from '../src/source/file.ts';
import { gaussianBytes } from './gaussian.ts';
import { type Shape, shapeOf, sizeOf, tensorsOf } from './models.ts';

/** Writes the checkpoint to a new directory; returns the number of its weights. */
export async function writeCheckpoint(model: string, path: string): Promise<number> {
  const tensors = tensorsOf(shapeOf(model)).map(({ name, shape }) => ({
    ...{ name, shape, dtype: 'BF16' },
    byteLength: sizeOf(shape) * 2,
  }));
  const gaussian = gaussianBytes('bf16');
  const folder = await createFolder(path);
  const shards = layOutShards(
    tensors.map((tensor) => [tensor]),
    { maxShardBytes: 1e12, align: false },
  );
  for (const { fileName, header } of shards) {
    const sink = await folder.create(fileName);
    await sink.write(header);
    for (const { byteLength } of tensors) {
      for (const part of gaussian(byteLength / 2)) await sink.write(part);
    }
    await sink.close();
  }
  await writeFile(join(path, 'config.json'), JSON.stringify(configOf(shapeOf(model)), null, 2));
  await folder.close();
  return tensors.reduce((sum, { byteLength }) => sum + byteLength / 2, 0);
}

// What `higgs bench` needs to run it.
function configOf({ hidden, ffn, layers, heads, kvHeads, headDim, vocabulary }: Shape): object {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    vocab_size: vocabulary,
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    torch_dtype: 'bfloat16',
  };
}
