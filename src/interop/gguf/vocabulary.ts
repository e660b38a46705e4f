// A tokenizer as GGUF's metadata has it, made of tokenizer.json. checkpoint/gguf/describe.ts goes the other way, and says what the two
// kinds of vocabulary are. SentencePiece's scores are where a piece first stands in the list of merges: llama.cpp merges by them alone.

import { PRETOKENIZERS } from '../../checkpoint/gguf/pretokenizers.ts';
import type { JsonObject } from '../../checkpoint/gguf/values.ts';
import { UnsupportedError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { isRecord } from '../../text/files.ts';
import { createTokenizer } from '../../text/tokenizer.ts';
import type { Metadata, TypedValue } from './header.ts';

/** The files of a tokenizer. */
interface TokenizerFiles {
  /** tokenizer.json's content, and its name for messages. */
  readonly content: JsonObject;
  readonly file: string;
  /** tokenizer_config.json's. */
  readonly config: JsonObject;
  /** chat_template.jinja, which goes before the template of tokenizer_config.json. */
  readonly template: string | undefined;
}

/** What config.json says of ids. */
interface Ids {
  readonly bos: number | undefined;
  readonly eos: readonly number[];
}

/** Kinds of tokens, by their numbers in the file. */
const [NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6];
/** Of pieces that nothing merges into: below all others. */
const NEVER = -1e9;

/**
 * The metadata of the tokenizer.
 * @param family as `model_type` names it
 * @param rows of the embedding: the vocabulary is filled up to them
 * @throws {UnsupportedError} when llama.cpp cannot cut texts so; names what it has no word for
 */
export function tokenizerPairs(files: TokenizerFiles, family: string, rows: number, ids: Ids): Metadata {
  const { content, config, file } = files;
  const tokenizer = createTokenizer(content, config, file); // checks it
  const model = content.model as JsonObject;
  const refuse = (what: string, message: string): never => {
    throw new UnsupportedError(`tokenizer ${what}`, message, { file });
  };
  if (model.type !== 'BPE') {
    throw new UnsupportedError(`tokenizer ${model.type}`, `model must be BPE: got ${show(model.type)}`, { file });
  }
  const added = (content.added_tokens ?? []) as readonly { id: number; content: string; special: boolean }[];
  const tokens = tokensOf(model, added, rows, refuse);
  const isPieces = model.byte_fallback === true;
  const pre = isPieces ? 'default' : preOf(content, family, refuse);
  const named = idsOf(config, tokens, ids);
  const kinds = kindsOf(tokens, added, isPieces, named.unknown);
  const around = aroundOf(tokenizer.encode('a'), named);
  return {
    'tokenizer.ggml.model': isPieces ? 'llama' : 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': tokens.map((token, id) => (isPieces && kinds[id] === USER ? plainOf(token) : token)),
    'tokenizer.ggml.token_type': kinds,
    ...(isPieces
      ? {
          'tokenizer.ggml.scores': scoresOf(model, tokens, kinds, refuse),
          'tokenizer.ggml.add_space_prefix': beginsWithSpace(content, refuse),
        }
      : { 'tokenizer.ggml.merges': mergesOf(model).map(([left, right]) => `${left} ${right}`) }),
    ...idPairs(named),
    'tokenizer.ggml.add_bos_token': around.bos,
    'tokenizer.ggml.add_eos_token': around.eos,
    ...templatePairs(files),
  };
}

type Refuse = (what: string, message: string) => never;

// Tokens by id; ids of the embedding that have none are named.
function tokensOf(model: JsonObject, added: readonly { id: number; content: string }[], rows: number, refuse: Refuse) {
  const tokens: string[] = Array.from({ length: rows }, (_, id) => `[PAD${id}]`);
  const entries = [
    ...Object.entries(model.vocab as Record<string, number>),
    ...added.map(({ id, content }): [string, number] => [content, id]),
  ];
  for (const [token, id] of entries) {
    if (id >= rows) refuse('size', `ids must be below the embedding's ${rows} rows: that of ${show(token)} is ${id}`);
    tokens[id] = token;
  }
  return tokens;
}

const plainOf = (token: string): string => token.replaceAll('▁', ' ');

function kindsOf(
  tokens: readonly string[],
  added: readonly { id: number; special: boolean }[],
  isPieces: boolean,
  unknown: number | undefined,
): Int32Array {
  const kinds = Int32Array.from(tokens, (token, id) => {
    if (isPieces && /^<0x[0-9A-F]{2}>$/.test(token)) return BYTE;
    return token === `[PAD${id}]` ? UNUSED : NORMAL;
  });
  for (const { id, special } of added) kinds[id] = special ? CONTROL : USER;
  if (isPieces && unknown !== undefined) kinds[unknown] = UNKNOWN;
  return kinds;
}

function mergesOf({ merges }: JsonObject): [string, string][] {
  return ((merges ?? []) as readonly (string | [string, string])[]).map((merge) => {
    if (typeof merge !== 'string') return merge;
    const at = merge.indexOf(' ');
    return [merge.slice(0, at), merge.slice(at + 1)];
  });
}

// A piece of several characters that no merge makes, but two pieces could, would be made by llama.cpp.
function scoresOf(model: JsonObject, tokens: readonly string[], kinds: Int32Array, refuse: Refuse): Float32Array {
  const ranks = new Map<string, number>();
  for (const [rank, [left, right]] of mergesOf(model).entries()) {
    const piece = left + right;
    if (!ranks.has(piece)) ranks.set(piece, rank);
  }
  const pieces = new Set(tokens.filter((_, id) => kinds[id] === NORMAL));
  return Float32Array.from(tokens, (token, id) => {
    const rank = ranks.get(token);
    if (rank !== undefined) return -rank - 1;
    if (kinds[id] === NORMAL && isMade(token, pieces)) {
      refuse('merges', `merges must make every piece of others, as SentencePiece's do: none makes ${excerpt(token)}`);
    }
    return kinds[id] === NORMAL ? NEVER : 0;
  });
}

function isMade(token: string, pieces: ReadonlySet<string>): boolean {
  let left = '';
  for (const character of token) {
    left += character;
    if (left.length < token.length && pieces.has(left) && pieces.has(token.slice(left.length))) return true;
  }
  return false;
}

// Whether texts begin with a space that is not there; their other spaces become ▁.
function beginsWithSpace({ normalizer, pre_tokenizer }: JsonObject, refuse: Refuse): boolean {
  const steps = [...partsOf(normalizer, 'normalizers'), ...partsOf(pre_tokenizer, 'pretokenizers')];
  let begins = false;
  for (const step of steps) {
    const isSpaces =
      step.type === 'Replace' && step.content === '▁' && (step.pattern as JsonObject | undefined)?.String === ' ';
    const isSplit = step.type === 'Split' && (step.pattern as JsonObject | undefined)?.String === ' ';
    if (isSpaces || isSplit) continue;
    if (step.type === 'Prepend' && step.prepend === '▁') begins = true;
    else if (step.type === 'Metaspace' && (step.replacement ?? '▁') === '▁') {
      begins = step.prepend_scheme !== undefined ? step.prepend_scheme !== 'never' : step.add_prefix_space !== false;
    } else refuse(String(step.type), `steps before pieces must be those of SentencePiece: ${show(step.type)} is none`);
  }
  return begins;
}

function partsOf(value: unknown, members: string): JsonObject[] {
  if (!isRecord(value)) return [];
  return value.type === 'Sequence' ? ((value[members] ?? []) as JsonObject[]) : [value];
}

// llama.cpp's name for how texts are cut. Of several names for the same steps the family's is taken, else the first.
function preOf({ pre_tokenizer, normalizer, model }: JsonObject, family: string, refuse: Refuse): string {
  const splitting = stepsText(pre_tokenizer);
  const normal = partsOf(normalizer, 'normalizers').map(({ type }) => type);
  const ignores = (model as JsonObject).ignore_merges === true;
  const matches = [...PRETOKENIZERS].filter(
    ([, { steps, normalizer: known, ignoresMerges = false }]) =>
      stepsText(steps) === splitting && String(known?.type ?? '') === String(normal) && ignoresMerges === ignores,
  );
  if (matches.length === 0)
    refuse('steps', 'steps before merges must be of a kind that llama.cpp knows: it has no name for these');
  const [first] = matches.find(([name]) => name === family.replace(/_.*/, '')) ?? matches[0];
  return first;
}

// Steps without what changes no token: one alone is a sequence of one, and offsets are nobody's.
function stepsText(value: unknown): string {
  const steps = partsOf(value, 'pretokenizers').map((step) => {
    if (step.type === 'ByteLevel') return ['ByteLevel', step.add_prefix_space ?? true, step.use_regex ?? true];
    if (step.type === 'Split') return ['Split', step.pattern, step.behavior, step.invert ?? false];
    return step.type === 'Digits' ? ['Digits', step.individual_digits] : [step];
  });
  return JSON.stringify(steps);
}

interface Named {
  readonly bos?: number | undefined;
  readonly eos?: number | undefined;
  readonly unknown?: number | undefined;
  readonly padding?: number | undefined;
  readonly eot?: number | undefined;
}

// tokenizer_config.json names tokens by their text; config.json tells ids.
function idsOf(config: JsonObject, tokens: readonly string[], { bos, eos }: Ids): Named {
  const byText = (name: string) => {
    const value = config[name];
    const text = isRecord(value) ? value.content : value;
    const id = typeof text === 'string' ? tokens.indexOf(text) : -1;
    return id < 0 ? undefined : id;
  };
  const end = byText('eos_token') ?? eos[0];
  return {
    bos: byText('bos_token') ?? bos,
    eos: end,
    unknown: byText('unk_token'),
    padding: byText('pad_token'),
    eot: eos.find((id) => id !== end),
  };
}

/** The metadata of a model without a tokenizer. */
export function bareIds({ bos, eos: [eos] }: Ids): Metadata {
  return { 'tokenizer.ggml.model': 'no_vocab', ...idPairs({ bos, eos }) };
}

function idPairs(ids: Named): Metadata {
  const entries = Object.entries(ids).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return Object.fromEntries(
    entries.map(([name, id]): [string, TypedValue] => [`tokenizer.ggml.${name}_token_id`, { u32: id }]),
  );
}

// What stands around a text that is encoded.
function aroundOf(ids: readonly number[], { bos, eos }: Named): { bos: boolean; eos: boolean } {
  return { bos: bos !== undefined && ids[0] === bos, eos: eos !== undefined && ids.length > 1 && ids.at(-1) === eos };
}

// One template, or several by name.
function templatePairs({ config, template }: TokenizerFiles): Metadata {
  const given = template ?? config.chat_template;
  if (typeof given === 'string') return { 'tokenizer.chat_template': given };
  if (!Array.isArray(given)) return {};
  const named = given
    .filter(isRecord)
    .flatMap(({ name, template }): [string, string][] =>
      typeof name === 'string' && typeof template === 'string' ? [[name, template]] : [],
    );
  const others = named.filter(([name]) => name !== 'default');
  const usual = named.find(([name]) => name === 'default');
  return {
    ...(usual && { 'tokenizer.chat_template': usual[1] }),
    ...(others.length > 0 && { 'tokenizer.chat_templates': others.map(([name]) => name) }),
    ...Object.fromEntries(others.map(([name, text]) => [`tokenizer.chat_template.${name}`, text])),
  };
}
