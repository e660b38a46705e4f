// What does not fit is said before anything is read.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkFits, freeMemory } from '../src/cli/memory.ts';
import { fails, folder, higgs, temporaryRoot } from './command.ts';
import { type Config, configs, randomFile } from './models.ts';

temporaryRoot();

const GB = 1e9;
// Eight billion weights at 16 bits, and a cache of 32768 tokens.
const need = {
  ...{ bytes: 21.3 * GB, weights: 16 * GB, cache: 4.3 * GB, activations: 1 * GB, memories: 6 },
  ...{ parameters: 8 * GB, context: 32768, cacheTokens: 32768, experts: { count: 0, bytes: 0, resident: 0 } },
};

function refusal(dtype: 'f16' | 'f32', free: number): string {
  try {
    checkFits(need, dtype, free);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

test('what fits is not refused; what does not is, with its sizes, what is free, and what would fit', () => {
  assert.is(refusal('f16', 21.3 * GB), '');
  const sizes =
    'model needs 21.3 GB of memory at a context of 32768: weights 16.0 GB, cache 4.30 GB, activations 1.00 GB; ';
  assert.is(refusal('f16', 20 * GB), `${sizes}20.0 GB are free; what fits: --context 16384`);
  assert.is(refusal('f32', 20 * GB), `${sizes}20.0 GB are free; what fits: --cache f16 or --context 16384`);
  const quantized = (bits: number, size: string) =>
    `what fits: the original quantized with --bits ${bits} --embeddings t${bits}, ${size} of weights`;
  assert.is(refusal('f16', 12 * GB), `${sizes}12.0 GB are free; ${quantized(4, '4.06 GB')}`);
  assert.is(refusal('f16', 8 * GB), `${sizes}8.00 GB are free; ${quantized(2, '2.06 GB')}`);
  assert.is(refusal('f16', 2 * GB), `${sizes}2.00 GB are free`);
});

test('freeMemory() is of this machine', () => {
  assert.ok(freeMemory() > 1e8 && freeMemory() < 1e14);
});

test('generate refuses a context that the machine has no memory for, and reads no weight', async () => {
  // 200 layers of one head of 16: 430 GB of cache, and 4 MB of weights.
  const positions = 2 ** 24;
  const config: Config = {
    ...configs.llama,
    ...{ hidden_size: 16, intermediate_size: 16, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 16 },
    ...{ num_hidden_layers: 200, max_position_embeddings: positions },
  };
  const path = await folder({ 'config.json': JSON.stringify(config), 'model.safetensors': randomFile(config) });
  const args = ['generate', path, '-p', 'The', '--context', String(positions), '--cache', 'f32', '--threads', '1'];
  const stderr = await fails(higgs(...args));
  assert.match(
    stderr,
    /^higgs: model needs 44\d GB of memory at a context of 16777216: weights \S+ MB, cache 429 GB, /,
  );
  assert.match(stderr, /GB are free; what fits: --context 65536\n$/);
});

test.run();
