// One token each of several sequences, behind those before it: matrices are applied to all at once, attention goes over caches of their
// own. Weights are read once for all sequences, and so a token takes about the time that it takes in a long prompt.

import { embed } from '../model/forward.ts';
import {
  addProduct,
  apply,
  feedForwardLayer,
  mixHeads,
  normTokens,
  placeHeads,
  projectTokens,
} from '../model/layer.ts';
import type { Layer, State } from '../model/state.ts';
import type { Measuring } from './measuring.ts';
import type { Task } from './task.ts';
import type { Workspace } from './workspace.ts';

/** Ids of token `first` of each sequence to cache entries, and to logits if `save` is set. */
export function stepTokens(measuring: Measuring, { first, count, save }: Required<Task>): void {
  const { thread, state, workspace, ints } = measuring;
  embed(thread, state, ints.subarray(state.ids / 4, state.ids / 4 + count), count, first);
  thread.barrier();
  const states = Array.from({ length: count }, (_, sequence) => stateOf(state, sequence));
  for (const [index, layer] of state.layers.entries()) {
    projectTokens(thread, state, layer, count);
    const layers = states.map((_, sequence) => layerOf(layer, state, workspace, index, sequence));
    for (let j = 0; j < count; j++) placeHeads(thread, states[j], layers[j], 1, first);
    thread.barrier();
    for (let j = 0; j < count; j++) mixHeads(thread, states[j], layers[j], 1, first);
    thread.barrier();
    addProduct(thread, state, layer.output, count);
    thread.barrier();
    feedForwardLayer(thread, state, layer, count);
  }
  if (!save) return;
  normTokens(thread, state, state.norm, [], 0, count);
  thread.barrier();
  apply(thread, state, state.head, count, state.logits);
}

// The heads of one sequence. All have the position, and so the angles, of the first.
function stateOf(state: State, sequence: number): State {
  const { heads, kvHeads, headDim } = state.config;
  const [wide, narrow] = [sequence * heads * headDim * 4, sequence * kvHeads * headDim * 4];
  return { ...state, q: state.q + wide, k: state.k + narrow, v: state.v + narrow, mixed: state.mixed + wide };
}

// A layer with the cache of one sequence.
function layerOf(layer: Layer, { config }: State, { sampling }: Workspace, index: number, sequence: number): Layer {
  const { together, caches } = sampling!;
  const bytes = config.kvHeads * config.contextLength * config.headDim * 4;
  const keys = caches + 2 * (index * together + sequence) * bytes;
  return { ...layer, keys, values: keys + bytes };
}
