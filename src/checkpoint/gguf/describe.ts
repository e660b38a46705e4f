// The tokenizer and what stands beside it, made of metadata: tokenizer.json, tokenizer_config.json with the chat templates, and
// generation_config.json.
//
// Two kinds of vocabulary are known. `gpt2` has merges, and a name for how texts are cut before them. `llama` is SentencePiece's BPE: pieces
// with scores. Two pieces merge where the vocabulary has both together, those of the highest score first, and among equals those of the
// lowest id: that is a list of merges. Some converters write one score for all; ids stand in the order of merges there, too.

import { show } from '../../excerpt.ts';
import { PRETOKENIZERS } from './pretokenizers.ts';
import type { JsonObject, Values } from './values.ts';

/** Longest piece that is taken apart: SentencePiece makes none above 16 characters, tokens of spaces are longer. */
const PIECE_CHARACTERS = 128;
/** Kinds of tokens, by their numbers in the file. */
const [UNKNOWN, CONTROL, USER, UNUSED] = [2, 3, 4, 5];
/** Tokens that end an answer, where the file does not name them; as llama.cpp knows them. */
const ENDS: ReadonlySet<string> = new Set([
  ...['<|eot_id|>', '<|eom_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>'],
  ...['<｜end▁of▁sentence｜>', '<EOT>', '<|return|>', '<|call|>'],
]);

interface TokenList {
  readonly tokens: readonly string[];
  /** Kind of each token; normal if left out. */
  readonly kinds: Float64Array | undefined;
  readonly ids: { readonly bos?: number; readonly eos?: number; readonly unknown?: number; readonly pad?: number };
}

/**
 * The files of the tokenizer; none where the file has none.
 * @throws {UnsupportedError} when it is of a kind that is not known; names it
 */
export function tokenizerOf(values: Values): JsonObject {
  const model = values.text('tokenizer.ggml.model') ?? 'none';
  if (model === 'none' || model === 'no_vocab') return {};
  if (model !== 'gpt2' && model !== 'llama') {
    const message = `tokenizer.ggml.model must be gpt2 or llama: got ${show(model)}`;
    return values.unsupported(`tokenizer ${model}`, message);
  }
  const vocabulary = vocabularyOf(values, model);
  const adds = addedOf(values, model);
  return {
    'tokenizer.json': values.text('tokenizer.huggingface.json') ?? {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      ...(model === 'gpt2' ? byteLevel(values, vocabulary) : sentencePieces(values, vocabulary)),
      post_processor: around(vocabulary, adds),
    },
    'tokenizer_config.json': {
      ...named(vocabulary),
      ...{ add_bos_token: adds.bos, add_eos_token: adds.eos, clean_up_tokenization_spaces: false },
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...templates(values),
    },
  };
}

function vocabularyOf(values: Values, model: 'gpt2' | 'llama'): TokenList {
  const tokens = values.texts('tokenizer.ggml.tokens');
  if (!tokens || tokens.length === 0)
    return values.fail('metadata must have tokenizer.ggml.tokens: it is missing or empty');
  const kinds = values.numbers('tokenizer.ggml.token_type');
  if (kinds && kinds.length < tokens.length) {
    values.fail(
      `tokenizer.ggml.token_type must have a type for each of ${tokens.length} tokens: it has ${kinds.length}`,
    );
  }
  const usual = model === 'llama' ? { bos: 1, eos: 2, unknown: 0 } : {};
  const idOf = (name: 'bos' | 'eos' | 'unknown' | 'padding', otherwise?: number) => {
    const id = values.integer(`tokenizer.ggml.${name}_token_id`, otherwise);
    return id !== undefined && id >= 0 && id < tokens.length ? id : undefined;
  };
  const ids = Object.entries({
    bos: idOf('bos', usual.bos),
    eos: idOf('eos', usual.eos),
    unknown: idOf('unknown', usual.unknown),
    pad: idOf('padding'),
  }).filter(([, id]) => id !== undefined);
  return { tokens, kinds, ids: Object.fromEntries(ids) };
}

function addedOf(values: Values, model: 'gpt2' | 'llama'): { bos: boolean; eos: boolean } {
  const pre = PRETOKENIZERS.get(values.text('tokenizer.ggml.pre') ?? 'default');
  const usual = model === 'llama' || pre?.begins === true;
  return {
    bos: values.flag('tokenizer.ggml.add_bos_token') ?? usual,
    eos: values.flag('tokenizer.ggml.add_eos_token') ?? false,
  };
}

const kindOf = ({ kinds }: TokenList, id: number): number => kinds?.[id] ?? 1;

// Control tokens are special; those of a user are found in texts as well.
function addedTokens(vocabulary: TokenList): JsonObject[] {
  const { tokens, ids } = vocabulary;
  return tokens.flatMap((content, id) => {
    const kind = kindOf(vocabulary, id);
    const special = kind === CONTROL || kind === UNKNOWN || id === ids.unknown;
    if ((!special && kind !== USER) || content === '') return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

// Tokens by id. @param holds whether a kind is part of it
function vocabOf(vocabulary: TokenList, holds: (kind: number) => boolean): Record<string, number> {
  const entries = vocabulary.tokens.map((token, id): [string, number] => [token, id]);
  return Object.fromEntries(entries.filter(([, id]) => holds(kindOf(vocabulary, id))));
}

function byteLevel(values: Values, vocabulary: TokenList): JsonObject {
  const pre = values.text('tokenizer.ggml.pre') ?? 'default';
  const pretokenizer = PRETOKENIZERS.get(pre);
  if (!pretokenizer) {
    const message = `tokenizer.ggml.pre must be one of ${[...PRETOKENIZERS.keys()].join(', ')}: got ${show(pre)}`;
    return values.unsupported(`tokenizer ${pre}`, message);
  }
  const merges = values.texts('tokenizer.ggml.merges');
  if (!merges) return values.fail('metadata must have tokenizer.ggml.merges: it is missing');
  return {
    normalizer: pretokenizer.normalizer ?? null,
    pre_tokenizer: pretokenizer.steps,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: pretokenizer.ignoresMerges ?? false },
      vocab: vocabOf(vocabulary, (kind) => kind !== UNUSED && kind !== CONTROL && kind !== USER),
      merges,
    },
  };
}

function sentencePieces(values: Values, vocabulary: TokenList): JsonObject {
  const { tokens, ids } = vocabulary;
  const vocab = vocabOf(vocabulary, (kind) => kind !== UNUSED && kind !== USER);
  const begins = values.flag('tokenizer.ggml.add_space_prefix') ?? true;
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const back = [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  return {
    normalizer: begins ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, spaces] } : spaces,
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: begins ? [...back, { type: 'Strip', content: ' ', start: 1, stop: 0 }] : back,
    },
    model: {
      ...{ type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      unk_token: ids.unknown === undefined ? null : tokens[ids.unknown],
      ...{ fuse_unk: true, byte_fallback: true, ignore_merges: false },
      vocab,
      merges: mergesOf(values, vocabulary),
    },
  };
}

function mergesOf(values: Values, vocabulary: TokenList): [string, string][] {
  const { tokens } = vocabulary;
  const scores = values.numbers('tokenizer.ggml.scores');
  const isPiece = (id: number) => kindOf(vocabulary, id) === 1;
  const pieces = new Set(tokens.filter((_, id) => isPiece(id)));
  const scoreOf = (id: number) => scores?.[id] ?? 0;
  const order = tokens.map((_, id) => id).filter((id) => isPiece(id) && tokens[id].length <= PIECE_CHARACTERS);
  order.sort((a, b) => scoreOf(b) - scoreOf(a) || a - b);
  const merges: [string, string][] = [];
  for (const id of order) {
    const characters = Array.from(tokens[id]);
    let left = '';
    for (const character of characters.slice(0, -1)) {
      left += character;
      const right = tokens[id].slice(left.length);
      if (pieces.has(left) && pieces.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}

function around({ tokens, ids }: TokenList, adds: { bos: boolean; eos: boolean }): JsonObject | null {
  const special = (id: number | undefined, isAdded: boolean) =>
    isAdded && id !== undefined ? [{ SpecialToken: { id: tokens[id], type_id: 0 } }] : [];
  const [before, after] = [special(ids.bos, adds.bos), special(ids.eos, adds.eos)];
  const used = [...(before.length ? [ids.bos!] : []), ...(after.length ? [ids.eos!] : [])];
  if (used.length === 0) return null;
  const single = [...before, { Sequence: { id: 'A', type_id: 0 } }, ...after];
  const pair = [...single, ...before, { Sequence: { id: 'B', type_id: 1 } }, ...after];
  const entries = used.map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]);
  return { type: 'TemplateProcessing', single, pair, special_tokens: Object.fromEntries(entries) };
}

function named({ tokens, ids }: TokenList): JsonObject {
  const names = { bos: 'bos_token', eos: 'eos_token', unknown: 'unk_token', pad: 'pad_token' } as const;
  return Object.fromEntries(Object.entries(ids).map(([key, id]) => [names[key as keyof typeof names], tokens[id]]));
}

// One template, or several by name.
function templates(values: Values): JsonObject {
  const template = values.text('tokenizer.chat_template');
  const others = (values.texts('tokenizer.chat_templates') ?? []).flatMap((name) => {
    const template = values.text(`tokenizer.chat_template.${name}`);
    return template === undefined ? [] : [{ name, template }];
  });
  if (others.length === 0) return template === undefined ? {} : { chat_template: template };
  return { chat_template: template === undefined ? others : [{ name: 'default', template }, ...others] };
}

/** generation_config.json: all tokens that end an answer, and how the file would have tokens drawn. */
export function generationOf(values: Values, vocabSize: number): JsonObject {
  const tokens = values.texts('tokenizer.ggml.tokens');
  if (!tokens) return {};
  const kinds = values.numbers('tokenizer.ggml.token_type');
  const isId = (id: number | undefined): id is number => id !== undefined && id >= 0 && id < vocabSize;
  const endIds = ['eos', 'eot', 'eom'].map((name) => values.integer(`tokenizer.ggml.${name}_token_id`, undefined));
  const isEnd = (token: string, id: number) => ENDS.has(token) && (kinds?.[id] === CONTROL || kinds?.[id] === USER);
  const markedIds = tokens.flatMap((token, id) => (isEnd(token, id) ? [id] : []));
  const ends = [...new Set([...endIds, ...markedIds])].filter(isId);
  const drawn = { temperature: 'temp', top_k: 'top_k', top_p: 'top_p', min_p: 'min_p' };
  const sampling = Object.entries(drawn).flatMap(([name, key]) => {
    const value = values.number(`general.sampling.${key}`, undefined);
    return value === undefined ? [] : [[name, value]];
  });
  const bos = values.integer('tokenizer.ggml.bos_token_id', undefined);
  return {
    'generation_config.json': {
      ...(isId(bos) && { bos_token_id: bos }),
      ...(ends.length > 0 && { eos_token_id: ends.length === 1 ? ends[0] : ends }),
      ...(sampling.length > 0 && { do_sample: true, ...Object.fromEntries(sampling) }),
    },
  };
}
