// A decoder as its family reads it from a config.json: plain data, every tensor by name. What its blocks do is in src/model/blocks/.

import type { Rope } from './rope.ts';

/** A linear weight, y = W x + b: `<name>.weight` (rows, cols), and `<name>.bias` (rows) if it has one. */
export interface LinearSpec {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly bias: boolean;
}

/** A norm: its tensor, and what is added to every weight of it, 1 where checkpoints hold w - 1. */
export interface NormSpec {
  readonly name: string;
  readonly plus: 0 | 1;
}

/** What a block adds to the residual stream: x += multiplier · postNorm(output y). */
export interface BranchSpec {
  readonly output: LinearSpec;
  /** Norm of what is added, if there is one. */
  readonly postNorm: NormSpec | undefined;
  readonly multiplier: number;
}

/** What attention has beside its weights: for specs, and for blocks that run. */
export interface AttentionTraits {
  readonly kind: 'attention';
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions that a token sees, itself among them; 0 for all. */
  readonly window: number;
  /** What products of queries and keys are multiplied by. */
  readonly scale: number;
  /** Scores s become cap · tanh(s / cap); 0 for no cap. */
  readonly cap: number;
  /** Queries from position `original` on are multiplied by 1 + beta · ln(1 + ⌊position / original⌋). */
  readonly temperature: { readonly beta: number; readonly original: number } | undefined;
}

/** Norms of queries and keys: of each head before rope or after it, or of all heads of a token as one vector, before rope. */
interface QueryKeyNorms {
  readonly q: NormSpec;
  readonly k: NormSpec;
  readonly of: 'head' | 'turnedHead' | 'row';
}

export interface AttentionSpec extends AttentionTraits, BranchSpec {
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /** Weights of queries, keys and values; or one that has the rows of all three, in this order. */
  readonly inputs: readonly LinearSpec[];
  readonly queryKeyNorms: QueryKeyNorms | undefined;
  readonly rope: Rope | undefined;
}

/** What gates are put through; gelu in its tanh form. */
export type Activation = 'silu' | 'gelu';

export interface FeedForwardSpec extends BranchSpec {
  readonly kind: 'feedForward';
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /** Weights of gate and up; or one that has the rows of both, in this order. */
  readonly inputs: readonly LinearSpec[];
  readonly activation: Activation;
}

/** A residual block, x += f(x). */
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
  /** Embeddings are multiplied by it. */
  readonly embeddingScale: number;
  /** The blocks of each layer, in order. */
  readonly layers: readonly (readonly BlockSpec[])[];
  /** The last norm, (dim). */
  readonly norm: NormSpec;
  readonly head: LinearSpec;
  /** Logits are multiplied by it, and then capped: z becomes cap · tanh(z / cap); 0 for no cap. */
  readonly logitScale: number;
  readonly logitCap: number;
  /** Whether the output head is the token embedding; undefined if config.json does not say. */
  readonly tied: boolean | undefined;
}
