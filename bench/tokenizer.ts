// A model that was made for measurements has no tokenizer: it is given one whose tokens tell their ids.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { byteLevelContent } from '../tests/tokenizers.ts';

/** The model's directory; of one without a tokenizer another one, until the process ends, that has its files and a tokenizer. */
export function withTokenizer(path: string): string {
  if (existsSync(join(path, 'tokenizer.json'))) return path;
  const directory = mkdtempSync(join(tmpdir(), 'served-'));
  for (const name of readdirSync(path)) symlinkSync(resolve(path, name), join(directory, name));
  const { vocab_size } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
  const content = byteLevelContent() as { model: { vocab: Record<string, number> } };
  for (let id = Object.keys(content.model.vocab).length + 3; id < vocab_size; id++) content.model.vocab[`Ġ${id}`] = id;
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(content));
  process.on('exit', () => rmSync(directory, { recursive: true }));
  return directory;
}
