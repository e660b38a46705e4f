// What the steps of a forward pass read and write, by address: plain data, the same for all threads. Activations hold `batch`
// tokens; what a block alone needs stands in the block.

import type { Linear, Rotation } from './linear.ts';

/** Cosines and sines of a pass's positions, for the heads of one rope. */
export interface RopeRegions {
  readonly frequencies: number; // (width / 2) f64
  readonly angles: number; // (batch, width)
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
  readonly threads: number;
  /** Most tokens of a pass. */
  readonly batch: number;
  readonly ropes: readonly RopeRegions[];
  readonly x: number; // (batch, dim), the residual stream
  readonly normed: number; // (batch, dim)
  readonly y: number; // (batch, dim)
  readonly perLayer: number; // (batch, perLayerFloats), vectors of the tokens for all layers; 0 for none
  readonly perLayerFloats: number;
  readonly scratch: readonly number[]; // of each thread
  /** Rows of attention scores, and scores in a row. */
  readonly tile: number;
  readonly span: number;
}

/** What makes vectors of tokens for all layers. */
export interface PerLayerRegions {
  readonly width: number;
  readonly embedding: Linear;
  readonly projection: Linear;
  readonly rotations: readonly Rotation[];
  readonly norm: number; // (width)
  readonly rows: readonly number[]; // of each thread, (perLayerFloats)
}

/** What takes part in every pass, in the first memory. */
export interface Begin {
  readonly sync: number; // the words of team.ts
  readonly segments: number; // (batch, 4) i32: pass.ts
  readonly ids: number; // (batch) i32
  readonly embedding: Linear;
  /** Embeddings are multiplied by it. */
  readonly embeddingScale: number;
  readonly perLayerInputs: PerLayerRegions | undefined;
}

/** What makes hidden states, and logits of them. */
export interface End {
  readonly norm: number; // (dim)
  readonly rotations: readonly Rotation[];
  readonly head: Linear;
  readonly logits: number; // (logitRows, vocabSize)
  readonly logitRows: number;
  readonly vocabSize: number;
  /** Logits are multiplied by it, and then capped: z becomes cap · tanh(z / cap); 0 for no cap. */
  readonly logitScale: number;
  readonly logitCap: number;
}
