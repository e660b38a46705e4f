// Regular expressions of published tokenizers, as their files have them. The engine's own RegExp runs them, which backtracks but
// is several times as fast. For these it takes linear time on any text. No repetition stands in another one. Where one alternative
// fails after k characters, a later one takes at least k − 1 of them: what `\s*[\r\n]+` gives up, `\s+(?!\S)` takes; what the
// first of two alternatives for words gives up, the second takes.

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const OTHER = '[^\\r\\n\\p{L}\\p{N}]?';
const SIGNS = ' ?[^\\s\\p{L}\\p{N}]+';
const DEEPSEEK = `[!"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_\`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`;

const PUBLISHED: ReadonlySet<string> = new Set([
  // GPT-2
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|${SIGNS}|\\s+(?!\\S)|\\s+`,
  `'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+|${SIGNS}|\\s+(?!\\S)|\\s+`,
  // GPT-4 (cl100k), Llama 3, SmolLM3; Qwen 2 to 3
  ...['\\p{N}{1,3}', '\\p{N}'].map((digits) => `${CONTRACTIONS}|${OTHER}\\p{L}+|${digits}|${SIGNS}[\\r\\n]*|${SPACES}`),
  // GPT-4o (o200k), gpt-oss, Llama 4, Phi-4; Mistral (Tekken), without contractions
  ...[`${CONTRACTIONS}?`, ''].flatMap((contractions) =>
    ['\\p{N}{1,3}', '\\p{N}'].map(
      (digits) =>
        `${OTHER}${UPPER}*${LOWER}+${contractions}|${OTHER}${UPPER}+${LOWER}*${contractions}|${digits}|${SIGNS}[\\r\\n/]*|${SPACES}`,
    ),
  ),
  // Qwen 3.5
  `${CONTRACTIONS}|${OTHER}[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`,
  // DeepSeek V2 to V3, and Coder; V3's file has the line breaks themselves
  DEEPSEEK,
  DEEPSEEK.replaceAll('\\r\\n', '\r\n'),
  ...['\\p{N}{1,3}', '\\p{N}', '[一-龥぀-ゟ゠-ヿ]+', '[一-龥ࠀ-一가-퟿]+', '[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+'],
  // BLOOM, Falcon
  ' ?[^(\\s|[.,!?…。，、।۔،])]+',
  '[0-9][0-9][0-9]',
]);

/** Whether the engine's own RegExp may run the pattern. */
export const isPublished = (pattern: string): boolean => PUBLISHED.has(pattern);
