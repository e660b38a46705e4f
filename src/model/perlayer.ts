// Vectors of a token for all layers, as Gemma 4 has them: one part is the id's own, of a table beside the embeddings, the other is made
// of the embedding. They are made once, before the first layer.

import { decodeRow } from './linear.ts';
import type { Begin, State } from './state.ts';
import { apply, ownTokens, rotateTokens } from './steps.ts';
import type { Thread } from './team.ts';

/** Makes them of embeddings in the residual stream, whole. Ends at a barrier. */
export function embedLayers(thread: Thread, state: State & Begin, count: number, ids: Int32Array): void {
  const { kernels, index } = thread;
  const { perLayer, perLayerFloats, perLayerInputs, dim, epsilon, scratch } = state;
  if (!perLayerInputs) return;
  const { width, embedding, projection, rotations, norm, rows } = perLayerInputs;
  rotateTokens(thread, rotations, count);
  apply(thread, state, projection, count, perLayer);
  thread.barrier();
  const [first, end] = ownTokens(thread, count);
  for (let j = first; j < end; j++) {
    const at = perLayer + j * perLayerFloats * 4;
    kernels.scale(at, 1 / Math.sqrt(dim), perLayerFloats);
    kernels.rmsNorm(at, norm, perLayerFloats / width, width, epsilon, at);
    decodeRow(kernels, embedding, ids[j], rows[index], scratch[index]);
    kernels.scale(rows[index], Math.sqrt(width), perLayerFloats);
    kernels.add(at, rows[index], perLayerFloats);
    kernels.scale(at, Math.SQRT1_2, perLayerFloats);
  }
  thread.barrier();
}
