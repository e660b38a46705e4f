// Text to ids by @huggingface/tokenizers, under limits. tokenizer.json is a program: its parts rewrite and cut the text one after
// another. Each part tells a common budget what it is given and what it makes, before it makes it, so that a hostile file ends in
// an error, in seconds. Ids are those that the library gives without limits.

import { Tokenizer as Library } from '@huggingface/tokenizers';
import { FormatError, UnsupportedError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import type { Definition } from './definition.ts';
import { isRecord } from './files.ts';
import { compilePattern, type Match, type Pattern, type Spend } from './patterns/pattern.ts';
import { isPublished } from './patterns/published.ts';
import { type Behavior, splitPieces } from './patterns/split.ts';

/** Steps for any text, and further ones for each of its characters: a step takes some nanoseconds. */
const STEPS = 1 << 24;
const STEPS_A_CHARACTER = 512;
/** Steps of a piece of text: about what it takes in memory, in characters. */
const PIECE = 32;
/** Steps of the model for a character, of which a byte-level one gets up to three for one of the text. */
const MODEL_CHARACTER = 128;
/** What Whitespace finds, where the library knows the letters of ASCII alone. */
const WORDS =
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\p{White_Space}]+/gu;
/** What WhitespaceSplit finds, where the library takes JavaScript's word for what space is. */
const UNSPACED = /\P{White_Space}+/gu;
/** What BertPreTokenizer finds, likewise. */
const BERT_WORDS = /[^\p{White_Space}\p{P}!-/:-@[-`{-~]+|[\p{P}!-/:-@[-`{-~]/gu;
/** What ByteLevel finds, likewise. */
const GPT2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
/** What the library takes for punctuation. */
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu;
/** Marks in a row are put in order by insertion, in quadratic time. */
const MARKS = /\p{M}+/gu;

/** What cuts texts into the ids of a vocabulary. */
interface Encoder {
  readonly ids: ReadonlyMap<string, number>;
  /** Tokens by id, with holes. */
  readonly names: readonly (string | undefined)[];
  /** @throws {FormatError} when the file leads nowhere, or takes too many steps */
  encode(text: string, special: boolean): number[];
}

/**
 * @param config tokenizer_config.json
 * @throws {FormatError} when the library finds a fault
 * @throws {UnsupportedError} when a regular expression is not handled
 */
export function createEncoder(
  definition: Definition,
  config: Readonly<Record<string, unknown>>,
  file: string,
): Encoder {
  const budget = createBudget(file);
  const attempt = <T>(task: string, run: () => T): T => {
    try {
      return run();
    } catch (cause) {
      if (cause instanceof FormatError || cause instanceof UnsupportedError) throw cause;
      throw new FormatError(`tokenizer must ${task}: ${faultOf(cause)}`, { file });
    }
  };
  const { added_tokens, model } = definition;
  budget.open(added_tokens.reduce((length, { content }) => length + content.length, 0));
  const library = attempt('be well-formed', () => {
    // The library normalizes added tokens while it is made: its normalizer is under limits from the first moment.
    class Bounded extends Library {}
    Object.defineProperty(Bounded.prototype, 'normalizer', {
      set(normalizer: LibraryStep | null) {
        if (normalizer) boundStep(normalizer, definition.normalizer as StepConfig, budget.spend, file);
        Object.defineProperty(this, 'normalizer', { value: normalizer, writable: true });
      },
    });
    return new Bounded({ ...definition, decoder: null }, membersRead(config));
  });
  const vocabulary = library.model as NonNullable<typeof library.model>;
  attempt('be well-formed', () => {
    if (library.pre_tokenizer) {
      const step = library.pre_tokenizer as unknown as LibraryStep;
      boundStep(step, definition.pre_tokenizer as StepConfig, budget.spend, file);
    }
    boundModel(vocabulary as unknown as LibraryModel, model.byte_fallback === true, budget.spend);
  });
  cutAtSpaces(library, definition.pre_tokenizer, model);
  // As in the Rust library, an added token that is looked for in normalized text is written as that, too.
  const names = [...vocabulary.vocab];
  const { normalizer } = library;
  for (const { id, content, normalized, special } of added_tokens) {
    if (normalizer && (normalized ?? !special)) names[id] = attempt('be well-formed', () => normalizer(content));
  }

  return {
    ids: vocabulary.tokens_to_ids,
    names,
    encode(text, special) {
      budget.open(text.length);
      const { ids, tokens } = attempt('encode the text', () => library.encode(text, { add_special_tokens: special }));
      const index = ids.findIndex((id) => !Number.isInteger(id));
      if (index < 0) return ids;
      throw new FormatError(`tokenizer must have an id for each token: ${show(tokens[index])} has none`, { file });
    },
  };
}

// The library's words, not the engine's.
function faultOf(cause: unknown): string {
  if (cause instanceof SyntaxError) return 'a regular expression is malformed';
  if (cause instanceof TypeError) return 'a member is missing, or of a kind that is not handled';
  if (cause instanceof RangeError) return 'it goes too deep, or makes too much';
  return excerpt((cause as Error).message);
}

/** Steps left, for what is under way. */
interface StepBudget {
  open(characters: number): void;
  spend: Spend;
}

function createBudget(file: string): StepBudget {
  let left = 0;
  let most = 0;
  return {
    open(characters) {
      most = STEPS + STEPS_A_CHARACTER * characters;
      left = most;
    },
    spend(steps) {
      left -= steps;
      if (left < 0)
        throw new FormatError(`tokenizer must take at most ${most} steps for the text: it takes more`, { file });
    },
  };
}

// Of tokenizer_config.json, what the library reads to encode.
function membersRead({
  remove_space,
  do_lowercase_and_remove_accent,
  unk_token,
}: Readonly<Record<string, unknown>>): object {
  const unknown = isRecord(unk_token) ? unk_token.content : unk_token;
  return {
    remove_space: remove_space === true,
    do_lowercase_and_remove_accent: do_lowercase_and_remove_accent === true,
    ...(typeof unknown === 'string' && { unk_token: unknown }),
  };
}

/** A normalizer or pre-tokenizer as the file has it, checked. */
interface StepConfig {
  type: string;
  normalizers?: readonly StepConfig[];
  pretokenizers?: readonly StepConfig[];
  pattern?: { Regex?: string; String?: string };
  behavior?: Behavior | null;
  invert?: boolean | null;
  individual_digits?: boolean | null;
  replacement?: string | null;
  split?: boolean | null;
}

/** The same of the library. */
interface LibraryStep {
  normalizers?: readonly LibraryStep[];
  tokenizers?: readonly LibraryStep[];
  pattern?: unknown;
  normalize?(text: string): string;
  pre_tokenize_text?(text: string, options?: object): readonly string[];
}

function boundStep(step: LibraryStep, config: StepConfig, spend: Spend, file: string): void {
  const members = step.normalizers ?? step.tokenizers;
  if (members) {
    const configs = config.normalizers ?? config.pretokenizers ?? [];
    for (const [i, member] of members.entries()) boundStep(member, configs[i], spend, file);
    return;
  }
  const { type, pattern } = config;
  if ((type === 'Split' || type === 'Replace') && pattern) step.pattern = boundPattern(step, pattern, spend, file);
  cutAsWritten(step, config);
  const { normalize, pre_tokenize_text } = step;
  const ordersMarks = /^NFK?[CD]$|^Precompiled$|^BertNormalizer$/.test(type);
  if (normalize) {
    step.normalize = (text) => {
      spend(PIECE + text.length);
      if (ordersMarks) for (const [marks] of text.matchAll(MARKS)) spend(Math.floor(marks.length ** 2 / 64));
      return normalize.call(step, text);
    };
  } else if (pre_tokenize_text) {
    step.pre_tokenize_text = (text, options) => {
      spend(text.length);
      const pieces = pre_tokenize_text.call(step, text, options);
      spend(PIECE * pieces.length);
      return pieces;
    };
  }
}

// Where the library cuts otherwise than the original: it knows digits and letters of ASCII alone, JavaScript's spaces, and two
// behaviors, and never cuts at Metaspace's mark.
function cutAsWritten(step: LibraryStep, config: StepConfig): void {
  const { type, behavior, invert, individual_digits, replacement, split } = config;
  const by = behavior ?? 'Isolated';
  const isKnown = by === 'Removed' || (by === 'Isolated' && invert !== true);
  if (type === 'Digits') step.pattern = individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu;
  else if (type === 'ByteLevel') step.pattern = GPT2;
  else if (type === 'Whitespace') step.pre_tokenize_text = (text) => text.match(WORDS) ?? [];
  else if (type === 'WhitespaceSplit') step.pre_tokenize_text = (text) => text.match(UNSPACED) ?? [];
  else if (type === 'BertPreTokenizer') step.pre_tokenize_text = (text) => text.match(BERT_WORDS) ?? [];
  else if (type === 'Metaspace' && split !== false) {
    const { pre_tokenize_text } = step;
    const space = literalPattern(replacement ?? '▁');
    step.pre_tokenize_text = (text, options) =>
      pre_tokenize_text!
        .call(step, text, options)
        .flatMap((piece) => splitPieces(piece, [...space.matches(piece)], 'MergedWithNext', false));
  } else if (type === 'Punctuation') step.pre_tokenize_text = (text) => cut(text, PUNCTUATION, by, false);
  else if (type === 'Split' && !isKnown) {
    step.pre_tokenize_text = (text) => cut(text, step.pattern as RegExp, by, invert === true);
  }
}

function cut(text: string, pattern: RegExp, behavior: Behavior, invert: boolean): string[] {
  const matches = Array.from(text.matchAll(pattern), ({ 0: { length }, index }): Match => [index, index + length]);
  return splitPieces(text, matches, behavior, invert);
}

// The library has made a RegExp of the pattern: in JavaScript's words, which it has translated, and known to be one.
function boundPattern(
  { pattern }: LibraryStep,
  { Regex, String: literal }: { Regex?: string; String?: string },
  spend: Spend,
  file: string,
): object {
  if (Regex === undefined)
    return asRegExp(literalPattern(literal as string), spend, (text) => text.split(literal as string));
  if (isPublished(Regex)) return pattern as RegExp;
  return asRegExp(compilePattern((pattern as RegExp).source, spend, file), spend);
}

function literalPattern(literal: string): Pattern {
  return {
    *matches(text): Iterable<Match> {
      for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) {
        yield [at, at + literal.length];
      }
    },
  };
}

// Texts between the matches, one more than there are matches.
function betweenMatches(pattern: Pattern, text: string): string[] {
  const pieces: string[] = [];
  let last = 0;
  for (const [start, end] of pattern.matches(text)) {
    pieces.push(text.slice(last, start));
    last = end;
  }
  pieces.push(text.slice(last));
  return pieces;
}

// The protocol by which strings match, split and replace; `flags` says that all matches are meant.
function asRegExp(pattern: Pattern, spend: Spend, between = (text: string) => betweenMatches(pattern, text)): object {
  return {
    flags: 'gu',
    [Symbol.match]: (text: string) => Array.from(pattern.matches(text), ([start, end]) => text.slice(start, end)),
    *[Symbol.matchAll](text: string) {
      for (const [index, end] of pattern.matches(text)) yield { 0: text.slice(index, end), index };
    },
    [Symbol.split]: between,
    [Symbol.replace](text: string, content: string) {
      const pieces = between(text);
      spend(PIECE * pieces.length + text.length + pieces.length * content.length);
      return pieces.join(content);
    },
  };
}

/** A model of the library: BPE, or one of the two that are bounded further. */
interface LibraryModel {
  tokens_to_ids: ReadonlyMap<string, number>;
  unk_token?: string;
  unk_token_id: number | undefined;
  _call(tokens: readonly string[]): string[];
}
interface WordPiece extends LibraryModel {
  max_input_chars_per_word: number;
  config: { continuing_subword_prefix: string };
  encode(tokens: readonly string[]): string[];
}
interface Unigram extends LibraryModel {
  trie: { root: TrieNode; common_prefix_search(characters: readonly string[], start: number): Iterable<string> };
  populate_nodes(lattice: Lattice): void;
  tokenize(text: string): string[];
}
interface TrieNode {
  is_leaf: boolean;
  children: ReadonlyMap<string, TrieNode>;
}
interface Lattice {
  begin_nodes: readonly (readonly unknown[])[];
  end_nodes: readonly (readonly unknown[])[];
}

function boundModel(model: LibraryModel, byteFallback: boolean, spend: Spend): void {
  if ('trie' in model) boundUnigram(model as Unigram, byteFallback, spend);
  if ('max_input_chars_per_word' in model) boundWordPiece(model as WordPiece, spend);
  const { _call } = model;
  model._call = (tokens) => {
    for (const token of tokens) spend(MODEL_CHARACTER * token.length);
    return _call.call(model, tokens);
  };
}

// As the library does: the longest token first, again and again; but none longer than the vocabulary has is looked for.
function boundWordPiece(model: WordPiece, spend: Spend): void {
  const { tokens_to_ids, unk_token, max_input_chars_per_word, config } = model;
  let longest = 0;
  for (const token of tokens_to_ids.keys()) longest = Math.max(longest, token.length);
  const pieces = (word: string): string[] | undefined => {
    const characters = Array.from(word);
    if (characters.length > max_input_chars_per_word) return undefined;
    const pieces: string[] = [];
    for (let start = 0; start < characters.length; ) {
      const prefix = start > 0 ? config.continuing_subword_prefix : '';
      let end = Math.min(characters.length, start + longest);
      let piece = '';
      for (; end > start; end--) {
        spend(end - start);
        piece = prefix + characters.slice(start, end).join('');
        if (tokens_to_ids.has(piece)) break;
      }
      if (end === start) return undefined;
      pieces.push(piece);
      start = end;
    }
    return pieces;
  };
  model.encode = (words) => words.flatMap((word) => pieces(word) ?? [unk_token as string]);
}

// A text is one lattice: a token for each way on from each place, and then each pair of tokens that meet.
function boundUnigram(model: Unigram, byteFallback: boolean, spend: Spend): void {
  const { trie, populate_nodes } = model;
  trie.common_prefix_search = function* (characters, start) {
    let node: TrieNode | undefined = trie.root;
    let prefix = '';
    for (let at = start; at < characters.length; at++) {
      spend(4);
      prefix += characters[at];
      node = node.children.get(characters[at]);
      if (!node) return;
      if (!node.is_leaf) continue;
      spend(2 * PIECE); // a node of the lattice
      yield prefix;
    }
  };
  model.populate_nodes = (lattice) => {
    spend(PIECE * lattice.begin_nodes.length);
    populate_nodes.call(model, lattice);
    for (const [position, { length }] of lattice.begin_nodes.entries())
      spend(length * lattice.end_nodes[position].length);
  };
  // As the library does, but not quadratic in unknown characters, nor on the stack: of unknown ones in a row one stays. What is
  // unknown becomes bytes, which the library leaves out, if the vocabulary has all of them.
  model._call = (tokens) => {
    const { tokens_to_ids, unk_token_id } = model;
    const kept: string[] = [];
    let unknown = false;
    for (const token of tokens) {
      for (const piece of model.tokenize(token)) {
        const isUnknown = (tokens_to_ids.get(piece) ?? unk_token_id) === unk_token_id;
        const bytes = isUnknown && byteFallback ? byteTokens(piece) : undefined;
        if (bytes?.every((byte) => tokens_to_ids.has(byte))) {
          kept.push(...bytes);
          unknown = false;
          continue;
        }
        if (!isUnknown || !unknown) kept.push(piece);
        unknown = isUnknown;
      }
    }
    return kept;
  };
}

const byteTokens = (text: string): string[] =>
  Array.from(new TextEncoder().encode(text), (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);

function cutAtSpaces(library: Library, preTokenizer: unknown, model: Record<string, unknown>): void {
  const before = library.pre_tokenizer;
  const isMetaspace = isRecord(preTokenizer) && preTokenizer.type === 'Metaspace';
  if ((before !== null && !isMetaspace) || !splitsAtSpaces(model)) return;
  // A callable, as the library's own are.
  const words = (text: string, options?: object) =>
    (before ? before(text, options) : [text]).flatMap((piece) => piece.split(/(?<=[^▁])(?=▁)/u));
  library.pre_tokenizer = words as unknown as NonNullable<typeof before>;
}

/**
 * Whether BPE may work word by word: no merge joins something to a ▁ behind it, so that none ever reaches over the place
 * before a ▁, and the pieces between such places are merged as if each stood alone. Whole texts are one word otherwise.
 */
function splitsAtSpaces({
  type,
  merges,
  ignore_merges,
  continuing_subword_prefix,
  end_of_word_suffix,
}: Record<string, unknown>): boolean {
  if (type !== 'BPE' || !Array.isArray(merges) || ignore_merges === true) return false;
  if (continuing_subword_prefix || end_of_word_suffix) return false;
  return merges.every((merge) => {
    const [left, right] = Array.isArray(merge) ? merge : String(merge).split(' ', 2);
    return typeof left === 'string' && typeof right === 'string' && !(right.startsWith('▁') && !left.endsWith('▁'));
  });
}
