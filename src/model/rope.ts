// Frequencies of rotary positions: pair i of a head of d elements turns by theta^(-2i / d) a position; long contexts slow some down.

import type { Json } from '../checkpoint/safetensors/json.ts';
import { show } from '../excerpt.ts';
import { power } from '../numerics/power.ts';
import { Fields, LIMITS } from './config.ts';

/** Rotary positions as a model's configuration has them. */
export interface Rope {
  readonly theta: number;
  /** Whether element 2i is paired with 2i + 1 rather than i with i + d / 2. */
  readonly interleaved: boolean;
  readonly scaling: RopeScaling;
}

type RopeScaling =
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

/** The rope that a config.json tells of: older files have rope_theta and rope_scaling, newer ones rope_parameters. */
export function ropeOf(fields: Fields): Rope {
  const given = fields.get('rope_parameters') ?? fields.get('rope_scaling') ?? new Map<string, Json>();
  if (!(given instanceof Map)) return fields.fail(`rope_scaling must be an object or null: got ${show(given)}`);
  const own = new Fields(given, fields.file);
  const partial = own.get('partial_rotary_factor') ?? fields.get('partial_rotary_factor') ?? 1;
  if (partial !== 1) fields.unsupported('partial_rotary_factor', '1', partial);
  const theta = own.has('rope_theta') ? own : fields;
  return {
    theta: theta.number('rope_theta', 1, 1e12, 10000),
    interleaved: fields.flag('rope_interleaved') ?? false,
    scaling: scalingOf(own),
  };
}

function scalingOf(own: Fields): RopeScaling {
  const type = own.get('rope_type') ?? own.get('type') ?? 'default';
  if (type === 'default') return { type };
  if (type === 'linear') return { type, factor: own.number('factor', 1, 1e6) };
  if (type !== 'llama3') return own.unsupported('rope_type', 'default, linear, llama3', type);
  const lowTurns = own.number('low_freq_factor', 1e-6, 1e6);
  const highTurns = own.number('high_freq_factor', 1e-6, 1e6);
  if (highTurns <= lowTurns) {
    own.fail(`high_freq_factor must be above low_freq_factor: got ${highTurns} and ${lowTurns}`);
  }
  const original = own.integer('original_max_position_embeddings', 1, LIMITS.positions);
  return { type, factor: own.number('factor', 1, 1e6), lowTurns, highTurns, original };
}

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
