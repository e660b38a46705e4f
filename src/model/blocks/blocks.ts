// The kinds of blocks, by name: what is done with a block of any kind is asked here.

import type { BlockSpec, LinearSpec } from '../../families/architecture.ts';
import type { Linear } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { State } from '../state.ts';
import type { Thread } from '../team.ts';
import { type Attention, attention } from './attention.ts';
import type { Back, BlockKind, BlockPlanner, WeightStatistics } from './block.ts';
import { type FeedForward, feedForward } from './feedforward.ts';

export type Block = Attention | FeedForward;

const KINDS = { attention, feedForward } as const;

// Every kind takes its own specs and blocks alone, and those name their kind.
function kindOf({ kind }: BlockSpec | Block): BlockKind<BlockSpec, Block> {
  return KINDS[kind] as unknown as BlockKind<BlockSpec, Block>;
}

export const planBlock = (spec: BlockSpec, planner: BlockPlanner): Block => kindOf(spec).plan(spec, planner);

export const linearsOf = (spec: BlockSpec): readonly LinearSpec[] => kindOf(spec).linears(spec);

export const weightsOf = (block: Block): readonly Linear[] => kindOf(block).weights(block);

export const statisticsOf = (block: Block): readonly WeightStatistics[] => kindOf(block).statistics(block);

export const replaceWeight = (block: Block, place: number, linear: Linear): Block =>
  kindOf(block).replace(block, place, linear);

export const gradientsOf = (block: Block, tokens: number, draws: number): Readonly<Record<string, number>> =>
  kindOf(block).gradients(block, tokens, draws);

export function runBlock(thread: Thread, state: State, block: Block, pass: Pass): void {
  kindOf(block).forward(thread, state, block, pass);
}

export function goBack(back: Back, block: Block): void {
  kindOf(block).back(back, block);
}
