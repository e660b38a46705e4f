// Frequencies of rotary positions: pair i of a head of d elements turns by theta^(-2i / d) a position; long contexts slow some down.

import { power } from '../numerics/power.ts';

/** Rotary positions as a model's configuration has them. */
export interface Rope {
  readonly theta: number;
  /** Whether element 2i is paired with 2i + 1 rather than i with i + d / 2. */
  readonly interleaved: boolean;
  readonly scaling: RopeScaling;
}

export type RopeScaling =
  | { readonly type: 'default' }
  /** Every frequency divided by `factor`. */
  | { readonly type: 'linear'; readonly factor: number }
  /**
   * Frequencies that turn fewer than `lowTurns` times in `original` positions are divided by `factor`, those above `highTurns` kept,
   * those between interpolated.
   */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowTurns: number;
      readonly highTurns: number;
      readonly original: number;
    };

/** Radians a position of each pair, (headDim / 2). */
export function frequencies({ theta, scaling }: Rope, headDim: number): Float64Array<ArrayBuffer> {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => scale(power(theta, (-2 * i) / headDim), scaling));
}

function scale(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === 'default') return frequency;
  if (scaling.type === 'linear') return frequency / scaling.factor;
  const { factor, lowTurns, highTurns, original } = scaling;
  const turns = (original * frequency) / (2 * Math.PI);
  if (turns < lowTurns) return frequency / factor;
  if (turns > highTurns) return frequency;
  const kept = (turns - lowTurns) / (highTurns - lowTurns);
  return (1 - kept) * (frequency / factor) + kept * frequency;
}
