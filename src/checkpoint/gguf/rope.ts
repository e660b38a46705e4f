// Rotary positions as config.json has them, from metadata and from tensors of factors: each pair's frequency is divided by its factor.

import { log } from '../../numerics/exponential.ts';
import { power } from '../../numerics/power.ts';
import { shortest } from './header.ts';
import type { JsonObject, Values } from './values.ts';

/** The factors that a file holds, (elements / 2) each. */
export interface RopeTensors {
  /** `rope_freqs.weight`. */
  readonly all?: Float32Array | undefined;
  /** `rope_factors_short.weight`, `rope_factors_long.weight`. */
  readonly short?: Float32Array | undefined;
  /** Factors for long texts. */
  readonly long?: Float32Array | undefined;
}

/** `rope_theta` and `rope_scaling`. */
export function ropeMembers({ values, ropes }: { readonly values: Values; readonly ropes: RopeTensors }): JsonObject {
  const theta = values.number('rope.freq_base', 10000);
  if (!(theta >= 1 && theta <= 1e12)) values.fail(`rope.freq_base must be a number from 1 to 1e12: got ${theta}`);
  const original = values.integer('rope.scaling.original_context_length', undefined);
  if (original !== undefined && original < 2) {
    values.fail(`rope.scaling.original_context_length must be at least 2: got ${original}`);
  }
  const scaling = scalingOf(values, ropes, theta, original);
  return {
    rope_theta: theta,
    ...(scaling && { rope_scaling: scaling }),
    ...(original !== undefined && ropes.long && { original_max_position_embeddings: original }),
  };
}

function scalingOf(
  values: Values,
  ropes: RopeTensors,
  theta: number,
  original: number | undefined,
): JsonObject | undefined {
  if (ropes.all) return byFactors(ropes.all, theta, values.integer('context_length'));
  if (ropes.short && ropes.long) return longrope(values, ropes.short, ropes.long, original);
  const type = values.text('rope.scaling.type') ?? 'none';
  const factor = values.number('rope.scaling.factor', 1);
  if (type === 'linear') return factor > 1 ? { rope_type: 'linear', factor } : undefined;
  if (type === 'yarn') return yarn(values, factor, original);
  if (type === 'none' || type === 'longrope') return undefined; // Phi-3's kind without factors is none
  return values.unsupported(`rope ${type}`, `rope.scaling.type must be none, linear, yarn or longrope: got "${type}"`);
}

function yarn(values: Values, factor: number, original: number | undefined): JsonObject {
  const times = yarnTimes(values);
  const optional = { beta_fast: 'yarn_beta_fast', beta_slow: 'yarn_beta_slow', attention_factor: 'yarn_attn_factor' };
  const members = Object.entries(optional).flatMap(([name, key]) => {
    const value = values.number(`rope.scaling.${key}`, undefined);
    return value === undefined ? [] : [[name, value]];
  });
  const beta = values.number('attention.temperature_scale', 0);
  return {
    ...{ rope_type: 'yarn', factor },
    ...(original !== undefined && { original_max_position_embeddings: original }),
    ...Object.fromEntries(members),
    ...(times !== undefined && { mscale: times, mscale_all_dim: times }),
    ...(beta > 0 && { llama_4_scaling_beta: beta }),
  };
}

// DeepSeek's converter writes a tenth of it.
function yarnTimes(values: Values): number | undefined {
  const times = values.number('rope.scaling.yarn_log_multiplier', undefined);
  if (times === undefined || values.architecture !== 'deepseek2') return times;
  return shortest(Math.fround(times * 10));
}

function longrope(values: Values, short: Float32Array, long: Float32Array, original = 4096): JsonObject {
  const context = values.integer('context_length');
  const usual = context <= original ? 1 : Math.sqrt(1 + log(context / original) / log(original));
  const factor = values.number('rope.scaling.attn_factor', usual);
  return {
    rope_type: 'longrope',
    short_factor: Array.from(short, shortest),
    long_factor: Array.from(long, shortest),
    ...(Math.fround(factor) !== Math.fround(usual) && { attention_factor: factor }),
  };
}

// Llama 3 knows its factors by four numbers, of which only those that are usual are tried; any others stand as they are.
function byFactors(factors: Float32Array, theta: number, context: number): JsonObject {
  const factor = shortest(factors.reduce((most, value) => Math.max(most, value), 1));
  for (let original = 1 << 10; original <= 1 << 20; original *= 2) {
    const llama3 = {
      ...{ rope_type: 'llama3', factor, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: original,
    };
    if (factors.every((value, i) => isNear(value, llama3Factor(llama3, theta, i, factors.length)))) return llama3;
  }
  const same = Array.from(factors, shortest);
  return {
    rope_type: 'longrope',
    short_factor: same,
    long_factor: same,
    attention_factor: 1,
    original_max_position_embeddings: context,
  };
}

// The converter computes in f32: what is not the same is off by some units in the last place.
const isNear = (one: number, other: number): boolean => Math.abs(one / other - 1) < 1e-4;

interface Llama3 {
  readonly factor: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
  readonly original_max_position_embeddings: number;
}

function llama3Factor(rope: Llama3, theta: number, pair: number, pairs: number): number {
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = rope;
  const turns = (original * power(theta, -pair / pairs)) / (2 * Math.PI);
  if (turns > high) return 1;
  if (turns < low) return factor;
  const kept = (turns - low) / (high - low);
  return 1 / ((1 - kept) / factor + kept);
}
