// The weights whose sensitivity is measured, by the names of their tensors: the one list. Estimators number them in this order.

import type { Architecture } from '../../families/architecture.ts';
import { linearsOf, weightsOf } from '../../model/blocks/blocks.ts';
import type { Linear } from '../../model/linear.ts';
import type { ModelState } from '../../model/memories.ts';

/** A linear weight of a block. */
export interface Measured {
  /** The weight. */
  readonly linear: Linear;
  /** The block's place in the model, and the weight's in the block. */
  readonly block: number;
  /** Its place among the weights of its block. */
  readonly place: number;
  /** The layer of its block. */
  readonly layer: number;
  /** The weight's place among those of its layer, and among all. */
  readonly inLayer: number;
  /** Its place among all measured weights. */
  readonly index: number;
}

/** The linear weights of all layers. */
export function measuredOf({ blocks, layerOf }: Pick<ModelState, 'blocks' | 'layerOf'>): Measured[] {
  const all: Measured[] = [];
  for (const [block, weights] of blocks.entries()) {
    const layer = layerOf[block];
    const first = layer === all.at(-1)?.layer ? all.at(-1)!.inLayer + 1 : 0;
    for (const [place, linear] of weightsOf(weights).entries()) {
      all.push({ linear, block, place, layer, inLayer: first + place, index: all.length });
    }
  }
  return all;
}

/** Whether embeddings and head are one weight. */
export function sharesEmbedding({ embedding, head }: Pick<ModelState, 'embedding' | 'head'>): boolean {
  return embedding.name === head.name;
}

/**
 * Names of the tensors that an estimator measures, from the architecture alone: experts have those that they have one by one, and those
 * of stacks. Noise leaves embeddings and head out; where both are one
 * weight it has the embeddings' name.
 */
export function measuredNames(
  { layers, embedding, perLayer, head, tied }: Architecture,
  estimator: 'fisher' | 'noise',
): string[] {
  const linears = layers.flat().flatMap(linearsOf);
  const names = linears.map(({ name }) => `${name}.weight`);
  const stacks = new Set(linears.flatMap(({ stack }) => (stack ? [stack.name] : [])));
  const beside = perLayer ? [perLayer.embedding, perLayer.projection] : [];
  const ends = estimator === 'noise' ? [] : [embedding, ...beside, ...(tied ? [] : [head])];
  return [...names, ...stacks, ...ends.map(({ name }) => `${name}.weight`)];
}

/** What makes tokens' vectors for all layers, where they have such: a table beside the embeddings, and a matrix. */
export function besideOf({ perLayerInputs }: Pick<ModelState, 'perLayerInputs'>): Linear[] {
  return perLayerInputs ? [perLayerInputs.embedding, perLayerInputs.projection] : [];
}

/** A block's weights; behind the last block, the embeddings and what stands beside them, and behind those the head. */
export function weightsAt(state: ModelState, block: number): readonly Linear[] {
  const { blocks, embedding, head } = state;
  if (block < blocks.length) return weightsOf(blocks[block]);
  return block === blocks.length ? [embedding, ...besideOf(state)] : [head];
}
