// POST /tokenize and /detokenize, as llama.cpp's server has them.

import { flag, ids as givenIds, needed, type Schema, text } from '../check.ts';
import type { Model } from '../text/textmodel.ts';
import { membersOf } from './body.ts';

interface TokenizeRequest {
  content: string;
  add_special?: boolean;
  with_pieces?: boolean;
}
const tokenizeMembers: Schema<TokenizeRequest> = { content: needed(text), add_special: flag, with_pieces: flag };
const readTokenize = membersOf(tokenizeMembers);
const readDetokenize = membersOf<{ tokens: number[] }>({ tokens: needed(givenIds) });

export function tokenizeRequest(body: Record<string, unknown>): (model: Model) => { tokens: unknown[] } {
  const { content, add_special: special = false, with_pieces: isWithPieces = false } = readTokenize(body);
  return ({ tokenizer }) => {
    const tokens = tokenizer.encode(content, { special });
    if (!isWithPieces) return { tokens };
    return { tokens: tokens.map((id) => ({ id, piece: tokenizer.decode([id], { special: true }) })) };
  };
}

export function detokenizeRequest(body: Record<string, unknown>): (model: Model) => { content: string } {
  const { tokens } = readDetokenize(body);
  return ({ tokenizer }) => ({ content: tokenizer.decode(tokens, { special: true }) });
}
