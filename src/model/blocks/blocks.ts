// The kinds of blocks, by name: what is done with a block of any kind is asked here.

import type { BlockSpec, LinearSpec } from '../../families/architecture.ts';
import type { Linear } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { State } from '../state.ts';
import type { Thread } from '../team.ts';
import type { Latent } from './attention/absorbed.ts';
import { type Attention, attention } from './attention/attention.ts';
import { latent } from './attention/latent.ts';
import type { Back, BlockKind, BlockPlanner, Inputs, WeightStatistics } from './block.ts';
import { type Convolution, convolution } from './convolution.ts';
import { delta } from './delta.ts';
import type { DeltaRule } from './deltarule.ts';
import { experts } from './experts.ts';
import { type FeedForward, feedForward } from './feedforward.ts';
import type { Experts } from './mixture.ts';
import { type PerLayer, perLayer } from './perlayer.ts';

/** A block of any kind, that runs. */
export type Block = Attention | Convolution | DeltaRule | Experts | FeedForward | Latent | PerLayer;

const KINDS = { attention, convolution, delta, experts, feedForward, latent, perLayer } as const;

// Every kind takes its own specs and blocks alone, and those name their kind.
function kindOf({ kind }: BlockSpec | Block): BlockKind<BlockSpec, Block> {
  return KINDS[kind] as unknown as BlockKind<BlockSpec, Block>;
}

/** Lays a block out. */
export const planBlock = (spec: BlockSpec, planner: BlockPlanner): Block => kindOf(spec).plan(spec, planner);

/** The linear weights that a block will have. */
export const linearsOf = (spec: BlockSpec): readonly LinearSpec[] => kindOf(spec).linears(spec);

/** Floats of the recurrent state that a block keeps of a sequence. */
export const stateFloatsOf = (spec: BlockSpec): number => kindOf(spec).stateFloats?.(spec) ?? 0;

/** The linear weights of a block, in order. */
export const weightsOf = (block: Block): readonly Linear[] => kindOf(block).weights(block);

/** Whether statistics of a block's weights can be gathered. */
export const hasStatistics = (spec: BlockSpec): boolean =>
  kindOf(spec).statistics !== undefined && !(spec.kind === 'attention' && spec.cache);

/** The statistics that a block gathers of each weight. */
export const statisticsOf = (block: Block): readonly WeightStatistics[] => kindOf(block).statistics!(block);

/** Inputs of a block's weights when it has run. */
export function inputsOf(thread: Thread, block: Block, tokens: number): readonly Inputs[] {
  const inputs = kindOf(block).inputs?.(thread, block, tokens);
  return inputs ?? weightsOf(block).map(({ input, cols }) => ({ x: input, stride: cols, count: tokens }));
}

/** A block with another weight at a place. */
export const replaceWeight = (block: Block, place: number, linear: Linear): Block =>
  kindOf(block).replace(block, place, linear);

/** Bytes of the regions that going back through a block takes, by name. */
export const gradientsOf = (
  block: Block,
  tokens: number,
  draws: number,
  threads: number,
): Readonly<Record<string, number>> => kindOf(block).gradients(block, tokens, draws, threads);

/** Runs a block forward: x += its output. */
export function runBlock(thread: Thread, state: State, block: Block, pass: Pass): void {
  kindOf(block).forward(thread, state, block, pass);
}

/** Goes back through a block: gradients of its output become those of its input. */
export function goBack(back: Back, block: Block): void {
  kindOf(block).back(back, block);
}
