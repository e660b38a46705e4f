// What a text must be: a literal, JSON of a schema, or these in a row. Before each choice the tokens that cannot go on are ruled out. The schema is
// followed by the engine of Hugging Face's structured output, byte by byte; what it cannot enforce it refuses.
// A token that may end the text may do so where the last part is complete, and only there.

import { createTokenConstraint, type TokenConstraint } from '@huggingface/transformers-structured-output/engine';
import { excerpt, show } from '../excerpt.ts';
import { isRecord } from '../text/files.ts';
import type { Model } from '../text/textmodel.ts';
import { refused } from './errors.ts';
import { LIMITS } from './limits.ts';

/** What rules tokens out. */
export interface Constraint {
  /** Sets logits of tokens that cannot come to −∞. */
  mask(logits: Float32Array): void;
  /** Notes a token. @returns whether the text is complete, and nothing but space can follow */
  accept(id: number, piece: string): boolean;
}

/** A part of a text. */
export type Part = { readonly literal: string } | { readonly schema: Schema } | { readonly oneOf: readonly string[] };
export type Schema = boolean | Record<string, unknown>;

/** Tokens of white space in a row where JSON allows them: a model could write them for ever. */
const SPACES = 2;

// The engine's view of a vocabulary, made once a model.
interface Vocabulary {
  readonly source: { tokens: Uint8Array[]; eosTokenId: number; specialTokenIds: number[] };
  /** Tokens of white space alone, and those that are no text. */
  readonly blank: ReadonlySet<number>;
}
const vocabularies = new WeakMap<Model, Vocabulary>();

function vocabularyOf(model: Model): Vocabulary {
  const kept = vocabularies.get(model);
  if (kept) return kept;
  const { tokenizer, ends, config } = model;
  const size = config.vocabSize;
  const tokens = Array.from({ length: size + 1 }, (_, id) => (id < size ? tokenizer.bytes(id) : new Uint8Array()));
  const blank = new Set<number>();
  const special: number[] = [];
  for (const [id, bytes] of tokens.entries()) {
    if (bytes.length === 0 || ends.has(id)) special.push(id);
    if (bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d)) blank.add(id);
  }
  // The end is an id of its own, behind the vocabulary: a model may have several ends, or none.
  const made = { source: { tokens, eosTokenId: size, specialTokenIds: special }, blank };
  vocabularies.set(model, made);
  return made;
}

/** A part under way. */
interface Step {
  /** Rules tokens out. @returns whether the text may end here */
  mask(logits: Float32Array): boolean;
  /** @returns whether the part is complete, and nothing but space can follow */
  accept(id: number): boolean;
}

const isSet = (mask: Uint32Array, id: number) => (mask[id >>> 5] & (1 << (id & 31))) !== 0;

function engineStep(model: Model, constraint: TokenConstraint): Step {
  const { blank } = vocabularyOf(model);
  const size = model.config.vocabSize;
  const mask = new Uint32Array((size >>> 5) + 1);
  let spaces = 0;
  let isFilled = false;

  const fill = () => {
    if (!isFilled && !constraint.fillMask(mask)) {
      throw refused('response_format must have a text that it allows: none goes on from here', 'response_format');
    }
    isFilled = true;
  };
  return {
    mask(logits) {
      fill();
      for (let id = 0; id < logits.length; id++) {
        if (id >= size || !isSet(mask, id) || (spaces >= SPACES && blank.has(id))) logits[id] = Number.NEGATIVE_INFINITY;
      }
      return isSet(mask, size);
    },
    accept(id) {
      constraint.commit(id);
      isFilled = false;
      spaces = blank.has(id) ? spaces + 1 : 0;
      fill();
      if (!isSet(mask, size)) return false;
      for (let other = 0; other < size; other++) if (isSet(mask, other) && !blank.has(other)) return false;
      return true;
    },
  };
}

function literalStep(model: Model, literal: string): Step {
  const ids = model.tokenizer.encode(literal, { special: false });
  let at = 0;
  return {
    mask(logits) {
      const wanted = ids[at];
      for (let id = 0; id < logits.length; id++) if (id !== wanted) logits[id] = Number.NEGATIVE_INFINITY;
      // A token that the model itself rules out is wanted none the less.
      if (!Number.isFinite(logits[wanted])) logits[wanted] = 0;
      return false;
    },
    accept: () => ++at === ids.length,
  };
}

function stepOf(model: Model, part: Part): Step {
  if ('literal' in part) return literalStep(model, part.literal);
  const { source } = vocabularyOf(model);
  if ('schema' in part) {
    return engineStep(model, createTokenConstraint(source, { type: 'json_schema', json_schema: part.schema as never }));
  }
  const regex = part.oneOf.map((text) => text.replace(/[^A-Za-z0-9_ ]/g, '\\$&')).join('|');
  return engineStep(model, createTokenConstraint(source, { type: 'regex', regex: `(?:${regex})` }));
}

/**
 * A text of parts.
 * @param next the part behind those that are there; undefined at the end
 */
export function constraintOf(model: Model, next: (index: number, text: string) => Part | undefined): Constraint {
  let index = 0;
  let text = ''; // of the part
  let step = stepOf(model, next(0, '')!);
  return {
    mask(logits) {
      const ending = [...model.ends].filter((id) => id < logits.length).map((id) => [id, logits[id]]);
      const mayEnd = step.mask(logits);
      const isLast = next(index + 1, text) === undefined;
      for (const [id, logit] of ending) logits[id] = mayEnd && isLast ? logit : Number.NEGATIVE_INFINITY;
    },
    accept(id, piece) {
      text += piece;
      if (!step.accept(id)) return false;
      const part = next(++index, text);
      text = '';
      if (!part) return true;
      step = stepOf(model, part);
      return false;
    },
  };
}

/**
 * A text that is free until a mark comes, is then what `behind` says, and free again.
 * @param mark begins what is constrained
 */
export function markedConstraint(mark: string, behind: () => Constraint): Constraint {
  let seen = '';
  let inner: Constraint | undefined;
  return {
    mask: (logits) => inner?.mask(logits),
    accept(id, piece) {
      if (inner) {
        if (inner.accept(id, piece)) inner = undefined;
        seen = '';
        return false;
      }
      seen = (seen + piece).slice(-mark.length);
      if (seen === mark) inner = behind();
      return false;
    },
  };
}

/**
 * Checks a schema of a request.
 * @param isStrict refuses what cannot be enforced; otherwise `pattern` and `format` are notes
 * @throws {HttpError} 400 when it is malformed, too large, or more than the engine enforces
 */
export function checkedSchema(param: string, value: unknown, isStrict: boolean): Schema {
  if (typeof value !== 'boolean' && !isRecord(value)) throw refused(`${param} must be a JSON Schema: got ${show(value)}`, param);
  const json = JSON.stringify(value);
  if (json.length > LIMITS.schemaBytes) {
    throw refused(`${param} must have at most ${LIMITS.schemaBytes} characters: it has ${json.length}`, param);
  }
  // A copy: the engine keeps what it derives beside the object.
  const schema: unknown = JSON.parse(json);
  const counts = { nodes: 0, choices: 0 };
  count(schema, 0, isStrict, counts, param);
  try {
    createTokenConstraint(TINY, { type: 'json_schema', json_schema: schema as never });
  } catch (error) {
    throw refused(`${param} must be a schema that can be enforced: ${excerpt((error as Error).message)}`, param);
  }
  return schema as Schema;
}

// A vocabulary of the single bytes: enough to have the engine read a schema.
const TINY = {
  tokens: Array.from({ length: 257 }, (_, byte) => (byte < 256 ? Uint8Array.of(byte) : new Uint8Array())),
  eosTokenId: 256,
};

const CHOICES = ['anyOf', 'oneOf', 'allOf', 'not', 'if', 'dependentSchemas', 'uniqueItems', 'contains'];
const NOTES = ['pattern', 'format'];
const VALUES = ['const', 'enum', 'default', 'examples'];

function count(value: unknown, depth: number, isStrict: boolean, counts: { nodes: number; choices: number }, param: string) {
  const limits: [boolean, string][] = [
    [depth > LIMITS.schemaDepth, `${LIMITS.schemaDepth} levels`],
    [++counts.nodes > LIMITS.schemaNodes, `${LIMITS.schemaNodes} values`],
    [counts.choices > LIMITS.schemaChoices, `${LIMITS.schemaChoices} of ${CHOICES.join(', ')}`],
  ];
  for (const [isOver, what] of limits) if (isOver) throw refused(`${param} must have at most ${what}: it has more`, param);
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (CHOICES.includes(key)) counts.choices += Array.isArray(member) ? member.length : 1;
    if (!isStrict && NOTES.includes(key) && typeof member === 'string') delete (value as Record<string, unknown>)[key];
    else count(member, depth + 1, isStrict || VALUES.includes(key), counts, param);
  }
}
