// Tokenizers for tests: a byte-level one of a few merges, made here, and the embedded model's.

import { createTokenizer, type Tokenizer } from '../src/text/tokenizer.ts';

/** GPT-2's table of bytes to printable characters, from its own definition. */
export function byteCharacters(): string[] {
  const printable = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  let next = 256;
  return range(0, 255).map((byte) => String.fromCodePoint(printable.includes(byte) ? byte : next++));
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** tokenizer.json of a byte-level vocabulary: all bytes, some merges, two special tokens and one that is not special. */
export function byteLevelContent(): Record<string, unknown> {
  const characters = byteCharacters();
  const merges = ['h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'Ġw o', 'ð Ł', 'ðŁ ĺ'];
  const tokens = [...characters, ...merges.map((merge) => merge.replace(' ', ''))];
  const added = ['<|begin|>', '<|end|>', '<think>'].map((content, i) => ({
    id: tokens.length + i,
    content,
    special: i < 2,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  }));
  return {
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}

/** Id of `<|begin|>`; `<|end|>` and `<think>` follow. */
export const BEGIN = 264;

export function byteLevelTokenizer(): Tokenizer {
  return createTokenizer(byteLevelContent(), { eos_token: '<|end|>' }, 'fixture/tokenizer.json');
}
