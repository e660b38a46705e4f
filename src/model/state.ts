// What the steps of a forward pass read and write, by address: plain data, the same for all threads. Activations hold `batch`
// tokens; what a block alone needs stands in the block.

/** Cosines and sines of a pass's positions, for the heads of one size and frequencies. */
export interface RopeRegions {
  readonly frequencies: number; // (headDim / 2) f64
  readonly angles: number; // (batch, headDim)
  readonly headDim: number;
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
  readonly scratch: readonly number[]; // of each thread
  /** Rows of attention scores, and scores in a row. */
  readonly tile: number;
  readonly span: number;
}
