// A checkpoint as one GGUF file that llama.cpp loads: metadata, tokenizer and tensors, streaming, whatever the model's size. A quantized
// checkpoint is dequantized as it is read.

import type { OpenFolder } from '../../checkpoint/checkpoint.ts';
import { ARCHITECTURES, kindOf } from '../../checkpoint/gguf/architectures.ts';
import { valuesOf } from '../../checkpoint/gguf/values.ts';
import { FormatError, UnsupportedError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import { readConfig } from '../../families/config.ts';
import { readArchitecture } from '../../families/family.ts';
import { isQuantized, openQuantized } from '../../quantize/format.ts';
import { inOrder, untilLast } from '../../quantize/pipeline.ts';
import { abortOnError } from '../../quantize/writer.ts';
import type { Folder, Sink } from '../../source/source.ts';
import { readJson, readText } from '../../text/files.ts';
import type { Pool } from '../../workers/pool.ts';
import { CODES, firstTooLarge, type WrittenDtype } from './codes.ts';
import { type GgufEntry, headerOf, type Metadata, paddingOf } from './header.ts';
import type { MixtureModel } from './mixtures.ts';
import { attentionOf, cutsOf, type Described, modelPairs } from './model.ts';
import { ropeTensors } from './rope.ts';
import { rowsOf, type Target, targetsOf } from './tensors.ts';
import { untold } from './told.ts';
import { bareIds, tokenizerPairs } from './vocabulary.ts';
import { type ExportedWeights, plainWeights, quantizedWeights } from './weights.ts';

/** Weights of a block: what is in memory at once is some of them. */
const BLOCK_WEIGHTS = 1 << 20;
/** Version of the codes' layout, which readers ask for. */
const QUANTIZATION_VERSION = 2;

/** How far an export is. */
interface ExportProgress {
  /** The tensor at work. */
  tensor: string;
  bytesDone: number;
  bytes: number;
}

interface ExportOptions {
  readonly pool: Pool;
  /** Of matrices; that of most of the weights if left out, F16 if they are quantized. */
  readonly dtype?: WrittenDtype | undefined;
  /** Called often, with the same object. */
  readonly onProgress?: (progress: ExportProgress) => void;
  readonly signal?: AbortSignal;
}

/** A file that is laid out, and can be written. */
export interface GgufLayout {
  /** All bytes before the data. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Of the matrices. */
  readonly dtype: WrittenDtype;
  /** In the order of the file. */
  readonly tensors: readonly (GgufEntry & { readonly target: Target; readonly dtype: WrittenDtype })[];
  /** Of the whole file. */
  readonly byteLength: number;
  /** What llama-quantize's mixtures go by. */
  readonly mixed: MixtureModel;
  /** What llama.cpp will not know of the model, in words. */
  readonly remarks: readonly string[];
}

/**
 * Lays the file out; reads headers, configuration and tokenizer alone.
 * @throws {UnsupportedError} when llama.cpp has no word for the family, a tensor, the tokenizer or what config.json says; names it
 * @throws {FormatError} when a file is faulty
 * @param options.pool dequantizes; without one a quantized checkpoint is refused
 */
export async function layOutGguf(
  folder: OpenFolder,
  options: Pick<ExportOptions, 'dtype'> & { readonly pool?: Pool },
): Promise<GgufLayout> {
  const weights = await weightsIn(folder, options.pool);
  const model = await describe(folder);
  const hasHead = weights.some(({ name }) => name === 'lm_head.weight');
  const targets = targetsOf(weights, model.kind, cutsOf(model, !hasHead));
  const ropes = ropeTensors(model);
  const dtype = options.dtype ?? usualDtype(weights);
  const tensors = [...[...ropes].map(([name, values]) => constant(name, values)), ...targets].map((target) =>
    entryOf(target, dtype),
  );
  const embedding = targets.find(({ name }) => name === 'token_embd.weight');
  if (!embedding)
    throw new FormatError('checkpoint must hold the token embeddings: model.embed_tokens.weight is missing', {
      file: folder.name,
    });
  const [rows] = embedding.shape;
  const pairs: Metadata = {
    'general.architecture': model.name,
    'general.type': 'model',
    'general.name': folder.name.replace(/.*[\\/](?=.)|[\\/]$/g, ''),
    'general.file_type': { u32: CODES[dtype].fileType },
    'general.quantization_version': { u32: QUANTIZATION_VERSION },
    ...modelPairs(model, rows),
    ...(await tokenizer(folder, model, rows)),
  };
  const header = headerOf(pairs, tensors);
  const byteLength = tensors.reduce((sum, { byteLength }) => sum + byteLength + paddingOf(byteLength), header.length);
  return {
    header,
    dtype,
    tensors,
    byteLength,
    mixed: mixedOf(model, targets),
    remarks: untold(model, header, byteLength, ropes),
  };
}

/**
 * Writes the file, and closes the sink.
 * @throws {FormatError} when a weight has no finite F16
 */
export async function writeGguf(
  layout: GgufLayout,
  sink: Sink,
  { pool, onProgress, signal }: ExportOptions,
): Promise<void> {
  const progress: ExportProgress = { tensor: '', bytesDone: 0, bytes: layout.byteLength };
  const blocks = inOrder(tasks(layout), pool.size + 1);
  try {
    await abortOnError(sink, async () => {
      await sink.write(layout.header);
      progress.bytesDone = layout.header.length;
      for (const { name } of layout.tensors) {
        progress.tensor = name;
        for await (const { bytes } of untilLast(blocks, signal)) {
          await sink.write(bytes);
          progress.bytesDone += bytes.length;
          onProgress?.(progress);
        }
      }
      await sink.close();
    });
  } finally {
    await blocks.return();
  }
}

async function weightsIn({ checkpoint, name }: OpenFolder, pool: Pool | undefined): Promise<ExportedWeights[]> {
  if (!isQuantized(checkpoint)) {
    return checkpoint.tensors.filter(({ name }) => !/_scale_inv$/.test(name)).map(plainWeights);
  }
  if (pool) return quantizedWeights(await openQuantized(checkpoint), pool);
  const message = 'weights must not be quantized yet: they are, by higgs-wasm; give the original';
  throw new UnsupportedError('quantized checkpoint', message, { file: name });
}

async function describe(folder: OpenFolder): Promise<Described> {
  const fields = await readConfig(folder);
  const architecture = await readArchitecture(folder);
  const { family } = architecture;
  const name = Object.hasOwn(ARCHITECTURES, family) ? ARCHITECTURES[family] : undefined;
  if (name === undefined || fields.has('text_config')) {
    const what = name === undefined ? family : `${family} within a larger model`;
    const message = `family must be one of ${Object.keys(ARCHITECTURES).join(', ')}, by itself: it is ${what}`;
    throw new UnsupportedError(`GGUF of ${what}`, message, { file: fields.file });
  }
  const hasExperts = architecture.layers.flat().some(({ kind }) => kind === 'experts');
  const isSigmoid = architecture.layers.flat().some((block) => block.kind === 'experts' && block.routing.sigmoid);
  const block = attentionOf(architecture);
  const slides =
    block?.kind === 'attention' && architecture.layers.flat().some((b) => b.kind === 'attention' && b.window > 0);
  // As many pairs as tell families of one name apart.
  const pairs = new Map<string, string | number>([
    ['general.architecture', name],
    [`${name}.expert_count`, hasExperts ? 1 : 0],
    [`${name}.expert_gating_func`, isSigmoid ? 2 : 1],
    [`${name}.attention.sliding_window`, slides ? 1 : 0],
  ]);
  const told = {
    values: valuesOf(pairs, fields.file),
    layers: architecture.layers.length,
    shapeOf: () => undefined,
    ropes: {},
  };
  return { kind: kindOf(told), name, fields, architecture };
}

async function tokenizer(folder: Folder, { architecture }: Described, rows: number): Promise<Metadata> {
  const content = await readJson(folder, 'tokenizer.json');
  if (!content) return bareIds(architecture);
  const files = {
    content,
    file: `${folder.name}/tokenizer.json`,
    config: (await readJson(folder, 'tokenizer_config.json')) ?? {},
    template: await readText(folder, 'chat_template.jinja'),
  };
  return tokenizerPairs(files, architecture.family, rows, architecture);
}

function mixedOf({ name, architecture }: Described, targets: readonly Target[]): MixtureModel {
  const block = attentionOf(architecture);
  const experts = architecture.layers.flat().find((block) => block.kind === 'experts');
  return {
    architecture: name,
    layers: architecture.layers.length,
    grouping: block?.kind === 'attention' ? block.heads / block.kvHeads : (block?.heads ?? 1),
    experts: experts?.kind === 'experts' ? experts.experts.length : 0,
    tied: !targets.some(({ name }) => name === 'output.weight'),
  };
}

// The dtype of most of the weights.
function usualDtype(weights: readonly ExportedWeights[]): WrittenDtype {
  const counts = new Map<string, number>();
  for (const { dtype, shape, isQuantized } of weights) {
    const key = isQuantized ? 'F16' : dtype;
    counts.set(key, (counts.get(key) ?? 0) + shape.reduce((product, size) => product * size, 1));
  }
  const [[most]] = [...counts].sort(([, a], [, b]) => b - a);
  return most as WrittenDtype;
}

function constant(name: string, values: Float32Array<ArrayBuffer>): Target {
  const shape = [values.length];
  return { name, shape, isWide: true, unit: 1, cols: values.length, parts: [], read: async () => values };
}

// Rows that are no whole blocks are in F16, as llama.cpp's converter has them.
function entryOf(target: Target, wanted: WrittenDtype): GgufLayout['tensors'][number] {
  const { name, shape, isWide, cols } = target;
  const dtype = isWide ? 'F32' : cols % CODES[wanted].weights === 0 ? wanted : 'F16';
  const { type, weights, bytes } = CODES[dtype];
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, shape, type, byteLength: (count / weights) * bytes, target, dtype };
}

interface Written {
  readonly bytes: Uint8Array;
  readonly isLast: boolean;
}

function* tasks({ tensors }: GgufLayout): Generator<() => Promise<Written>> {
  for (const { target, dtype, byteLength } of tensors) {
    const rows = target.shape.length === 1 ? 1 : rowsOf(target);
    const { unit, cols } = target;
    const step = unit * Math.max(1, Math.floor(BLOCK_WEIGHTS / cols / unit));
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first);
      const isLast = first + count === rows;
      yield async () => {
        const weights = await target.read(first, count);
        if (dtype === 'F16' || dtype === 'Q8_0') checkNarrow(target, weights);
        const bytes = CODES[dtype].encode(weights);
        return { bytes: isLast ? padded(bytes, paddingOf(byteLength)) : bytes, isLast };
      };
    }
  }
}

function padded(bytes: Uint8Array, count: number): Uint8Array {
  if (count === 0) return bytes;
  const whole = new Uint8Array(bytes.length + count);
  whole.set(bytes);
  return whole;
}

function checkNarrow({ name, parts }: Target, weights: Float32Array): void {
  const weight = firstTooLarge(weights);
  if (weight === undefined) return;
  const [first] = parts;
  const message = `weights must fit F16: one is ${show(weight)}; give --dtype bf16`;
  throw new FormatError(message, { ...(first && { file: first.file }), tensor: first?.name ?? name });
}
