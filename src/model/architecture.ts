// A decoder as its family reads it from a config.json: plain data, every tensor by name. What the blocks do is in blocks/.

import type { AttentionSpec } from './blocks/attention.ts';
import type { FeedForwardSpec } from './blocks/feedforward.ts';
import type { LinearSpec } from './linear.ts';

/** A residual block, x += f(norm(x)). */
export type BlockSpec = AttentionSpec | FeedForwardSpec;

/** What a model's configuration says of its ids. */
export interface Vocabulary {
  readonly vocabSize: number;
  /** Most ids of a text: positions that the model was made for; of a loaded model, that it runs. */
  readonly contextLength: number;
  /** The id that begins a text, if there is one. */
  readonly bos: number | undefined;
  /** Ids that end a text; none if the model has no such id. */
  readonly eos: readonly number[];
}

export interface Architecture extends Vocabulary {
  /** As `model_type` names it. */
  readonly family: string;
  /** Elements of a hidden state. */
  readonly dim: number;
  /** Of the norms. */
  readonly epsilon: number;
  readonly embedding: LinearSpec;
  /** The blocks of each layer, in order. */
  readonly layers: readonly (readonly BlockSpec[])[];
  /** Tensor of the last norm, (dim). */
  readonly norm: string;
  readonly head: LinearSpec;
  /** Whether the output head is the token embedding; undefined if config.json does not say. */
  readonly tied: boolean | undefined;
}
