// The matrices of a layer whose sensitivity is measured, in the order of the results, and their tensors' names.

import type { Linear } from '../model/linear.ts';
import type { Layer, State } from '../model/state.ts';

type MatrixKey = 'q' | 'k' | 'v' | 'output' | 'gate' | 'up' | 'down';

const MATRICES: readonly (readonly [MatrixKey, string])[] = [
  ['q', 'self_attn.q_proj'],
  ['k', 'self_attn.k_proj'],
  ['v', 'self_attn.v_proj'],
  ['output', 'self_attn.o_proj'],
  ['gate', 'mlp.gate_proj'],
  ['up', 'mlp.up_proj'],
  ['down', 'mlp.down_proj'],
];

/** A matrix's place in its layer. */
export const MATRIX = { q: 0, k: 1, v: 2, output: 3, gate: 4, up: 5, down: 6 } as const;
export const MATRICES_PER_LAYER = MATRICES.length;

export function matrixOf(layer: Layer, matrix: number): Linear {
  return layer[MATRICES[matrix][0]];
}

/** The matrices of a layer; behind the last layer, the embeddings, and behind those the head. */
export function matricesOf({ layers, embedding, head }: State, layer: number): Linear[] {
  if (layer >= layers.length) return [layer === layers.length ? embedding : head];
  return MATRICES.map(([key]) => layers[layer][key]);
}

/** The layer with another matrix in the place of its own. */
export function withMatrix(layer: Layer, matrix: number, linear: Linear): Layer {
  return { ...layer, [MATRICES[matrix][0]]: linear };
}

/** Whether a matrix is of the layer's feed-forward half. */
export function isFeedForward(matrix: number): boolean {
  return matrix >= MATRIX.gate;
}

/** Tensors outside the layers. */
export const EMBEDDING = 'model.embed_tokens.weight';
export const HEAD = 'lm_head.weight';

export function tensorName(layer: number, matrix: number): string {
  return `model.layers.${layer}.${MATRICES[matrix][1]}.weight`;
}

/**
 * The tensors whose sensitivity is measured, in the order of the results: the matrices of every layer, and by gradients the embeddings
 * and, where it is a matrix of its own, the head.
 */
export function measuredTensors(estimator: 'fisher' | 'noise', layers: number, tied: boolean): string[] {
  const names = Array.from({ length: layers * MATRICES_PER_LAYER }, (_, i) =>
    tensorName(Math.floor(i / MATRICES_PER_LAYER), i % MATRICES_PER_LAYER),
  );
  if (estimator === 'noise') return names;
  return tied ? [...names, EMBEDDING] : [...names, EMBEDDING, HEAD];
}
