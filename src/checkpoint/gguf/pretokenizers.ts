// How texts are cut before merges, by the names that llama.cpp has for it: the steps that the tokenizer.json of those models has. A few names
// mean the same steps. llama.cpp adds the token that begins a text where `begins` is set and the file does not say.

import type { JsonObject } from './values.ts';

interface PreTokenizer {
  readonly steps: JsonObject;
  readonly normalizer?: JsonObject;
  readonly ignoresMerges?: boolean;
  readonly begins?: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const OTHER = '[^\\r\\n\\p{L}\\p{N}]?';
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const SIGNS = ' ?[^\\s\\p{L}\\p{N}]+';
const GPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|${SIGNS}|\\s+(?!\\S)|\\s+`;
const DEEPSEEK = `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`;
// Letters that have cases, and their numbers in other scripts, as DeepSeek's first models have them.
const CASED =
  'A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃';

const byLetters = (digits: string) => `${CONTRACTIONS}|${OTHER}\\p{L}+|${digits}|${SIGNS}[\\r\\n]*|${SPACES}`;
const byCases = (contractions: string, digits: string) =>
  `${OTHER}${UPPER}*${LOWER}+${contractions}|${OTHER}${UPPER}+${LOWER}*${contractions}|${digits}|${SIGNS}[\\r\\n/]*|${SPACES}`;

const level = (useRegex: boolean): JsonObject => ({
  ...{ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: useRegex },
});
const digits: JsonObject = { type: 'Digits', individual_digits: true };
const split = (pattern: string): JsonObject => ({
  ...{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
});
const sequence = (...pretokenizers: readonly JsonObject[]): JsonObject => ({ type: 'Sequence', pretokenizers });
/** Cut by each pattern in turn, then written as bytes. */
const cut = (...patterns: readonly string[]): JsonObject => sequence(...patterns.map(split), level(false));

const NFC = { type: 'NFC' };
const LLAMA3 = cut(byLetters('\\p{N}{1,3}'));
const QWEN2 = cut(byLetters('\\p{N}'));
const BLOOM = cut(' ?[^(\\s|[.,!?…。，、।۔،])]+');

const KINDS: readonly [names: string, PreTokenizer][] = [
  ['default', { steps: cut('[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]') }],
  [
    'llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2',
    { steps: LLAMA3, ignoresMerges: true, begins: true },
  ],
  ['dbrx smaug-bpe glm4 chatglm-bpe', { steps: LLAMA3 }],
  ['qwen2 stablelm2 kormo', { steps: QWEN2, normalizer: NFC }],
  ['deepseek-r1-qwen megrez hunyuan solar-open grok-2', { steps: QWEN2 }],
  [
    'qwen35',
    {
      steps: cut(`${CONTRACTIONS}|${OTHER}[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`),
      normalizer: NFC,
    },
  ],
  ['gpt-2 phi-2 mpt olmo jais trillion gigachat a.x-4.0 mellum exaone4 granite-docling', { steps: level(true) }],
  ['smollm starcoder refact command-r codeshell exaone minerva-7b mellum2', { steps: sequence(digits, level(true)) }],
  ['gpt-4o llama4 kanana2', { steps: cut(byCases(`${CONTRACTIONS}?`, '\\p{N}{1,3}')) }],
  ['tekken', { steps: cut(byCases('', '\\p{N}')), ignoresMerges: true, begins: true }],
  [
    'deepseek-llm',
    {
      steps: sequence(
        ...['[\\r\\n]', `\\s?[${CASED}]+`, '\\s?[!-/:-~！-／：-～‘-‟　-。]+', '\\s+$', '[一-龥ࠀ-一가-퟿]+'].map(split),
        digits,
        level(false),
      ),
    },
  ],
  [
    'deepseek-coder',
    {
      steps: sequence(
        ...['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+'].map(split),
        digits,
        level(false),
      ),
    },
  ],
  ['deepseek-v3 hunyuan-dense joyai-llm', { steps: cut('\\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', DEEPSEEK) }],
  [
    'seed-coder',
    {
      steps: cut(
        `${CONTRACTIONS}|${OTHER}\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
      ),
    },
  ],
  ['bloom poro-chat gpt3-finnish', { steps: BLOOM }],
];

/** By `tokenizer.ggml.pre`. */
export const PRETOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map(
  KINDS.flatMap(([names, kind]) => names.split(' ').map((name) => [name, kind])),
);
