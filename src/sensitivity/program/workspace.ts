// What measuring sensitivities needs in linear memory beside the model, by address: plain data, the same for all threads.

import { DENSE_SUMS, denseScratchBytes, GRAM_SCRATCH } from '../../kernels/decoder/sizes.ts';
import { gradientsOf, weightsOf } from '../../model/blocks/blocks.ts';
import type { ModelState } from '../../model/memories.ts';
import { regions } from '../../model/region.ts';
import { type StatisticsKind, sumsOf, totalFloats } from '../../statistics/matrices.ts';
import { besideOf } from './measured.ts';

/** Tokens that one step of a Gram matrix takes. */
export const GRAM_ROWS = 16;

/** Regions that measuring needs beside the model's. */
export interface Workspace {
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Label draws of a sequence, whose gradients go through the blocks together; 1 for the noise estimator. */
  readonly draws: number;
  /** (tokens) i32, ids that the text has behind each. */
  readonly targets: number;
  /** (slots, tokens, dim), the residual stream before each block, and the last. */
  readonly saved: number;
  /** 1 where only one block's is here at a time. */
  readonly slots: number;
  /** f64: what threads hand over. */
  readonly sums: number;
  /** Room of each thread. */
  readonly scratch: readonly number[];
  /** Sequences that the model samples together, each in `tokens` rows of the cache; 0 for none. */
  readonly together: number;
  /** Regions of the estimator by gradients. */
  readonly fisher: FisherRegions | undefined;
  /** Regions of the estimator by noise. */
  readonly noise: NoiseRegions | undefined;
  /** Regions of statistics, where they are gathered. */
  readonly statistics: StatisticsRegions | undefined;
}

interface StatisticsRegions extends StatisticsKind {
  readonly sums: number; // matrices of one block, as `sumsOf` has them
  readonly weights: number; // (places, tokens), squared norms of the gradients of outputs, of all draws
}

interface FisherRegions {
  /** What blocks asked for, by name: enough for the largest. */
  readonly regions: Readonly<Record<string, number>>;
  readonly opposite: readonly number[]; // (tokens, width) each: angles of the opposite positions, by the place of state.ropes
  readonly gram: number; // (tokens, tokens), inner products of a weight's inputs
  readonly labels: number; // (draws, tokens) i32
  readonly probabilities: number; // (logitRows, paddedVocab)
  readonly paddedVocab: number;
  readonly expected: number; // (tokens, dim), rows of the head, weighed by probabilities
  readonly outputs: number; // (tokens, dim), the head's inputs
  readonly rowSquares: number; // ‖row‖² of the head's rows; then, of the embeddings, those of tokens
  readonly slopes: number; // (draws, tokens), of the labels' logits
  readonly chosen: number; // (tokens, tokens), probability at each token of each token's own id, times the slope of its logit
  readonly dX: number; // (draws, tokens, dim), gradients of the residual stream
  readonly dNormed: number; // (draws, tokens, dim)
  readonly dPerLayer: number; // (draws, tokens, perLayerFloats), of the tokens' vectors for all layers
}

interface NoiseRegions {
  readonly noise: number; // (rows, cols) of N(0, 1)
  readonly weights: number; // (rows, cols) f32
  readonly logits: number; // (tokens, vocabSize), of the model as it is
  readonly probabilities: number; // (tokens, vocabSize)
  readonly logSums: number; // (tokens) f64
}

/** Scratch of thread `index` behind a tile of GRAM_ROWS for every token: DENSE_SUMS. */
export function behindTile({ scratch, tokens }: Workspace, index: number): number {
  return scratch[index] + tokens * GRAM_ROWS * 4;
}

/** What is measured. */
interface WorkspaceOptions {
  readonly estimator: 'fisher' | 'noise';
  readonly tokens: number;
  readonly draws: number;
  readonly together: number;
  /** Statistics that are gathered; none if left out. */
  readonly statistics?: StatisticsKind | undefined;
}

/**
 * Lays out a workspace.
 * @param state of a model whose passes take all tokens at once
 * @param first free address
 * @returns the workspace, and where it ends
 */
export function planWorkspace(
  state: ModelState,
  { estimator, tokens, draws, together, statistics }: WorkspaceOptions,
  first: number,
): { workspace: Workspace; end: number } {
  const { dim, vocabSize, logitRows, threads, blocks, ropes, perLayerFloats } = state;
  const beside = besideOf(state);
  const { reserve, size } = regions(first);
  const floats = (count: number) => reserve(count * 4);
  const all = draws * tokens;
  const paddedVocab = Math.ceil(vocabSize / 4) * 4;
  const weights = blocks.map(weightsOf);
  const most = (of: (block: (typeof weights)[number]) => number) =>
    weights.reduce((max, layer) => Math.max(max, of(layer)), 0);
  const places = most((layer) => layer.length);
  const rows = most((layer) => layer.reduce((sum, weight) => sum + weight.rows, 0));
  const cols = most((layer) => layer.reduce((max, weight) => Math.max(max, weight.cols), 0));
  const largest = most((layer) => layer.reduce((max, weight) => Math.max(max, weight.rows * weight.cols), 0));
  const scratch = Math.max(
    ...[
      statistics ? GRAM_SCRATCH : 64 * 64 * 4,
      tokens * GRAM_ROWS * 4 + DENSE_SUMS,
      3 * (tokens + 4) * 4,
      denseScratchBytes(Math.max(cols, perLayerFloats)),
    ],
  );
  const slots = statistics ? 1 : blocks.length + 1;

  const fisher = (): FisherRegions => ({
    regions: sharedRegions(),
    opposite: ropes.map(({ width }) => floats(tokens * width)),
    gram: floats(tokens * tokens),
    labels: floats(all),
    probabilities: floats(logitRows * paddedVocab),
    paddedVocab,
    expected: floats(tokens * dim),
    outputs: floats(tokens * dim),
    rowSquares: floats(Math.max(vocabSize, tokens)),
    slopes: floats(all),
    chosen: floats(tokens * tokens),
    dX: floats(all * dim),
    dNormed: floats(all * dim),
    dPerLayer: floats(all * perLayerFloats),
  });
  function sharedRegions(): Record<string, number> {
    const counts = new Map<string, number>();
    for (const block of blocks) {
      for (const [name, count] of Object.entries(gradientsOf(block, tokens, draws, threads))) {
        counts.set(name, Math.max(count, counts.get(name) ?? 0));
      }
    }
    return Object.fromEntries([...counts].map(([name, count]) => [name, floats(count)]));
  }
  const noise = (): NoiseRegions => ({
    noise: floats(largest),
    weights: floats(largest),
    logits: floats(tokens * vocabSize),
    probabilities: floats(tokens * vocabSize),
    logSums: floats(tokens * 2),
  });
  const workspace: Workspace = {
    ...{ tokens, draws, together },
    targets: floats(tokens),
    ...{ slots, saved: floats(slots * tokens * dim) },
    // Squared norms of a block's rows, or of the gradients of its weights; at the ends two numbers a token.
    sums: reserve(
      Math.max(
        Math.max(places, 1 + beside.length) * all,
        2 * tokens,
        rows,
        beside.reduce((sum, weight) => sum + weight.rows, vocabSize),
      ) * 8,
    ),
    scratch: Array.from({ length: threads }, () => reserve(scratch)),
    fisher: estimator === 'fisher' && statistics?.mode !== 'inputs' ? fisher() : undefined,
    noise: estimator === 'noise' ? noise() : undefined,
    statistics: statistics && {
      ...statistics,
      sums: floats(blocks.reduce((max, block) => Math.max(max, totalFloats(sumsOf(block, statistics))), 0)),
      weights: floats(places * tokens),
    },
  };
  return { workspace, end: size() };
}
