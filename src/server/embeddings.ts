// POST /v1/embeddings: texts as vectors of length 1.

import { oneOf } from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { roomFor } from './dialect.ts';
import { refused } from './errors.ts';

/** @returns the answer with a vector for each input */
export async function embeddingsOf(
  model: Model,
  name: string,
  body: Record<string, unknown>,
  inputs: readonly (readonly number[])[],
  signal: AbortSignal,
) {
  const format =
    body.encoding_format === undefined ? 'float' : oneOf('float', 'base64')('encoding_format', body.encoding_format);
  for (const ids of inputs) {
    roomFor(model, ids, 'input');
  }
  const data: { object: 'embedding'; index: number; embedding: number[] | string }[] = [];
  let tokens = 0;
  for (const [index, ids] of inputs.entries()) {
    signal.throwIfAborted();
    const vector = await model.embed(ids, { normalize: true });
    if (body.dimensions !== undefined && body.dimensions !== vector.length) {
      throw refused(
        `dimensions must be ${vector.length}, those of the model: got ${JSON.stringify(body.dimensions)}`,
        'dimensions',
      );
    }
    tokens += ids.length;
    data.push({ object: 'embedding', index, embedding: format === 'base64' ? base64Of(vector) : [...vector] });
  }
  return { object: 'list', data, model: name, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

// Little-endian f32, as all machines that run WebAssembly have them.
function base64Of(vector: Float32Array): string {
  let text = '';
  for (const byte of new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength))
    text += String.fromCharCode(byte);
  return btoa(text);
}
