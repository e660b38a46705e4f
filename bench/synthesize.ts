// Writes a checkpoint with the shapes of a real model and seeded Gaussian weights in bf16:
//   node build/bench/synthesize.js <model> <directory>
// The weights come from a pool of a million samples at seeded places: their statistics matter here, their independence not.

import { planShards, type TensorSpec } from '../src/safetensors/layout.ts';
import { createFolder } from '../src/source/file.ts';
import { normals, uniform } from '../tests/bits.ts';

interface Shape {
  hidden: number;
  ffn: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocabulary: number;
}

/** Shapes of models that people run on laptops, and two that must not need a larger machine. */
export const models: Readonly<Record<string, Shape>> = {
  'smollm2-135m': { hidden: 576, ffn: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64, vocabulary: 49152 },
  'qwen2.5-0.5b': { hidden: 896, ffn: 4864, layers: 24, heads: 14, kvHeads: 2, headDim: 64, vocabulary: 151936 },
  'llama-3.2-1b': { hidden: 2048, ffn: 8192, layers: 16, heads: 32, kvHeads: 8, headDim: 64, vocabulary: 128256 },
  '2.5b': { hidden: 2560, ffn: 9728, layers: 23, heads: 32, kvHeads: 8, headDim: 80, vocabulary: 128256 },
  '5b': { hidden: 4096, ffn: 11008, layers: 24, heads: 32, kvHeads: 32, headDim: 128, vocabulary: 32000 },
};

/** The tensors of a Llama-shaped model, embeddings tied. */
export function tensorsOf({ hidden, ffn, layers, heads, kvHeads, headDim, vocabulary }: Shape): TensorSpec[] {
  const spec = (name: string, ...shape: number[]): TensorSpec => ({
    name: `model.${name}.weight`,
    dtype: 'BF16',
    shape,
    byteLength: shape.reduce((product, size) => product * size, 2),
  });
  const layer = (i: number) => [
    spec(`layers.${i}.input_layernorm`, hidden),
    spec(`layers.${i}.mlp.down_proj`, hidden, ffn),
    spec(`layers.${i}.mlp.gate_proj`, ffn, hidden),
    spec(`layers.${i}.mlp.up_proj`, ffn, hidden),
    spec(`layers.${i}.post_attention_layernorm`, hidden),
    spec(`layers.${i}.self_attn.k_proj`, kvHeads * headDim, hidden),
    spec(`layers.${i}.self_attn.o_proj`, hidden, heads * headDim),
    spec(`layers.${i}.self_attn.q_proj`, heads * headDim, hidden),
    spec(`layers.${i}.self_attn.v_proj`, kvHeads * headDim, hidden),
  ];
  return [
    spec('embed_tokens', vocabulary, hidden),
    ...Array.from({ length: layers }, (_, i) => layer(i)).flat(),
    spec('norm', hidden),
  ];
}

/** Writes the checkpoint; returns the number of its weights. */
export async function synthesize(model: string, path: string): Promise<number> {
  const shape = models[model];
  if (!shape) throw new RangeError(`model must be one of ${Object.keys(models).join(', ')}: got ${model}`);
  const pool = new Uint8Array(2 << 20);
  new Uint16Array(pool.buffer).set(
    Array.from(new Uint32Array(normals(1 << 20).map((z) => z * 0.02).buffer), (u) => u >>> 16),
  );
  const next = uniform(1);
  const folder = await createFolder(path);
  const tensors = tensorsOf(shape);
  const shards = planShards(
    tensors.map((tensor) => [tensor]),
    { maxShardBytes: 1e12, align: false },
  );
  for (const { fileName, header } of shards) {
    const sink = await folder.create(fileName);
    await sink.write(header);
    for (const { byteLength } of tensors) {
      for (let left = byteLength; left > 0; ) {
        const start = Math.floor(next() * (pool.length / 4)) * 2;
        const part = pool.subarray(start, Math.min(pool.length, start + left));
        await sink.write(part);
        left -= part.length;
      }
    }
    await sink.close();
  }
  await folder.close();
  return tensors.reduce((sum, { byteLength }) => sum + byteLength / 2, 0);
}

const [model, path] = process.argv.slice(2);
if (model !== undefined && path !== undefined) {
  process.stdout.write(`${await synthesize(model, path)} weights in ${path}\n`);
}
