// Where gradients of a block's weights stand when they have gone back through it.

import type { Attention } from '../src/model/blocks/attention/attention.ts';
import type { Convolution } from '../src/model/blocks/convolution.ts';
import type { DeltaRule } from '../src/model/blocks/deltarule.ts';
import type { FeedForward } from '../src/model/blocks/feedforward.ts';
import type { PerLayer } from '../src/model/blocks/perlayer.ts';

/** Blocks whose weights have all tokens for inputs. */
export type Plain = Attention | Convolution | DeltaRule | FeedForward | PerLayer;

/** Names of the regions of the gradients of what a block's inputs give, in the order of its weights. */
export function regionsOf(block: Plain): string[] {
  if ('fused' in block && block.fused) return ['dFused'];
  if (block.kind === 'perLayer') return ['dGate'];
  if (block.kind === 'convolution') return ['dParts'];
  if (block.kind === 'delta') {
    return block.joined ? ['dJoined', 'dJoinedGates'] : ['dParts', 'dGates', 'dBetas', 'dDecays'];
  }
  return block.kind === 'feedForward' ? ['dGate', 'dUp'] : [block.gated ? 'dGatedQueries' : 'dQ', 'dK', 'dV'];
}
