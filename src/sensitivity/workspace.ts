// What measuring sensitivities needs in linear memory beside the model, by address: plain data, the same for all threads.

import { denseScratchBytes } from '../kernels/decoder/sizes.ts';
import { regions } from '../model/region.ts';
import type { State } from '../model/state.ts';
import { MATRICES_PER_LAYER, matrixOf } from './matrices.ts';

/** Sequences that the model samples together, at most: more gain little time, and each takes a cache. */
const TOGETHER = 8;
/** Tokens that one step of a Gram matrix takes. */
export const GRAM_ROWS = 16;

export interface Workspace {
  readonly tokens: number;
  /** Label draws of a sequence, whose gradients go through the layers together; 1 for the noise estimator. */
  readonly draws: number;
  readonly targets: number; // (tokens) i32, ids that the text has behind each
  readonly saved: number; // (2 · layers + 1, tokens, dim), the residual stream before each half layer, and the last
  readonly sums: number; // f64: what threads hand over
  readonly scratch: readonly number[]; // of each thread
  readonly sampling: { readonly together: number; readonly caches: number } | undefined; // (layers, together, 2, kvHeads, tokens, headDim)
  readonly fisher: FisherRegions | undefined;
  readonly noise: NoiseRegions | undefined;
}

/** Gradients end in the name of what they belong to. */
export interface FisherRegions {
  readonly gate: number; // (tokens, hidden), before silu
  readonly q: number; // (tokens, heads · headDim), before norm and rope
  readonly k: number; // (tokens, kvHeads · headDim)
  readonly angles: number; // (tokens, headDim), of the opposite positions
  readonly gram: number; // (tokens, tokens), inner products of a matrix's inputs
  readonly labels: number; // (draws, tokens) i32
  readonly probabilities: number; // (logitRows, paddedVocab)
  readonly paddedVocab: number;
  readonly expected: number; // (tokens, dim), rows of the head, weighed by probabilities
  readonly outputs: number; // (tokens, dim), the head's inputs
  readonly chosen: number; // (tokens, tokens), probability at each token of each token's own id
  readonly dX: number; // (draws, tokens, dim), of the residual stream
  readonly dNormed: number; // (draws, tokens, dim)
  readonly dMixed: number; // (draws, tokens, heads · headDim)
  readonly dQ: number; // (draws, tokens, heads · headDim)
  readonly dK: number; // (draws, tokens, kvHeads · headDim)
  readonly dV: number; // (draws, tokens, kvHeads · headDim)
  readonly dGate: number; // (draws, tokens, hidden)
  readonly dUp: number; // (draws, tokens, hidden)
}

export interface NoiseRegions {
  readonly noise: number; // (rows, cols) of N(0, 1)
  readonly weights: number; // (rows, cols) f32
  readonly logits: number; // (tokens, vocabSize), of the model as it is
  readonly probabilities: number; // (tokens, vocabSize)
  readonly logSums: number; // (tokens) f64
}

/**
 * Lays out a workspace.
 * @param state of a model whose passes take all tokens at once
 * @param sampled sequences that the model samples
 * @param first free address
 * @returns the workspace, and where it ends
 */
export function planWorkspace(
  state: State,
  estimator: 'fisher' | 'noise',
  draws: number,
  sampled: number,
  first: number,
): { workspace: Workspace; end: number } {
  const { config, batch: tokens, logitRows, threads } = state;
  const { dim, hidden, heads, kvHeads, headDim, vocabSize } = config;
  const { reserve, size } = regions(first);
  const floats = (count: number) => reserve(count * 4);
  const [wide, narrow] = [heads * headDim, kvHeads * headDim];
  const all = draws * tokens;
  const paddedVocab = Math.ceil(vocabSize / 4) * 4;
  const matrices = Array.from({ length: MATRICES_PER_LAYER }, (_, i) => matrixOf(state.layers[0], i));
  const rows = matrices.reduce((sum, matrix) => sum + matrix.rows, 0);
  const largest = Math.max(...matrices.map((matrix) => matrix.rows * matrix.cols));
  const scratch = Math.max(
    64 * 64 * 4,
    tokens * GRAM_ROWS * 4,
    2 * (tokens + 4) * 4,
    denseScratchBytes(Math.max(dim, hidden, wide)),
  );

  const fisher = (): FisherRegions => ({
    gate: floats(tokens * hidden),
    q: config.headNorms ? floats(tokens * wide) : 0,
    k: config.headNorms ? floats(tokens * narrow) : 0,
    angles: floats(tokens * headDim),
    gram: floats(tokens * tokens),
    labels: floats(all),
    probabilities: floats(logitRows * paddedVocab),
    paddedVocab,
    expected: floats(tokens * dim),
    outputs: floats(tokens * dim),
    chosen: floats(tokens * tokens),
    dX: floats(all * dim),
    dNormed: floats(all * dim),
    dMixed: floats(all * wide),
    dQ: floats(all * wide),
    dK: floats(all * narrow),
    dV: floats(all * narrow),
    dGate: floats(all * hidden),
    dUp: floats(all * hidden),
  });
  const together = Math.min(TOGETHER, logitRows, sampled);
  const sampling = () => ({ together, caches: floats(config.layers * together * 2 * tokens * narrow) });
  const noise = (): NoiseRegions => ({
    noise: floats(largest),
    weights: floats(largest),
    logits: floats(tokens * vocabSize),
    probabilities: floats(tokens * vocabSize),
    logSums: floats(tokens * 2),
  });
  const workspace: Workspace = {
    tokens,
    draws,
    targets: floats(tokens),
    saved: floats((2 * config.layers + 1) * tokens * dim),
    sums: reserve(Math.max(MATRICES_PER_LAYER * all, rows, vocabSize) * 8),
    scratch: Array.from({ length: threads }, () => reserve(scratch)),
    sampling: sampled > 0 ? sampling() : undefined,
    fisher: estimator === 'fisher' ? fisher() : undefined,
    noise: estimator === 'noise' ? noise() : undefined,
  };
  return { workspace, end: size() };
}
