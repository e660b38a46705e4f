// What a text must be: a literal, one of several, JSON of a schema, or these in a row. Before each choice the tokens that cannot go on are ruled
// out, by XGrammar, which follows a grammar over all tokens of a vocabulary at once. schema.ts says which schemas it enforces.
// The engine lets control characters stand in texts of a bounded length, which JSON does not: lexical.ts rules them out.

import type { Model } from '../../text/textmodel.ts';
import { refused } from '../errors.ts';
import { type Compiler, type GrammarSource, openCompiler, SPACES } from './engine.ts';
import type { CompiledGrammar, GrammarMatcher } from './grammar.ts';
import { type Lexical, lexicalOf } from './lexical.ts';
import type { JsonSchema } from './schema.ts';

/** What rules tokens out. */
export interface Constraint {
  /** Makes what the beginning needs. @throws {HttpError} 400 when the engine makes no grammar of a schema */
  begin(): Promise<void>;
  /** Sets logits of tokens that cannot come to −∞. @returns false where the text is complete, and nothing but space can follow */
  mask(logits: Float32Array): Promise<boolean>;
  /** Notes a token. @param piece the text that it completes, special tokens written out */
  accept(id: number, piece: string): void;
  /** Frees what the engine made. */
  close(): void;
}

/** A part of a text. */
export type TextPart =
  | { readonly literal: string }
  | { readonly schema: JsonSchema }
  | { readonly oneOf: readonly string[] };
type Parts = readonly (TextPart | ((before: string) => TextPart))[];

/** Grammars of a model that are kept. */
const GRAMMARS = 32;

// What is made once a model. Its memory is the engine's: `forgetGrammars` gives it back.
interface GrammarVocabulary {
  readonly compiler: Compiler;
  readonly grammars: Map<string, Grammar>;
  /** Tokens of white space alone, and those that are no text. */
  readonly blank: ReadonlySet<number>;
  readonly lexical: Lexical;
  /** The token of each byte, where there is one. */
  readonly byteIds: ReadonlyMap<number, number>;
}
/** A grammar, and how many texts are about to take it: what is kept no longer is disposed of when none is. */
interface Grammar {
  readonly compiled: Promise<CompiledGrammar>;
  users: number;
}
const vocabularies = new WeakMap<Model, Promise<GrammarVocabulary>>();

function vocabularyOf(model: Model): Promise<GrammarVocabulary> {
  let vocabulary = vocabularies.get(model);
  if (!vocabulary) {
    vocabulary = makeVocabulary(model);
    vocabularies.set(model, vocabulary);
  }
  return vocabulary;
}

async function makeVocabulary({ tokenizer, ends, config }: Model): Promise<GrammarVocabulary> {
  const size = config.vocabSize;
  const tokens = Array.from({ length: size }, (_, id) => (ends.has(id) ? new Uint8Array() : tokenizer.bytes(id)));
  const blank = new Set<number>();
  for (const [id, bytes] of tokens.entries()) if (bytes.every((byte) => SPACE.includes(byte))) blank.add(id);
  const byteIds = new Map<number, number>();
  for (const [id, bytes] of tokens.entries())
    if (bytes.length === 1 && !byteIds.has(bytes[0])) byteIds.set(bytes[0], id);
  const characters = byteCharacters();
  const encoded = tokens.map((bytes) => Array.from(bytes, (byte) => characters[byte]).join(''));
  // The end is an id of its own, behind the vocabulary: a model may have several ends, or none.
  encoded.push('<end>');
  const compiler = await openCompiler(encoded, [size]);
  return { compiler, grammars: new Map(), blank, lexical: lexicalOf(tokens), byteIds };
}

const SPACE = [0x20, 0x09, 0x0a, 0x0d];

// GPT-2's table, in which the engine takes the bytes of tokens.
function byteCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(isPrintable ? byte : next++);
  });
}

/** Gives back what the engine holds for a model that is to be closed. */
export async function forgetGrammars(model: Model): Promise<void> {
  const vocabulary = vocabularies.get(model);
  if (!vocabulary) return;
  vocabularies.delete(model);
  const { compiler, grammars } = await vocabulary;
  for (const { compiled } of grammars.values()) {
    await compiled.then(
      (grammar) => grammar.dispose(),
      () => {},
    );
  }
  compiler.dispose();
}

const sourceOf = (part: TextPart): GrammarSource => {
  if ('schema' in part) return { schema: JSON.stringify(part.schema) };
  return { texts: 'literal' in part ? [part.literal] : part.oneOf };
};

// A matcher of a part's grammar, which is made once. Of those that are kept the one used last is at the end.
async function matcherOf(model: Model, part: TextPart): Promise<GrammarMatcher> {
  const { compiler, grammars } = await vocabularyOf(model);
  const key = JSON.stringify(part);
  const grammar = grammars.get(key) ?? { compiled: compiler.compile(sourceOf(part)), users: 0 };
  grammars.delete(key);
  grammars.set(key, grammar);
  grammar.users++;
  try {
    return await compiler.matcher(await grammar.compiled);
  } catch (error) {
    if (grammars.get(key) === grammar) grammars.delete(key);
    // Texts under way keep the old one: its memory goes when they are over.
    if (!compiler.isSound) vocabularies.delete(model);
    throw error;
  } finally {
    grammar.users--;
    for (const [other, { compiled, users }] of grammars) {
      if (grammars.size <= GRAMMARS) break;
      if (users > 0) continue;
      grammars.delete(other);
      (await compiled).dispose();
    }
  }
}

/** A part under way. */
interface PartStep {
  /** Which tokens may come. @returns whether the text may end here, and whether it must */
  mask(logits: Float32Array): Promise<'open' | 'complete' | 'over'>;
  accept(id: number): void;
  close(): void;
}

async function stepOf(model: Model, part: TextPart): Promise<PartStep> {
  const { blank, lexical } = await vocabularyOf(model);
  const matcher = await matcherOf(model, part);
  const isJson = 'schema' in part;
  const size = model.config.vocabSize;
  let state = lexical.start;
  let spaces = 0;
  const has = (mask: Int32Array, id: number) => (mask[id >>> 5] & (1 << (id & 31))) !== 0;
  return {
    async mask(logits) {
      const mask = await matcher.getNextTokenBitmask();
      const lawful = isJson ? lexical.mask(state) : undefined;
      const isInText = isJson && state !== lexical.start;
      const mayEnd = has(mask, size);
      let [any, others] = [false, false];
      for (let id = 0; id < logits.length; id++) {
        const isBlank = blank.has(id);
        const isOut = id >= size || !has(mask, id) || (lawful && !has(lawful, id));
        if (isOut || (isJson && !isInText && isBlank && spaces >= SPACES)) logits[id] = Number.NEGATIVE_INFINITY;
        else {
          any = true;
          others ||= !isJson || !isBlank || isInText;
        }
      }
      if (mayEnd && !others) return 'over';
      if (any || mayEnd) return mayEnd ? 'complete' : 'open';
      throw refused('response_format must allow a text: none continues from here', 'response_format');
    },
    accept(id) {
      if (!matcher.acceptToken(id)) throw new Error(`the grammar must take a token that it allowed: ${id}`);
      if (!isJson) return;
      spaces = blank.has(id) ? spaces + 1 : 0;
      state = lexical.after(state, id);
    },
    close: () => matcher.dispose(),
  };
}

/** A text of parts; one may depend on the text of the part in front. */
export function constraintOf(model: Model, parts: Parts): Constraint {
  let index = 0;
  let text = ''; // of the part
  let step: PartStep | undefined;
  const begin = (before: string) => {
    const part = parts[index];
    return stepOf(model, typeof part === 'function' ? part(before) : part);
  };
  return {
    async begin() {
      step ??= await begin('');
    },
    async mask(logits) {
      const row = logits.slice();
      for (;;) {
        step ??= await begin('');
        const state = await step.mask(logits);
        const isLast = index === parts.length - 1;
        if (state === 'complete' && isLast) for (const id of model.ends) if (id < row.length) logits[id] = row[id];
        if (state !== 'over') return true;
        if (isLast) return false;
        step.close();
        index++;
        step = await begin(text);
        text = '';
        logits.set(row);
      }
    },
    accept(id, piece) {
      text += piece;
      step?.accept(id);
    },
    close: () => step?.close(),
  };
}

/** What stands in front of what is constrained, as it comes. @returns what comes after the mark, when the mark is there */
function searchFor(mark: string): (piece: string) => string | undefined {
  let text = '';
  return (piece) => {
    text += piece;
    const position = text.indexOf(mark);
    if (position >= 0) {
      const behind = text.slice(position + mark.length);
      text = '';
      return behind;
    }
    text = text.slice(Math.max(0, text.length - mark.length + 1)); // what may begin one
    return undefined;
  };
}

// Has a constraint take a text that the token of a mark brought along, byte by byte. @returns false when the text cannot be
async function takes(model: Model, constraint: Constraint, text: string): Promise<boolean> {
  const { byteIds } = await vocabularyOf(model);
  for (const character of text) {
    for (const [i, byte] of new TextEncoder().encode(character).entries()) {
      const id = byteIds.get(byte);
      const row = new Float32Array(model.config.vocabSize);
      if (id === undefined || !(await constraint.mask(row)) || row[id] !== 0) return false;
      constraint.accept(id, i === 0 ? character : '');
    }
  }
  return true;
}

/**
 * A text that is free until a mark comes, is then what `behind` says, and free again.
 * @param mark begins what is constrained
 */
export function markedConstraint(model: Model, mark: string, behind: () => Constraint): Constraint {
  let search = searchFor(mark);
  let inner: Constraint | undefined;
  let brought = ''; // by the token that ended the mark
  const leave = () => {
    inner?.close();
    inner = undefined;
    search = searchFor(mark);
  };
  return {
    begin: async () => {},
    async mask(logits) {
      if (!inner) return true;
      const row = logits.slice();
      const text = brought;
      brought = '';
      if ((await takes(model, inner, text)) && (await inner.mask(logits))) return true;
      logits.set(row);
      leave();
      return true;
    },
    accept(id, piece) {
      if (inner) return inner.accept(id, piece);
      const text = search(piece);
      if (text === undefined) return;
      inner = behind();
      brought = text;
    },
    close: () => inner?.close(),
  };
}

/**
 * A text whose thought is free, and does not end the text; its answer is what `behind` says.
 * @param mark ends the thought, which the prompt has begun
 */
export function thoughtConstraint(model: Model, mark: string, behind: () => Constraint): Constraint {
  const inner = behind();
  const search = searchFor(mark);
  const closing = model.tokenizer.idOf(mark);
  let isThinking = true;
  let brought = '';
  return {
    begin: () => inner.begin(),
    async mask(logits) {
      if (isThinking) {
        for (const id of model.ends) if (id < logits.length && id !== closing) logits[id] = Number.NEGATIVE_INFINITY;
        return true;
      }
      const text = brought;
      brought = '';
      if (await takes(model, inner, text)) return inner.mask(logits);
      throw refused(
        'response_format must allow a text after the thought: none begins as the model began it',
        'response_format',
      );
    },
    accept(id, piece) {
      if (!isThinking) return inner.accept(id, piece);
      const text = search(piece);
      if (text === undefined) return;
      isThinking = false;
      brought = text.trimStart(); // space between a thought and its answer is neither's
    },
    close: () => inner.close(),
  };
}
