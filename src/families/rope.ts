// Rotary positions: pair i of the n elements of a head that turn goes by theta^(-2i / n) a position. Long contexts slow some pairs down,
// and some models multiply cosines and sines by a factor.

import { log } from '../numerics/exponential.ts';
import { power } from '../numerics/power.ts';
import { CONFIG_LIMITS, Fields } from './config.ts';

/** Rotary positions as a model's configuration has them. */
export interface Rope {
  /** The base of the frequencies. */
  readonly theta: number;
  /** n, of the first elements of a head; an odd one has its last pair turn, too. */
  readonly elements: number;
  /** Whether element 2i is paired with 2i + 1 rather than i with i + n / 2. */
  readonly interleaved: boolean;
  /** Cosines and sines are multiplied by it. */
  readonly factor: number;
  /** How frequencies are changed for long texts. */
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
    }
  /** Pairs below `low` are kept, those above `high` divided by `factor`, those between interpolated. */
  | { readonly type: 'yarn'; readonly factor: number; readonly low: number; readonly high: number }
  /** The first `pairs` turn, divided by `factor`, the others do not. */
  | { readonly type: 'proportional'; readonly factor: number; readonly pairs: number }
  /** Pair i is divided by `short[i]` in a context of up to `original` positions, by `long[i]` in a longer one. */
  | {
      readonly type: 'longrope';
      readonly original: number;
      readonly short: readonly number[];
      readonly long: readonly number[];
    };

/** What a family knows of its rope. */
interface RopeTraits {
  readonly interleaved?: boolean;
  /** The part of a head that turns where config.json does not say; left out where the family turns whole heads only. */
  readonly partial?: number;
  /** Where config.json does not say. */
  readonly theta?: number;
  /** What the kind `yarn` means, if another one. */
  readonly yarn?: 'longrope';
  /** `original_max_position_embeddings`, where it does not stand beside rope_parameters. */
  readonly original?: number;
}

/** The rope that a config.json tells of: older files have rope_theta and rope_scaling, newer ones rope_parameters. */
export function ropeOf(fields: Fields, headDim: number, traits: RopeTraits = {}): Rope {
  const rope = ropeFields(fields);
  const theta = rope.has('rope_theta') ? rope : fields;
  return ropeFrom(fields, rope, theta.number('rope_theta', 1, 1e12, traits.theta ?? 10000), headDim, traits);
}

/**
 * The ropes of layers that see all and of those that slide: newer files have an object for each in rope_parameters, older ones scale
 * the first alone.
 * @param thetas where config.json does not say; the second's may stand in `local`, a member of its own
 * @param usual what tells of the first where config.json has no object
 */
export function ropesByWindow(
  fields: Fields,
  headDim: number,
  thetas: { readonly full: number; readonly sliding: number; readonly local?: string },
  usual?: Fields,
): { readonly full: Rope; readonly sliding: Rope } {
  const given = ropeFields(fields, usual);
  const nested = (kind: string) => given.object(kind);
  const full = nested('full_attention') ?? given;
  const sliding = nested('sliding_attention') ?? new Fields(new Map(), fields.file);
  const thetaOf = (rope: Fields, key: string, otherwise: number) =>
    (rope.has('rope_theta') ? rope : fields).number(rope.has('rope_theta') ? 'rope_theta' : key, 1, 1e12, otherwise);
  return {
    full: ropeFrom(fields, full, thetaOf(full, 'rope_theta', thetas.full), headDim, {}),
    sliding: ropeFrom(fields, sliding, thetaOf(sliding, thetas.local ?? 'rope_theta', thetas.sliding), headDim, {}),
  };
}

/** The object of config.json that tells of its rope; an empty one, or `usual`, if there is none. */
export function ropeFields(fields: Fields, usual = new Fields(new Map(), fields.file)): Fields {
  return fields.object('rope_parameters') ?? fields.object('rope_scaling') ?? usual;
}

// `own` is the object that tells of the rope's kind.
function ropeFrom(fields: Fields, ownFields: Fields, theta: number, headDim: number, traits: RopeTraits): Rope {
  const part = ownFields.has('partial_rotary_factor') ? ownFields : fields;
  const partial = part.number('partial_rotary_factor', 0, 1, traits.partial ?? 1);
  const isProportional = ownFields.get('rope_type') === 'proportional';
  if (partial !== 1 && traits.partial === undefined && !isProportional)
    fields.unsupported('partial_rotary_factor', '1', partial);
  const elements = isProportional ? headDim : Math.trunc(headDim * partial);
  if (elements < 2) fields.fail(`partial_rotary_factor must leave 2 elements of a head: got ${partial}`);
  const isStretched = ownFields.get('rope_type') === 'dynamic' || ownFields.get('type') === 'dynamic';
  const alpha = isStretched ? ownFields.number('alpha', 0, 1e6, 0) : 0;
  if (alpha && headDim < 4) fields.fail(`head_dim must be at least 4 where rope has an alpha: got ${headDim}`);
  const rope = {
    theta: alpha ? theta * power(alpha, headDim / (headDim - 2)) : theta,
    elements,
    interleaved: traits.interleaved ?? fields.flag('rope_interleaved') ?? false,
  };
  if (isProportional) {
    const pairs = Math.floor((partial * headDim) / 2);
    return {
      ...rope,
      factor: 1,
      scaling: { type: 'proportional', factor: ownFields.number('factor', 1e-6, 1e6, 1), pairs },
    };
  }
  return { ...rope, ...scalingOf(fields, ownFields, rope, traits) };
}

function scalingOf(
  fields: Fields,
  ownFields: Fields,
  rope: Pick<Rope, 'theta' | 'elements'>,
  traits: RopeTraits,
): Pick<Rope, 'factor' | 'scaling'> {
  const named = ownFields.get('rope_type') ?? ownFields.get('type') ?? 'default';
  const type = named === 'su' ? 'longrope' : named === 'yarn' ? (traits.yarn ?? named) : named;
  const plain = (scaling: RopeScaling) => ({ factor: 1, scaling });
  // A dynamic scaling leaves positions that the model was made for as they are, and there are no others here. The three positions of a
  // token that `mrope` turns by are one where all is text.
  if (type === 'default' || type === 'dynamic' || type === 'mrope') return plain({ type: 'default' });
  if (type === 'linear') return plain({ type, factor: ownFields.number('factor', 1, 1e6) });
  const most = fields.integer('max_position_embeddings', 1, CONFIG_LIMITS.positions, 1 << 17);
  const source = fields.has('original_max_position_embeddings') || traits.original ? fields : ownFields;
  const original = source.integer(
    'original_max_position_embeddings',
    1,
    CONFIG_LIMITS.positions,
    traits.original ?? most,
  );
  if (type === 'yarn') return yarnOf(ownFields, rope, original, most);
  if (type === 'longrope') {
    const numbers = (key: string) => ownFields.numbers(key, Math.ceil(rope.elements / 2), 1e-6, 1e6);
    const stretch = ownFields.number('factor', 1e-6, 1e6, most / original);
    const usual = stretch <= 1 ? 1 : Math.sqrt(1 + log(stretch) / log(original));
    return {
      factor: ownFields.number('attention_factor', 0, 1e6, usual),
      scaling: { type: 'longrope', original, short: numbers('short_factor'), long: numbers('long_factor') },
    };
  }
  if (type !== 'llama3')
    return ownFields.unsupported('rope_type', 'default, linear, dynamic, llama3, yarn, longrope', type);
  const lowTurns = ownFields.number('low_freq_factor', 1e-6, 1e6);
  const highTurns = ownFields.number('high_freq_factor', 1e-6, 1e6);
  if (highTurns <= lowTurns) {
    ownFields.fail(`high_freq_factor must be above low_freq_factor: got ${highTurns} and ${lowTurns}`);
  }
  return plain({ type, factor: ownFields.number('factor', 1, 1e6), lowTurns, highTurns, original });
}

// Pairs that turn more than `beta_fast` times in `original` positions are kept, those that turn less than `beta_slow` times slowed.
function yarnOf(
  rope: Fields,
  { theta, elements }: Pick<Rope, 'theta' | 'elements'>,
  original: number,
  most: number,
): Pick<Rope, 'factor' | 'scaling'> {
  const factor = rope.number('factor', 1e-6, 1e6, most / original);
  if (theta <= 1) rope.fail(`rope_theta must be above 1 with yarn: got ${theta}`);
  const pairAt = (turns: number) => (elements * log(original / (turns * 2 * Math.PI))) / (2 * log(theta));
  const low = pairAt(rope.number('beta_fast', 1e-6, 1e6, 32));
  const high = pairAt(rope.number('beta_slow', 1e-6, 1e6, 1));
  const whole = rope.flag('truncate') ?? true;
  const from = Math.max(0, whole ? Math.floor(low) : low);
  const to = Math.min(elements - 1, whole ? Math.ceil(high) : high);
  const gain = (times: number) => (factor <= 1 ? 1 : 0.1 * times * log(factor) + 1);
  const [some, all] = [rope.number('mscale', 0, 1e6, 0), rope.number('mscale_all_dim', 0, 1e6, 0)];
  return {
    factor: rope.number('attention_factor', 0, 1e6, some && all ? gain(some) / gain(all) : gain(1)),
    scaling: { type: 'yarn', factor, low: from, high: from === to ? to + 0.001 : to },
  };
}

/** Elements of a head that turn, whole pairs. */
export function widthOf({ elements }: Rope): number {
  return 2 * Math.ceil(elements / 2);
}

/**
 * Radians a position of each pair, (width / 2).
 * @param context most positions of a text: it decides alone which factors of `longrope` are taken, so that cached keys stay valid
 */
export function frequencies(rope: Rope, context: number): Float64Array<ArrayBuffer> {
  const { theta, elements, scaling } = rope;
  return Float64Array.from({ length: widthOf(rope) / 2 }, (_, i) =>
    scale(power(theta, (-2 * i) / elements), i, scaling, context),
  );
}

function scale(frequency: number, i: number, scaling: RopeScaling, context: number): number {
  if (scaling.type === 'default') return frequency;
  if (scaling.type === 'linear') return frequency / scaling.factor;
  if (scaling.type === 'proportional') return i < scaling.pairs ? frequency / scaling.factor : 0;
  if (scaling.type === 'longrope') {
    return frequency / (context > scaling.original ? scaling.long : scaling.short)[i];
  }
  if (scaling.type === 'yarn') {
    const { factor, low, high } = scaling;
    const slowed = Math.min(1, Math.max(0, (i - low) / (high - low)));
    return frequency * (1 - slowed) + (frequency / factor) * slowed;
  }
  const { factor, lowTurns, highTurns, original } = scaling;
  const turns = (original * frequency) / (2 * Math.PI);
  if (turns < lowTurns) return frequency / factor;
  if (turns > highTurns) return frequency;
  const kept = (turns - lowTurns) / (highTurns - lowTurns);
  return (1 - kept) * (frequency / factor) + kept * frequency;
}
