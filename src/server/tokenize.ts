// POST /tokenize and /detokenize, as llama.cpp's server has them.

import { flag, givenIds, needed, type Reader, refuseValue, type Schema, text } from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { membersOf } from './body.ts';
import { LIMITS } from './limits.ts';

interface TokenizeRequest {
  content: string;
  add_special?: boolean;
  with_pieces?: boolean;
}
// One is encoded, or decoded, at a stretch: others wait meanwhile.
const bounded =
  <T extends { readonly length: number }>(read: Reader<T>, most: number, description: string): Reader<T> =>
  (subject, value) => {
    const given = read(subject, value);
    return given.length <= most ? given : refuseValue(subject, `at most ${most} ${description}`, given.length);
  };
const content = bounded(text, LIMITS.toldCharacters, 'characters');
const tokens = bounded(givenIds as Reader<number[]>, LIMITS.toldTokens, 'tokens');
const tokenizeMembers: Schema<TokenizeRequest> = { content: needed(content), add_special: flag, with_pieces: flag };
const readTokenize = membersOf(tokenizeMembers);
const readDetokenize = membersOf<{ tokens: number[] }>({ tokens: needed(tokens) });

/** Reads a request for the tokens of a text. @throws {HttpError} 400 when it is malformed */
export function tokenizeRequest(body: Record<string, unknown>): (model: Model) => { tokens: unknown[] } {
  const { content, add_special: special = false, with_pieces: isWithPieces = false } = readTokenize(body);
  return ({ tokenizer }) => {
    const tokens = tokenizer.encode(content, { special });
    if (!isWithPieces) return { tokens };
    return { tokens: tokens.map((id) => ({ id, piece: tokenizer.decode([id], { special: true }) })) };
  };
}

/** Reads a request for the text of tokens. @throws {HttpError} 400 when it is malformed */
export function detokenizeRequest(body: Record<string, unknown>): (model: Model) => { content: string } {
  const { tokens } = readDetokenize(body);
  return ({ tokenizer }) => ({ content: tokenizer.decode(tokens, { special: true }) });
}
