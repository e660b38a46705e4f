// Experts as config.json and tensor names tell of them: what the families that have them share.

import type { ExpertSpec, ExpertsSpec, LinearSpec, Routing } from './architecture.ts';
import { CONFIG_LIMITS, type Fields } from './config.ts';
import { activationOf } from './llama.ts';

/** What tells the families apart. */
interface ExpertTraits {
  /** How many experts, and of what width. */
  readonly count: number;
  readonly hidden: number;
  readonly routing: Routing;
  /** Whether the router has a correction of its scores, and whether as a row of a matrix. */
  readonly isCorrected?: boolean | 'row';
  /** The expert that all tokens go to: its name, its width, whether it is weighed by a gate of its own. */
  readonly shared?:
    | { readonly name: string; readonly hidden: number; readonly bias?: boolean; readonly isGated?: boolean }
    | undefined;
  /** Names in the layer, where they are not those of most families. */
  readonly names?: Partial<typeof USUAL>;
}

const USUAL = {
  path: 'mlp',
  ...{ gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  /** Where stacks are, in newer files. */
  stacks: 'mlp',
  norm: 'post_attention_layernorm',
  correction: 'gate.e_score_correction_bias',
};

/** The experts block of a layer. @param layer path of its tensors */
export function expertsAt(fields: Fields, layer: string, traits: ExpertTraits): ExpertsSpec {
  const { count, hidden, routing, isCorrected = false, shared } = traits;
  const names = { ...USUAL, ...traits.names };
  const dim = fields.integer('hidden_size', 1, CONFIG_LIMITS.dim);
  const path = `${layer}.${names.path}`;
  const linear = (name: string, rows: number, cols: number, bias = false): LinearSpec => ({ name, rows, cols, bias });
  const mlp = (
    prefix: string,
    width: number,
    naming: typeof USUAL,
    bias = false,
  ): ExpertSpec & { readonly up: LinearSpec } => ({
    gate: linear(`${prefix}.${naming.gate}`, width, dim, bias),
    up: linear(`${prefix}.${naming.up}`, width, dim, bias),
    down: linear(`${prefix}.${naming.down}`, dim, width, bias),
  });
  // In stacks gate's rows stand before up's.
  const stacks = `${layer}.${names.stacks}`;
  const gateUp = { name: `${stacks}.experts.gate_up_proj`, shape: [count, 2 * hidden, dim] } as const;
  const down = { name: `${stacks}.experts.down_proj`, shape: [count, dim, hidden] } as const;
  return {
    kind: 'experts',
    norm: { name: `${layer}.${names.norm}.weight`, plus: 0 },
    router: { ...linear(`${path}.gate`, count, dim), alias: `${stacks}.gate` },
    correction: isCorrected
      ? { name: `${path}.${names.correction}`, shape: isCorrected === 'row' ? [1, count] : [count] }
      : undefined,
    routing,
    experts: Array.from({ length: count }, (_, e) => {
      const expert = mlp(`${path}.experts.${e}`, hidden, names);
      return {
        gate: { ...expert.gate, stack: { ...gateUp, first: 2 * hidden * e } },
        up: { ...expert.up, stack: { ...gateUp, first: 2 * hidden * e + hidden } },
        down: { ...expert.down, stack: { ...down, first: dim * e } },
      };
    }),
    shared: shared && mlp(`${path}.${shared.name}`, shared.hidden, USUAL, shared.bias),
    sharedGate: shared?.isGated ? linear(`${path}.${shared.name}_gate`, 1, dim) : undefined,
    activation: activationOf(fields, 'hidden_act', 'silu'),
  };
}

/** How many experts there are. @param keys members that may say so */
export function expertCount(fields: Fields, keys: readonly string[], otherwise: number): number {
  const key = keys.find((candidate) => fields.has(candidate)) ?? keys[0];
  return fields.integer(key, 1, CONFIG_LIMITS.experts, otherwise);
}

/** Experts by softmax, the best `num_experts_per_tok` of all. */
export function softmaxRouting(fields: Fields, count: number, top: number, normalize: boolean): Routing {
  return checkRouting(fields, count, {
    ...{ sigmoid: false, groups: 1, taken: 1, two: false, factor: 1, normalize },
    top: fields.integer('num_experts_per_tok', 1, CONFIG_LIMITS.experts, top),
  });
}

/**
 * Experts by sigmoid with a correction, in the groups that hold the two best: DeepSeek-V3 and GLM-4-MoE.
 * @param otherwise what config.json does not say
 */
export function groupRouting(
  fields: Fields,
  count: number,
  otherwise: {
    readonly groups: number;
    readonly taken: number;
    readonly top?: number;
    readonly factor: number;
    readonly normalize?: boolean;
  },
): Routing {
  return checkRouting(fields, count, {
    ...{ sigmoid: true, two: true },
    top: fields.integer('num_experts_per_tok', 1, CONFIG_LIMITS.experts, otherwise.top ?? 8),
    groups: fields.integer('n_group', 1, CONFIG_LIMITS.experts, otherwise.groups),
    taken: fields.integer('topk_group', 1, CONFIG_LIMITS.experts, otherwise.taken),
    normalize: fields.flag('norm_topk_prob') ?? otherwise.normalize ?? true,
    factor: fields.number('routed_scaling_factor', 0, 1e6, otherwise.factor),
  });
}

/**
 * @param key member that says how many experts a token goes to
 * @throws {FormatError} when there are fewer experts than that, or groups do not divide them
 */
export function checkRouting(fields: Fields, count: number, routing: Routing, key = 'num_experts_per_tok'): Routing {
  const { top, groups, taken } = routing;
  if (count % groups !== 0) fields.fail(`n_group must divide the number of experts: got ${groups} and ${count}`);
  if (taken > groups) fields.fail(`topk_group must be at most n_group: got ${taken} and ${groups}`);
  const reach = (count / groups) * taken;
  if (top > reach) fields.fail(`${key} must be at most the ${reach} experts in reach: got ${top}`);
  return routing;
}
