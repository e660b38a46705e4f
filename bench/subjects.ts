// The models whose quality is measured, each with windows of a text that it knows.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readArchitecture } from '../src/families/family.ts';
import { openFolder } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { readTokenizer } from '../src/text/tokenizer.ts';

/** A model and what it is to predict. */
export interface Subject {
  name: string;
  folder: Folder & { close(): Promise<void> };
  /** Each begins with bos, which is not among its ids. */
  texts: number[][];
  /** Tokens of a window, its bos included. */
  context: number;
  /** A text of the same kind that holds none of those. */
  otherText: string;
}

/** Stories of the other text. */
const OTHER_STORIES = 200;

/**
 * The model of that name: the embedded one, or one of stories, which the project does not hold.
 * @param texts number of windows, or of stories
 * @param data a directory with `models/<name>/` and `text/tinystories.txt`
 */
export function subjectOf(name: string, texts: number, data: string): Promise<Subject> {
  return name === 'books-llama' ? booksLlama(texts) : storyModel(name, texts, data);
}

// On windows at equal distances over its test text, as its reference numbers cut them.
async function booksLlama(windows: number): Promise<Subject> {
  const path = 'models/books-llama';
  const folder = await openFolder(path);
  const { encode } = await readTokenizer(folder);
  const ids = encode(readFileSync(join(path, 'test.txt'), 'utf8'), { special: false });
  const context = 256;
  const all = Math.floor(ids.length / (context - 1));
  const count = Math.min(windows, all);
  const texts = Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * all) / count) * (context - 1);
    return ids.slice(start, start + context - 1);
  });
  const otherText = readFileSync(join(path, 'valid.txt'), 'utf8');
  return { name: 'books-llama', folder, texts, context, otherText };
}

// On the first stories, each as far as the context reaches.
async function storyModel(name: string, stories: number, data: string): Promise<Subject> {
  const folder = await openFolder(join(data, 'models', name));
  const { encode } = await readTokenizer(folder);
  const { contextLength: context } = await readArchitecture(folder);
  const all = readFileSync(join(data, 'text/tinystories.txt'), 'utf8')
    .split('<|endoftext|>')
    .map((story) => story.trim());
  const texts = all.slice(0, stories).map((story) => encode(story, { special: false }).slice(0, context - 1));
  return { name, folder, texts, context, otherText: all.slice(stories, stories + OTHER_STORIES).join('\n') };
}
