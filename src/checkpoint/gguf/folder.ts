// A model in GGUF, one file or the parts of one, as a folder with a checkpoint: its tensors under the names of its family, and the files that
// stand beside safetensors, made of its metadata. Whoever reads a folder knows nothing of GGUF.

import { show } from '../../excerpt.ts';
import { readOnce } from '../../source/once.ts';
import type { Folder, Source } from '../../source/source.ts';
import type { Checkpoint, OpenFolder } from '../checkpoint.ts';
import { sliceExactly } from '../safetensors/file.ts';
import type { CheckpointFile } from '../tensor.ts';
import { configOf, kindOf, type ModelFacts } from './architectures.ts';
import { decodeBlocks } from './blocks.ts';
import { generationOf, tokenizerOf } from './describe.ts';
import { parseGgufHeader } from './header.ts';
import { modelFiles } from './parts.ts';
import type { RopeTensors } from './rope.ts';
import { type GgufFile, ggufTensors } from './tensors.ts';
import { type Values, valuesOf } from './values.ts';

/** Bytes that are read first: the header of a model of a small vocabulary. */
const FIRST_BYTES = 1 << 20;
/** Most layers, and most heads: several times those of any model. */
const COUNT_LIMIT = 1 << 10;
/** Most text of a pair that goes along as metadata. */
const NOTE_CHARACTERS = 1024;

/**
 * Opens the model in a folder.
 * @param gather makes a checkpoint of files
 * @throws {FormatError} when there are several, parts are missing, or a header is faulty
 * @throws {UnsupportedError} when its architecture, a code of its weights or its tokenizer is not handled
 */
export async function openGguf(
  folder: Folder,
  gather: (folder: string, files: readonly CheckpointFile[]) => Checkpoint,
): Promise<OpenFolder> {
  const names = modelFiles(await folder.list(), folder.name);
  const opened = await Promise.all(names.map(async (name) => openFile(await folder.open(name), pathIn(folder, name))));
  const [{ pairs, file }] = opened;
  const values = valuesOf(pairs, file);
  const layers = within(values, 'layers', values.integer('block_count') - values.integer('nextn_predict_layers', 0));
  const byName = new Map(
    opened.flatMap((part) => part.tensors.map((tensor) => [tensor.name, { own: part, tensor }] as const)),
  );
  const factors = async (name: string) => {
    const entry = byName.get(name);
    if (!entry) return undefined;
    const { start, end, code } = entry.tensor;
    return decodeBlocks(await sliceExactly(entry.own.source, entry.own.file, start, end), code);
  };
  const ropes: RopeTensors = {
    all: await factors('rope_freqs.weight'),
    short: await factors('rope_factors_short.weight'),
    long: await factors('rope_factors_long.weight'),
  };
  const facts: ModelFacts = { values, layers, ropes, shapeOf: (name) => byName.get(name)?.tensor.shape };
  const kind = kindOf(facts);
  const config = configOf(facts, kind);
  const heads = within(values, 'attention.head_count', config.num_attention_heads);
  const kvHeads = within(values, 'attention.head_count_kv', config.num_key_value_heads);
  const tensors = ggufTensors(opened, kind, values, { heads, kvHeads, layers });
  const metadata = notesOf(values);
  const files = opened.map(({ file, source, dataStart }, i) => ({
    file,
    source,
    dataStart,
    tensors: tensors[i],
    metadata,
  }));
  const vocabSize = Number(config.vocab_size);
  const sideFiles: Readonly<Record<string, unknown>> = {
    ...tokenizerOf(values),
    ...generationOf(values, vocabSize),
    'config.json': { ...config, ...endsOf(values, vocabSize) },
  };
  const contents = new Map(Object.entries(sideFiles).map(([name, content]) => [name, bufferOf(name, content)]));
  const view = readOnce({
    name: folder.name,
    list: async () => [...new Set([...(await folder.list()), ...contents.keys()])].sort(),
    open: async (name) => contents.get(name) ?? folder.open(name),
    ...(folder.unchanged && { unchanged: () => folder.unchanged!() }),
  });
  return Object.assign(view, { checkpoint: gather(folder.name, files) });
}

// Counts that a table is made of, or rows are cut by.
function within({ fail }: Values, subject: string, value: unknown): number {
  if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= COUNT_LIMIT) return value as number;
  return fail(`${subject} must be from 1 to ${COUNT_LIMIT}: got ${show(value)}`);
}

function pathIn({ name }: Folder, file: string): string {
  return name === '' ? file : `${name.replace(/\/+$/, '')}/${file}`;
}

// Twice as much is read until the header is whole.
async function openFile(source: Source, file: string): Promise<GgufFile & { pairs: Parameters<typeof valuesOf>[0] }> {
  const { byteLength } = source;
  for (let length = Math.min(FIRST_BYTES, byteLength); ; length = Math.min(2 * length, byteLength)) {
    const bytes = new Uint8Array(await sliceExactly(source, file, 0, length));
    const header = parseGgufHeader(bytes, file, byteLength);
    if (header) return { file, source, ...header };
  }
}

// Ids that config.json has of its own, where the tokenizer's file may be missing.
function endsOf(values: Values, vocabSize: number): Record<string, number> {
  const ids = { bos_token_id: 'bos_token_id', eos_token_id: 'eos_token_id', pad_token_id: 'padding_token_id' };
  return Object.fromEntries(
    Object.entries(ids).flatMap(([name, key]) => {
      const id = values.integer(`tokenizer.ggml.${key}`, undefined);
      return id === undefined || id < 0 || id >= vocabSize ? [] : [[name, id]];
    }),
  );
}

// What the file says of where it is from, and under which licence.
function notesOf({ all }: Values): ReadonlyMap<string, string> {
  const notes = new Map<string, string>();
  for (const [key, value] of all) {
    if (key.startsWith('general.') && typeof value === 'string' && value.length <= NOTE_CHARACTERS)
      notes.set(key, value);
  }
  return notes;
}

function bufferOf(name: string, content: unknown): ArrayBuffer {
  const indent = name === 'tokenizer.json' ? 0 : 2; // a vocabulary, a token a line
  const text = typeof content === 'string' ? content : JSON.stringify(content, null, indent);
  return new TextEncoder().encode(`${text}\n`).buffer;
}
