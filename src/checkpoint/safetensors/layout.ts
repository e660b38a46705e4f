// Where every tensor of the output goes, decided before any byte is written. Each starts at a multiple of 8:
//
//   0        8                   8 + length (% 8 = 0)
//   │ length │ {"a":{…},…}␠␠␠    │ a (13 bytes) │ padding.0 (3 bytes, U8) │ b …
//
// The format allows no holes, so the bytes between are tensors too. Same input, same bytes.

import { integer } from '../../check.ts';
import { FormatError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { INDEX_NAME, SINGLE_NAME } from '../checkpoint.ts';
import { byteLengthOf } from './dtype.ts';
import { HEADER_LIMIT } from './header.ts';
import { VALUE_LIMIT } from './json.ts';

/** Data starts at multiples of this many bytes: the widest element, so that any typed array can view it. */
export const ALIGNMENT = 8;

/** A tensor to be written. */
export interface TensorSpec {
  /** As it will stand in the header. */
  readonly name: string;
  /** As safetensors names it. */
  readonly dtype: string;
  /** Its sizes. */
  readonly shape: readonly number[];
  /** Size of its data in bytes. */
  readonly byteLength: number;
}

/** Options of `layOutShards`. Its functions are pure: they are called for every attempt. */
interface ShardOptions {
  /** Largest file in bytes, header included; a group that is larger has a shard of its own. */
  maxShardBytes: number;
  /** The `__metadata__` of a shard that holds the groups from `first` to before `end`; none if left out. */
  metadata?: (index: number, first: number, end: number) => Readonly<Record<string, string>>;
  /** The name of a shard, from its index (from 0) and their count; Hugging Face's names if left out. */
  fileName?: (index: number, count: number) => string;
  /** Tensors that follow the groups of a shard. They should not shrink as groups are added. Their sizes count. */
  trailing?: (index: number, first: number, end: number) => readonly TensorSpec[];
  /** Opens the names of padding tensors, `<prefix>padding.<k>`; `higgs.` if left out. */
  prefix?: string;
  /** Whether tensors are aligned by padding tensors between them; true if left out. */
  align?: boolean;
}

/** A tensor's place in a shard. */
export interface ShardEntry {
  /** The tensor. */
  readonly spec: TensorSpec;
  /** Where its data starts, in bytes from the start of the file. */
  readonly start: number;
  /** Whether it is a padding tensor: `byteLength` zero bytes. */
  readonly padding: boolean;
}

/** One file of the output. */
export interface Shard {
  /** The file's name. */
  readonly fileName: string;
  /** The file's first bytes: the header length, the JSON, spaces to a multiple of 8. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** The groups that it holds: from `first` to before `end`. */
  readonly first: number;
  /** The group after its last. */
  readonly end: number;
  /** In the order of their data, which has no holes. */
  readonly entries: readonly ShardEntry[];
  /** Those of the tensors that follow the groups. */
  readonly trailing: readonly ShardEntry[];
  /** Size of the file in bytes. */
  readonly byteLength: number;
}

/**
 * Lays tensors out in shards, in the order given. A shard takes groups while it fits into `maxShardBytes`, and at
 * least one. Names are unique over all shards, padding included.
 * @param groups tensors that must stay together in one shard, such as a matrix's packed codes and scales
 * @returns at least one shard; one without tensors if `groups` is empty
 * @throws {RangeError} when a header would exceed HEADER_LIMIT or VALUE_LIMIT, or a `byteLength` is not that of dtype and shape
 * @throws {FormatError} when a name occurs twice or is reserved
 */
export function layOutShards(groups: readonly (readonly TensorSpec[])[], options: ShardOptions): Shard[] {
  const { maxShardBytes, metadata, trailing, fileName = shardName, prefix = 'higgs.', align = true } = options;
  integer(1)('maxShardBytes', maxShardBytes);
  for (const group of groups) group.forEach(checkSpec);

  const draftOf = (first: number, end: number, index: number, firstPadding: number, isWhole: boolean): Draft => {
    const draft = startDraft(metadata?.(index, first, end) ?? {}, `${prefix}padding.`, firstPadding, align);
    for (const group of groups.slice(first, end)) for (const spec of group) append(draft, spec);
    if (isWhole && trailing) {
      for (const spec of trailing(index, first, end)) {
        checkSpec(spec);
        draft.trailing.push(append(draft, spec));
      }
    }
    return Object.assign(draft, { first, end });
  };

  const drafts: Draft[] = [];
  let padding = 0;
  for (let from = 0; from < groups.length || drafts.length === 0; ) {
    const index = drafts.length;
    // The groups alone give an upper bound in one pass. What follows them is small: search from there downwards.
    const probe = draftOf(from, from, index, padding, false);
    let high = from;
    while (high < groups.length && sizeOf(probe) <= maxShardBytes) {
      for (const spec of groups[high]) append(probe, spec);
      high++;
    }
    let to = Math.min(from + 1, groups.length); // always taken, and from here on what is known to fit
    let best: Draft | undefined;
    for (let step = 1, middle = high; to < high; ) {
      const draft = draftOf(from, middle, index, padding, true);
      if (sizeOf(draft) <= maxShardBytes) {
        best = draft;
        to = middle;
      } else high = middle - 1;
      middle = best === undefined ? Math.max(to + 1, high + 1 - step) : Math.ceil((to + high) / 2);
      step *= 2;
    }
    best ??= draftOf(from, to, index, padding, true);
    drafts.push(best);
    padding = best.padding;
    from = to;
  }

  const names = drafts.map((_, index) => fileName(index, drafts.length));
  checkNames(drafts, names);
  return drafts.map((draft, index) => finish(draft, names[index]));
}

/**
 * The index of a sharded checkpoint, as Hugging Face writes it: indented by two, keys sorted, padding left out.
 * @param metadata further entries of its `metadata`, beside `total_size` (the tensors' bytes, without padding)
 * @returns the text of `model.safetensors.index.json`, or undefined for one shard, which needs none
 */
export function indexJson(
  shards: readonly Shard[],
  metadata: Readonly<Record<string, string | number>> = {},
): string | undefined {
  if (shards.length <= 1) return undefined;
  let total = 0;
  const weightMap: [string, string][] = [];
  for (const { entries, fileName } of shards) {
    for (const { spec, padding } of entries) {
      if (padding) continue;
      total += spec.byteLength;
      weightMap.push([spec.name, fileName]);
    }
  }
  const about = Object.entries({ ...metadata, total_size: total });
  return `{\n  "metadata": ${objectText(about)},\n  "weight_map": ${objectText(weightMap)}\n}\n`;
}

/** Whether a tensor is one that `layOutShards` put between others, by its name. */
export function isPadding(name: string, prefix = 'higgs.'): boolean {
  return name.startsWith(`${prefix}padding.`) && /^\d+$/.test(name.slice(prefix.length + 8));
}

/** The name of a shard as Hugging Face has it: `model.safetensors`, or `model-00001-of-00007.safetensors`. */
export function shardName(index: number, count: number): string {
  if (count === 1) return SINGLE_NAME;
  return `model-${String(index + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`;
}

// A shard in the making. Offsets in the JSON count from the end of the header, so its text can grow with the data.
interface Draft {
  first: number; // of the groups
  end: number;
  text: string[]; // members of the JSON object
  textBytes: number; // of the object, braces and commas included
  entries: ShardEntry[]; // start counted from the end of the header
  trailing: ShardEntry[]; // of them, those behind the groups
  dataBytes: number;
  values: number; // of the JSON, an object counted as four: what the reader's limit is about
  padding: number; // number of the next padding tensor
  paddingName: string;
  align: boolean;
}

function startDraft(
  metadata: Readonly<Record<string, string>>,
  paddingName: string,
  padding: number,
  align: boolean,
): Draft {
  const keys = Object.keys(metadata).length;
  const draft: Draft = {
    ...{ first: 0, end: 0 },
    ...{ text: [], textBytes: 2, values: 8 + keys },
    ...{ entries: [], trailing: [], dataBytes: 0 },
    ...{ padding, paddingName, align },
  };
  if (keys > 0) addText(draft, `"__metadata__":${JSON.stringify(metadata)}`);
  return draft;
}

function append(draft: Draft, spec: TensorSpec): ShardEntry {
  const over = draft.dataBytes % ALIGNMENT;
  if (draft.align && over > 0) {
    const byteLength = ALIGNMENT - over;
    place(draft, { name: draft.paddingName + draft.padding++, dtype: 'U8', shape: [byteLength], byteLength }, true);
  }
  return place(draft, spec, false);
}

function place(draft: Draft, spec: TensorSpec, padding: boolean): ShardEntry {
  const start = draft.dataBytes;
  const end = start + spec.byteLength;
  const { dtype, shape, name } = spec;
  addText(draft, `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [start, end] })}`);
  draft.values += 9 + shape.length; // object, dtype, shape, two offsets in their array
  const entry = { spec, start, padding };
  draft.entries.push(entry);
  draft.dataBytes = end;
  return entry;
}

function addText(draft: Draft, text: string): void {
  draft.textBytes += utf8ByteLength(text) + (draft.text.length > 0 ? 1 : 0);
  draft.text.push(text);
}

// 8 + the JSON, up to a multiple of 8.
function headerSizeOf({ textBytes }: Draft): number {
  return 8 + Math.ceil(textBytes / ALIGNMENT) * ALIGNMENT;
}

function sizeOf(draft: Draft): number {
  return headerSizeOf(draft) + draft.dataBytes;
}

function finish(draft: Draft, fileName: string): Shard {
  const size = headerSizeOf(draft);
  checkHeader(fileName, size - 8, HEADER_LIMIT, 'bytes');
  checkHeader(fileName, draft.values, VALUE_LIMIT, 'values');
  const header = new Uint8Array(size).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(size - 8), true);
  header.set(new TextEncoder().encode(`{${draft.text.join(',')}}`), 8);
  const { first, end } = draft;
  const moved = (entry: ShardEntry) => ({ ...entry, start: size + entry.start });
  const [entries, trailing] = [draft.entries.map(moved), draft.trailing.map(moved)];
  return { fileName, header, first, end, entries, trailing, byteLength: size + draft.dataBytes };
}

// What is written must be read again.
function checkHeader(fileName: string, count: number, limit: number, subject: string): void {
  if (count <= limit) return;
  const rule = `header of ${fileName} must have at most ${limit} ${subject}`;
  throw new RangeError(`${rule}: it would have ${count}; smaller files have smaller headers`);
}

function checkSpec({ name, dtype, shape, byteLength }: TensorSpec): void {
  const expected = byteLengthOf(dtype, shape); // of a dtype that is known
  if (Number.isSafeInteger(byteLength) && byteLength >= 0 && (expected ?? byteLength) === byteLength) return;
  const subject = `byteLength of ${show(name)}`;
  integer(0)(subject, byteLength);
  throw new RangeError(`${subject} must be the ${expected} bytes of ${dtype} ${show([...shape])}: got ${byteLength}`);
}

function checkNames(drafts: readonly Draft[], fileNames: readonly string[]): void {
  const tensors = new Set<string>();
  const files = new Set<string>([INDEX_NAME]);
  drafts.forEach(({ entries }, index) => {
    const file = fileNames[index];
    if (files.has(file)) throw new FormatError('names of shards must be unique: this one is taken', { file });
    files.add(file);
    for (const { spec } of entries) {
      const tensor = excerpt(spec.name);
      if (spec.name === '__metadata__' || spec.name === '__proto__') {
        throw new FormatError(`name must not be one that headers reserve: got ${show(spec.name)}`, { file, tensor });
      }
      if (tensors.has(spec.name))
        throw new FormatError('name must occur once: another tensor has it', { file, tensor });
      tensors.add(spec.name);
    }
  });
}

// Built by hand: an object of JavaScript moves keys like "7" to the front, and JSON escapes as Python's does.
function objectText(entries: readonly (readonly [string, string | number])[]): string {
  if (entries.length === 0) return '{}';
  const lines = [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `    ${asciiJson(key)}: ${asciiJson(value)}`);
  return `{\n${lines.join(',\n')}\n  }`;
}

function asciiJson(value: string | number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: everything that is not printable ASCII
  return JSON.stringify(value).replace(/[^\x00-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function utf8ByteLength(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    // A surrogate pair is 4 bytes for 2 units; JSON.stringify leaves no lone ones.
    if (c >= 0x80) bytes += c >= 0x800 && (c & 0xf800) !== 0xd800 ? 2 : 1;
  }
  return bytes;
}
