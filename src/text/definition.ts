// tokenizer.json, checked once against what the library reads of it: kinds of members, lengths, counts. What the library does
// with a checked file is bounded by encoder.ts.

import { FormatError, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { isRecord } from './files.ts';
import { BEHAVIORS } from './patterns/split.ts';

/** Longest token, and longest text that a part inserts or looks for; the longest published tokens have a quarter of it. */
export const TOKEN_CHARACTERS = 1024;
/** Most parts of a kind, those of a Sequence among them; published files have up to ten. */
export const PARTS = 64;
/** Longest regular expression: the library's translation is quadratic. */
const PATTERN_CHARACTERS = 8192;
/** Longest character that stands for a space: it multiplies the text. */
const SPACE_CHARACTERS = 16;
/** Longest added token: each may be looked for at each place of the text. */
const ADDED_CHARACTERS = 256;
/** Ids are below this: they are signed 32-bit integers elsewhere. */
const IDS = 2 ** 31;

/** What a member must be. */
interface MemberRule {
  readonly must: string;
  holds(value: unknown): boolean;
}
type Members = Readonly<Record<string, MemberRule>>;

const isText = (value: unknown, most = TOKEN_CHARACTERS) => typeof value === 'string' && value.length <= most;
const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < IDS;
const optional = ({ must, holds }: MemberRule): MemberRule => ({
  must,
  holds: (value) => value === undefined || value === null || holds(value),
});
const text: MemberRule = { must: `a text of up to ${TOKEN_CHARACTERS} characters`, holds: (value) => isText(value) };
const flag = optional({ must: 'true or false', holds: (value) => typeof value === 'boolean' });
const word = optional({ must: 'a text', holds: (value) => isText(value, 64) });
const behavior = optional({
  must: `one of ${BEHAVIORS.join(', ')}`,
  holds: (value) => BEHAVIORS.includes(value as never),
});
const space = optional({
  must: `a text of 1 to ${SPACE_CHARACTERS} characters`,
  holds: (value) => isText(value, SPACE_CHARACTERS) && value !== '',
});
const pattern: MemberRule = {
  must: `an object with a String of 1 to ${TOKEN_CHARACTERS} characters or a Regex of up to ${PATTERN_CHARACTERS}`,
  holds: (value) =>
    isRecord(value) &&
    (value.Regex === undefined ? isText(value.String) && value.String !== '' : isText(value.Regex, PATTERN_CHARACTERS)),
};
const count: MemberRule = { must: 'an integer of at least 1', holds: (value) => isId(value) && value > 0 };
const pair: MemberRule = {
  must: 'a token and its id',
  holds: (value) => Array.isArray(value) && isText(value[0]) && isId(value[1]),
};
// Each item may stand for the text itself, once: it would multiply it.
const template: MemberRule = {
  must: `a list of up to ${PARTS} special tokens and one sequence A`,
  holds: (value) =>
    Array.isArray(value) &&
    value.length <= PARTS &&
    value.every((item) => isRecord(item) && isItem(item)) &&
    value.filter(({ Sequence }) => Sequence?.id === 'A').length <= 1,
};
const isItem = ({ SpecialToken, Sequence }: Record<string, unknown>): boolean =>
  SpecialToken === undefined
    ? isRecord(Sequence) && Sequence.id === 'A'
    : isRecord(SpecialToken) && isText(SpecialToken.id);

type PartKind = 'normalizer' | 'pre_tokenizer' | 'post_processor';

// By kind and type; a Sequence's list is checked part by part.
const KNOWN: Readonly<Record<PartKind, { list: string; types: Readonly<Record<string, Members>> }>> = {
  normalizer: {
    list: 'normalizers',
    types: {
      BertNormalizer: { clean_text: flag, handle_chinese_chars: flag, lowercase: flag, strip_accents: flag },
      Replace: { pattern, content: optional(text) },
      Strip: { strip_left: flag, strip_right: flag },
      Prepend: { prepend: text },
      ...{ Precompiled: {}, NFC: {}, NFD: {}, NFKC: {}, NFKD: {}, StripAccents: {}, Lowercase: {} },
    },
  },
  pre_tokenizer: {
    list: 'pretokenizers',
    types: {
      Metaspace: { replacement: space, str_rep: space, prepend_scheme: word },
      ByteLevel: { add_prefix_space: flag, use_regex: flag },
      Split: { pattern, behavior, invert: flag },
      Digits: { individual_digits: flag },
      Replace: { pattern, content: optional(text) },
      FixedLength: { length: count },
      Punctuation: { behavior },
      ...{ BertPreTokenizer: {}, Whitespace: {}, WhitespaceSplit: {} },
    },
  },
  post_processor: {
    list: 'processors',
    types: {
      TemplateProcessing: { single: template },
      BertProcessing: { sep: pair, cls: pair },
      RobertaProcessing: { sep: pair, cls: pair },
      ByteLevel: {},
    },
  },
};

/** A token beside the vocabulary, found in the text before all else. */
interface AddedToken extends Record<string, unknown> {
  id: number;
  content: string;
  special?: boolean | null;
}

/** tokenizer.json as far as text is encoded by it. */
export interface Definition extends Record<PartKind, unknown> {
  /** Tokens that texts are cut at before all else. */
  added_tokens: readonly AddedToken[];
  /** Vocabulary and merges, as its type has them. */
  model: Record<string, unknown>;
}

/**
 * Checks tokenizer.json.
 * @throws {FormatError} names the file and the member
 * @throws {UnsupportedError} when a part is of an unknown type
 */
export function checkDefinition(content: Readonly<Record<string, unknown>>, file: string): Definition {
  const { model, added_tokens } = content;
  if (!isRecord(model)) throw new FormatError(`tokenizer must have a model: got ${show(model)}`, { file });
  const part = (kind: PartKind) => {
    const config = content[kind] ?? null;
    if (config !== null) checkPart(kind, config, kind, { left: PARTS }, file);
    return config;
  };
  return {
    normalizer: part('normalizer'),
    pre_tokenizer: part('pre_tokenizer'),
    post_processor: part('post_processor'),
    added_tokens: addedTokens(added_tokens ?? [], file),
    model: checkModel(model, file),
  };
}

function checkPart(kind: PartKind, config: unknown, path: string, parts: { left: number }, file: string): void {
  if (--parts.left < 0) throw new FormatError(`${kind} must have at most ${PARTS} parts: it has more`, { file });
  if (!isRecord(config)) throw new FormatError(`${path} must be an object: got ${show(config)}`, { file });
  const { type } = config;
  const { list, types } = KNOWN[kind];
  if (type === 'Sequence') {
    const members = config[list] ?? [];
    if (!Array.isArray(members))
      throw new FormatError(`${path}.${list} must be a list: got ${show(members)}`, { file });
    for (const [i, member] of members.entries()) checkPart(kind, member, `${path}.${list}[${i}]`, parts, file);
  } else if (typeof type === 'string' && Object.hasOwn(types, type)) {
    checkMembers(config, types[type], path, file);
  } else {
    const names = ['Sequence', ...Object.keys(types)].join(', ');
    throw new UnsupportedError(`${kind} ${show(type)}`, `${path} must be one of ${names}: got ${show(type)}`, { file });
  }
}

function checkMembers(config: Record<string, unknown>, members: Members, path: string, file: string): void {
  for (const [name, { must, holds }] of Object.entries(members)) {
    if (!holds(config[name]))
      throw new FormatError(`${path}.${name} must be ${must}: got ${show(config[name])}`, { file });
  }
}

const ADDED: Members = {
  id: { must: `an id from 0 to ${IDS - 1}`, holds: isId },
  content: {
    must: `a text of 1 to ${ADDED_CHARACTERS} characters`,
    holds: (value) => isText(value, ADDED_CHARACTERS) && value !== '',
  },
  ...{ special: flag, normalized: flag, lstrip: flag, rstrip: flag },
};

function addedTokens(list: unknown, file: string): AddedToken[] {
  if (!Array.isArray(list)) throw new FormatError(`added_tokens must be a list: got ${show(list)}`, { file });
  for (const [i, token] of list.entries()) {
    const path = `added_tokens[${i}]`;
    if (!isRecord(token)) throw new FormatError(`${path} must be an object: got ${show(token)}`, { file });
    checkMembers(token, ADDED, path, file);
  }
  return list;
}

const MODEL: Members = {
  unk_token: word,
  fuse_unk: flag,
  byte_fallback: flag,
  ignore_merges: flag,
  end_of_word_suffix: word,
  continuing_subword_suffix: word,
};

// The library goes by the type, and without one by what else there is.
function checkModel(model: Record<string, unknown>, file: string): Record<string, unknown> {
  const { type, vocab, merges } = model;
  const isUnigram = type === 'Unigram' || (Array.isArray(vocab) && type !== 'BPE' && type !== 'WordPiece');
  checkMembers(model, MODEL, 'model', file);
  if (isUnigram) {
    checkScores(vocab, file);
    const { unk_id } = model;
    if (unk_id !== undefined && unk_id !== null && !(isId(unk_id) && unk_id < (vocab as []).length)) {
      const last = (vocab as []).length - 1;
      throw new FormatError(`model.unk_id must be an id from 0 to ${last}: got ${show(unk_id)}`, { file });
    }
  } else {
    checkVocabulary(vocab, file);
    checkMerges(merges ?? [], file);
  }
  if (type === 'WordPiece') {
    const members = { max_input_chars_per_word: optional(count), continuing_subword_prefix: text };
    checkMembers(model, members, 'model', file);
  }
  return { ...model, merges: merges ?? [] };
}

function checkVocabulary(vocab: unknown, file: string): void {
  const must = 'tokenizer must have a vocabulary of tokens and ids';
  if (!isRecord(vocab)) throw new FormatError(`${must}: got ${show(vocab)}`, { file });
  for (const token of Object.keys(vocab)) {
    if (!isText(token))
      throw new FormatError(`${must}, of up to ${TOKEN_CHARACTERS} characters: got ${show(token)}`, { file });
    if (!isId(vocab[token])) throw new FormatError(`${must}: got ${show(vocab[token])} for ${show(token)}`, { file });
  }
}

function checkScores(vocab: unknown, file: string): void {
  const must = 'tokenizer must have a vocabulary of tokens and scores';
  if (!Array.isArray(vocab) || vocab.length === 0) throw new FormatError(`${must}: got ${show(vocab)}`, { file });
  for (const [id, token] of vocab.entries()) {
    if (!Array.isArray(token) || !isText(token[0]) || !Number.isFinite(token[1])) {
      throw new FormatError(`${must}: got ${show(token)} for ${id}`, { file });
    }
  }
}

function checkMerges(merges: unknown, file: string): void {
  const must = 'model.merges must be a list of pairs of tokens, all as texts or all as lists';
  if (!Array.isArray(merges)) throw new FormatError(`${must}: got ${show(merges)}`, { file });
  const asLists = Array.isArray(merges[0]);
  for (const [i, merge] of merges.entries()) {
    const isPair = asLists
      ? Array.isArray(merge) && merge.length === 2 && isText(merge[0]) && isText(merge[1])
      : isText(merge, 2 * TOKEN_CHARACTERS + 1) && merge.indexOf(' ') > 0;
    if (!isPair) throw new FormatError(`${must}: got ${show(merge)} at ${i}`, { file });
  }
}
