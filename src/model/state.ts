// What the steps of a forward pass read and write, by address: plain data, the same for all threads. Activations hold `batch`
// tokens; what a block alone needs stands in the block.

import type { Linear, Rotation } from './linear.ts';

/** Cosines and sines of a pass's positions, for the heads of one rope. */
export interface RopeRegions {
  /** (width / 2) f64. */
  readonly frequencies: number;
  /** Cosine and sine of each pair, for each token of a pass: (batch, width). */
  readonly angles: number;
  /** Elements of a head that turn, its first. */
  readonly width: number;
  /** Cosines and sines are multiplied by it. */
  readonly factor: number;
  /** Whether element 2i is paired with 2i + 1 rather than i with i + d / 2. */
  readonly interleaved: boolean;
}

/**
 * What the steps in one linear memory read and write. Numbers named for what lies there are byte addresses, their shapes beside them,
 * f32 where no dtype stands; matrices are by row. `batch` tokens of any sequences go through a pass together.
 */
export interface State {
  /** Elements of a hidden state. */
  readonly dim: number;
  /** Added to the mean square under a norm's root. */
  readonly epsilon: number;
  /** Threads that work in the memory. */
  readonly threads: number;
  /** Most tokens of a pass. */
  readonly batch: number;
  /** Angles of each kind of rope that blocks have. */
  readonly ropes: readonly RopeRegions[];
  /** (batch, dim), the residual stream. */
  readonly x: number;
  /** What the next weights read: (batch, dim); of one token a copy in the row of each thread. */
  readonly normed: number;
  /** Room for what a weight gives before it is added: (batch, dim). */
  readonly y: number;
  /** (batch, perLayerFloats), vectors of the tokens for all layers; 0 for none. */
  readonly perLayer: number;
  /** Elements of a token's vectors for all layers; 0 where layers have none. */
  readonly perLayerFloats: number;
  /** Room of each thread; its size is that of the largest step. */
  readonly scratch: readonly number[];
  /** Rows of attention scores, and scores in a row. */
  readonly tile: number;
  /** Scores of a row. */
  readonly span: number;
}

/** What makes vectors of tokens for all layers. */
export interface PerLayerRegions {
  /** Elements of a layer's vector. */
  readonly width: number;
  /** Embeddings of all layers, (vocabSize, layers · width). */
  readonly embedding: Linear;
  /** What makes vectors of the token's embedding, (layers · width, dim). */
  readonly projection: Linear;
  /** How embeddings are rotated for `projection`. */
  readonly rotations: readonly Rotation[];
  /** Weights of the norm of each vector: (width). */
  readonly norm: number;
  /** Room for a row of `embedding`, of each thread, (perLayerFloats). */
  readonly rows: readonly number[];
}

/** What takes part in every pass, in the first memory. */
export interface Begin {
  /** Barriers and orders: the words of team.ts. */
  readonly sync: number;
  /** Sequences of the pass, their rows and positions: (batch, 4) i32: pass.ts. */
  readonly segments: number;
  /** Ids of the tokens: (batch) i32. */
  readonly ids: number;
  /** Token embeddings, (vocabSize, dim). */
  readonly embedding: Linear;
  /** Embeddings are multiplied by it. */
  readonly embeddingScale: number;
  /** What makes vectors for all layers; undefined where layers have none. */
  readonly perLayerInputs: PerLayerRegions | undefined;
}

/** What makes hidden states, and logits of them. */
export interface End {
  /** Weights of the last norm: (dim). */
  readonly norm: number;
  /** How hidden states are rotated for the head. */
  readonly rotations: readonly Rotation[];
  /** The output head, (vocabSize, dim). */
  readonly head: Linear;
  /** (logitRows, vocabSize). */
  readonly logits: number;
  /** Rows of logits that there is room for. */
  readonly logitRows: number;
  /** Elements of a row of logits. */
  readonly vocabSize: number;
  /** Logits are multiplied by it, and then capped: z becomes cap · tanh(z / cap); 0 for no cap. */
  readonly logitScale: number;
  /** The cap of logits; 0 for none. */
  readonly logitCap: number;
}
