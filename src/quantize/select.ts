// Which tensors of a checkpoint are quantized: the linear weights, told by rank, dtype and name.

import { dtypeBits } from '../checkpoint/safetensors/dtype.ts';
import type { CheckpointTensor } from '../checkpoint/tensor.ts';
import type { Grid } from '../grids/grid.ts';
import type { WeightDtype } from '../kernels/operands.ts';
import { quantizedBytes, type Scheme } from './scheme.ts';

/** What a user says about which tensors to quantize. */
export interface Selection {
  /** The scheme of linear weights. */
  scheme: Scheme;
  /** Also quantize token embeddings and the output head, with this grid. */
  embeddings?: Grid | undefined;
  /** Quantize the tensors whose names match, instead of those that the names tell to be linear weights. */
  include?: RegExp | undefined;
  /** Never quantize the tensors whose names match. */
  exclude?: RegExp | undefined;
  /** Quantize these tensors, each by its scheme, and no others. */
  plan?: ReadonlyMap<string, Scheme> | undefined;
}

/** A tensor's scheme, or why it passes through; `unknown` is the dtype of a weight that neither can be done with. */
type Treatment = { scheme: Scheme } | { reason: string } | { unknown: string };

/** Widest row that is quantized: rows are worked on whole, so wider ones would take much memory. No model has them. */
const COLS_LIMIT = 1 << 20;

/** Dtypes that are quantized. */
export const FLOATS: readonly string[] = ['F32', 'F16', 'BF16', 'F8_E4M3'] satisfies WeightDtype[];

// Names as model families write them: Llama, Qwen, Mistral, Gemma, DeepSeek, GPT-2, GPT-NeoX, Falcon, BERT, T5, Mamba.
const TOKEN_EMBEDDING =
  /(^|\.)(embed_tokens(_per_layer)?|tok_embeddings|word_embeddings|token_embd|wte|embed_in|shared)\.weight$/;
const HEAD = /(^|\.)(lm_head|embed_out|output|shared_head\.head)\.weight$/;
const OTHER_EMBEDDING = /(embed|(^|\.)wpe\.|relative_attention_bias|(^|\.)pos_)/i;
const ROUTER = /(^|\.)(gate|router|shared_expert_gate)\.weight$|(^|\.)router\./;
// How fast the delta rule forgets, and how much it learns: a row a head.
const DELTA_GATES = /(^|\.)linear_attn\.in_proj_(a|b|ba)\.weight$/;
const NOT_LINEAR = /(^|[._])(bias|norm|layernorm|ln_\w+|conv\w*|A_log|rotary_emb|inv_freq)($|[._])/;
// Parts of larger models that read or draw images and sounds: small beside the text model, and spoilt first.
const OTHER_PART =
  /(^|\.)(vision_\w+|visual|image_\w+|audio_\w+|speech_\w+|multi_modal_projector|mm_projector|patch_merger|embed_(vision|audio))\./;
// Factors of another tensor: quantized along with it or not at all, whatever `include` matches.
const FACTORS = /(^|[._])(q?scales?|scale_inv|qzeros|zeros|zero_point|absmax)$/;
const EXPERTS = /(^|[._])experts?([._]|$)/;
// Named as a weight; what has another name may be anything.
const WEIGHT = /(^|\.)weight$|(^|[._])(experts?|linear|dense|\w*proj|fc\d*|w[qkvo1-3])([._]\w*)?$/;

/** Rows and columns of a tensor: the last dimension is cols, the ones before it are rows. */
export function matrixShape(shape: readonly number[]): { rows: number; cols: number } {
  const cols = shape.at(-1) ?? 1;
  return { rows: shape.slice(0, -1).reduce((product, size) => product * size, 1), cols };
}

/** Whether a tensor is a token embedding or the output head, by its name. */
export function isEmbedding(name: string): boolean {
  return TOKEN_EMBEDDING.test(name) || HEAD.test(name);
}

/** The name of an expert's tensor with `*` for the expert: those of one layer and kind share it. */
export function stackOf(name: string): string {
  return name.replace(/(experts?\.)\d+\./, '$1*.');
}

/** Decides for one tensor. A quantized tensor is always smaller than the original. */
export function choose(tensor: CheckpointTensor, selection: Selection): Treatment {
  const { scheme, embeddings, include, exclude, plan } = selection;
  const { name, dtype, shape } = tensor;
  if (shape.length !== 2 && shape.length !== 3) return { reason: `rank ${shape.length}` };
  const isFloat = FLOATS.includes(dtype);
  if (!isFloat && dtypeBits(dtype) !== undefined) return { reason: `dtype ${dtype}` };
  const { rows, cols } = matrixShape(shape);
  if (rows * cols === 0) return { reason: 'empty' };
  if (FACTORS.test(name)) return { reason: 'scales of another tensor' };
  if (exclude?.test(name)) return { reason: 'excluded' };

  const planned = plan?.get(name);
  const chosen = planned ?? (isEmbedding(name) && embeddings ? { ...scheme, grid: embeddings } : scheme);
  if (plan) {
    if (!planned) return { reason: 'not in the plan' };
  } else if (include) {
    if (!include.test(name) && chosen === scheme) return { reason: 'not included' };
  } else if (chosen === scheme) {
    const reason = notLinear(name, shape.length);
    if (reason) return { reason };
  }
  if (!isFloat) return { unknown: dtype };
  if (cols > COLS_LIMIT) return { reason: `more than ${COLS_LIMIT} columns` };
  const { packed, scales } = quantizedBytes(rows, cols, chosen);
  return packed + scales < tensor.byteLength ? { scheme: chosen } : { reason: 'would not shrink' };
}

function notLinear(name: string, rank: number): string | undefined {
  if (HEAD.test(name)) return 'output head';
  if (OTHER_PART.test(name)) return 'not of the text model';
  if (TOKEN_EMBEDDING.test(name) || OTHER_EMBEDDING.test(name)) return 'embedding';
  if (ROUTER.test(name)) return 'router';
  if (DELTA_GATES.test(name)) return 'gates of the delta rule';
  if (NOT_LINEAR.test(name)) return 'not a linear weight';
  if (rank === 3 && !EXPERTS.test(name)) return 'rank 3, not experts';
  if (!WEIGHT.test(name)) return 'not named as a weight';
  return undefined;
}

/** The patterns of options, without a memory: one with the flags g or y remembers where it matched last. */
export function patternsOf({ include, exclude }: { include?: RegExp | undefined; exclude?: RegExp | undefined }) {
  return { include: include && stateless(include), exclude: exclude && stateless(exclude) };
}

/** A regular expression that begins anew at every test. */
export function stateless({ source, flags }: RegExp): RegExp {
  return new RegExp(source, flags.replace(/[gy]/g, ''));
}
