// A model that was made for measurements has no tokenizer: it is given one whose tokens tell their ids.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { byteLevelContent } from '../tests/tokenizers.ts';

/** tokenizer.json of so many tokens: bytes, and ids as words. */
function contentOf(size: number): { model: { vocab: Record<string, number> } } {
  const content = byteLevelContent() as ReturnType<typeof contentOf>;
  const { vocab } = content.model;
  for (let id = Object.keys(vocab).length + 3; id < size; id++) vocab[`Ġ${id}`] = id;
  return content;
}

/** The same tokens by their ids; those that end and begin texts are at the end. */
export function tokensOf(size: number): string[] {
  const tokens = Array.from({ length: size }, (_, id) => `<${id}>`);
  for (const [token, id] of Object.entries(contentOf(size).model.vocab)) tokens[id] = token;
  return tokens;
}

/** The model's directory; of one without a tokenizer another one, until the process ends, that has its files and a tokenizer. */
export function withTokenizer(path: string): string {
  if (existsSync(join(path, 'tokenizer.json'))) return path;
  const directory = mkdtempSync(join(tmpdir(), 'served-'));
  for (const name of readdirSync(path)) symlinkSync(resolve(path, name), join(directory, name));
  const { vocab_size } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(contentOf(vocab_size)));
  process.on('exit', () => rmSync(directory, { recursive: true }));
  return directory;
}
