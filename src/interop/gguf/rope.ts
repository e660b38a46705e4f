// Rotary positions as GGUF has them: metadata, and for each pair a factor that divides its frequency. checkpoint/gguf/rope.ts reads both.

import type { Architecture, AttentionSpec, LatentSpec } from '../../families/architecture.ts';
import type { Fields } from '../../families/config.ts';
import { ropeFields as configOf, frequencies, type Rope } from '../../families/rope.ts';
import type { Metadata, TypedValue } from './header.ts';

/** What of a model it takes. */
interface Roped {
  readonly kind: { readonly type: string };
  readonly fields: Fields;
  readonly architecture: Architecture;
}

const u32 = (value: number): TypedValue => ({ u32: value });
const f32 = (value: number): TypedValue => ({ f32: value });

/** The ropes of layers that see all, and of those that slide, if the model has such. */
function ropesOf({ layers }: Architecture): { full: Rope | undefined; sliding: Rope | undefined } {
  const blocks = layers
    .flat()
    .filter((block): block is AttentionSpec | LatentSpec => block.kind === 'attention' || block.kind === 'latent');
  const turned = blocks.filter(({ rope }) => rope !== undefined);
  const slides = (block: AttentionSpec | LatentSpec) => block.kind === 'attention' && block.window > 0;
  const full = turned.find((block) => !slides(block)) ?? turned[0];
  return { full: full?.rope, sliding: turned.find(slides)?.rope };
}

// The object of config.json that tells of layers that see all.
function ownOf(fields: Fields): Fields {
  const given = configOf(fields);
  return given.object('full_attention') ?? given;
}

/** Keys behind the architecture's name. */
export function ropePairs({ kind, fields, architecture }: Roped): Metadata {
  const { full, sliding } = ropesOf(architecture);
  if (!full) return {};
  return {
    'rope.freq_base': f32(full.theta),
    'rope.dimension_count': u32(full.elements),
    ...(kind.type === 'gemma3_text' && sliding && { 'rope.freq_base_swa': f32(sliding.theta) }),
    ...scaling(kind.type, fields, architecture, full),
  };
}

function scaling(type: string, fields: Fields, { contextLength }: Architecture, rope: Rope): Metadata {
  const ropeFields = ownOf(fields);
  if (rope.scaling.type === 'linear') {
    return { 'rope.scaling.type': 'linear', 'rope.scaling.factor': f32(rope.scaling.factor) };
  }
  const told = fields.has('original_max_position_embeddings') ? fields : ropeFields;
  const original = told.integer('original_max_position_embeddings', 1, 2 ** 31, contextLength);
  if (rope.scaling.type === 'longrope') {
    return {
      'rope.scaling.original_context_length': u32(rope.scaling.original),
      'rope.scaling.attn_factor': f32(rope.factor),
    };
  }
  if (rope.scaling.type !== 'yarn') return {};
  const times = ropeFields.has('mscale_all_dim') ? ropeFields.number('mscale_all_dim', 0, 1e6) : undefined;
  const optional = { attention_factor: 'yarn_attn_factor', beta_fast: 'yarn_beta_fast', beta_slow: 'yarn_beta_slow' };
  const given = Object.entries(optional).filter(([name]) => ropeFields.has(name));
  return {
    'rope.scaling.type': 'yarn',
    'rope.scaling.factor': f32(rope.scaling.factor),
    'rope.scaling.original_context_length': u32(original),
    ...Object.fromEntries(given.map(([name, key]) => [`rope.scaling.${key}`, f32(ropeFields.number(name, 0, 1e6))])),
    // DeepSeek's is a tenth of it, in f64, as the converter has it.
    ...(times !== undefined && type.startsWith('deepseek') && { 'rope.scaling.yarn_log_multiplier': f32(0.1 * times) }),
    ...(times !== undefined && type === 'ministral3' && { 'rope.scaling.yarn_log_multiplier': f32(times) }),
    ...(ropeFields.has('llama_4_scaling_beta') && {
      'attention.temperature_scale': f32(ropeFields.number('llama_4_scaling_beta', 0, 1e6)),
    }),
  };
}

/** Tensors of factors by name, (elements / 2) each. */
export function ropeTensors({ architecture }: Roped): Map<string, Float32Array<ArrayBuffer>> {
  const { full } = ropesOf(architecture);
  const scaling = full?.scaling;
  if (scaling?.type === 'longrope') {
    return new Map([
      ['rope_factors_long.weight', Float32Array.from(scaling.long)],
      ['rope_factors_short.weight', Float32Array.from(scaling.short)],
    ]);
  }
  if (!full || scaling?.type !== 'llama3') return new Map();
  const plain = frequencies({ ...full, scaling: { type: 'default' } }, 1);
  const scaled = frequencies(full, 1);
  return new Map([['rope_freqs.weight', Float32Array.from(plain, (frequency, i) => frequency / scaled[i])]]);
}
