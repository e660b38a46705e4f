// An importance matrix, as llama-imatrix writes it and llama-quantize reads it: for each matrix the sum of squares of its inputs by column,
// and the number of inputs. llama-quantize rounds weights so that columns with large inputs err less. Embeddings and head have none, as
// llama-imatrix leaves them out.

import { type GgufEntry, headerOf, paddingOf } from './header.ts';
import type { Target } from './tensors.ts';

/** Squares of inputs, summed over tokens. */
interface InputSquares {
  /** Tokens of a sequence. */
  readonly tokens: number;
  /** Sequences that were gathered, each of so many tokens. */
  readonly sequences: number;
  /** By the name of a weight, of an expert as if experts stood one by one; undefined where none were gathered. */
  of(name: string): Promise<Float64Array | undefined>;
}

/** A file, and what it has. */
export interface ImportanceFile {
  /** The whole file, a GGUF of type `imatrix`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Names in GGUF of the matrices that have importances. */
  readonly names: ReadonlySet<string>;
}

/** The only type of its tensors. */
const F32 = 0;
const LAYER = /^blk\./;
const FUSED = /^(.*\.experts\.)(gate_up|down)_proj$/;

/** Writes the matrix. @param source what the inputs are of, a word for the reader */
export async function importanceFile(
  targets: readonly Target[],
  squares: InputSquares,
  source: string,
): Promise<ImportanceFile> {
  const entries: (GgufEntry & { readonly values: Float32Array<ArrayBuffer> })[] = [];
  const names = new Set<string>();
  const add = (name: string, shape: readonly number[], values: Float32Array<ArrayBuffer>) =>
    entries.push({ name, shape, type: F32, byteLength: values.byteLength, values });
  for (const target of targets) {
    const { name, cols } = target;
    const sums = await Promise.all(weightsOf(target).map((weight) => squares.of(weight)));
    if (sums.length === 0 || sums.some((own) => own?.length !== cols)) continue;
    const values = new Float32Array(sums.length * cols);
    for (const [i, own] of sums.entries()) values.set(own!, i * cols);
    // An expert that no token reached has no inputs: llama-quantize then weighs its columns alike.
    const counts = sums.map((own) => (own!.some((sum) => sum > 0) ? squares.tokens * squares.sequences : 0));
    add(`${name}.in_sum2`, [sums.length, cols], values);
    add(`${name}.counts`, [sums.length, 1], Float32Array.from(counts));
    names.add(name);
  }
  const pairs = {
    'general.type': 'imatrix',
    'imatrix.datasets': [source],
    'imatrix.chunk_count': { u32: squares.sequences },
    'imatrix.chunk_size': { u32: squares.tokens },
  };
  const header = headerOf(pairs, entries);
  const length = entries.reduce((sum, { byteLength }) => sum + byteLength + paddingOf(byteLength), header.length);
  const bytes = new Uint8Array(length);
  bytes.set(header);
  let at = header.length;
  for (const { values, byteLength } of entries) {
    bytes.set(new Uint8Array(values.buffer), at);
    at += byteLength + paddingOf(byteLength);
  }
  return { bytes, names };
}

// The weights that a target has rows of, one for each of its matrices; none where its rows are not theirs, as those of latent attention.
function weightsOf({ name, shape, parts, isWide }: Target): string[] {
  if (isWide || !LAYER.test(name)) return [];
  if (shape.length === 2 || parts.length === shape[0]) return parts.map((part) => part.name);
  const [, stack] = FUSED.exec(parts[0].name) ?? [];
  const [, kind] = /\.ffn_(gate|up|down)_exps\./.exec(name) ?? [];
  if (stack === undefined || kind === undefined) return [];
  return Array.from({ length: shape[0] }, (_, expert) => `${stack}${expert}.${kind}_proj.weight`);
}
