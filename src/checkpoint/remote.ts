// A checkpoint on a server: Hugging Face's file names below one address.

import { text } from '../check.ts';
import { FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { type HttpOptions, httpOptions, openUrl, urlOf, WEB_PAGE } from '../source/http.ts';
import type { Folder, Source } from '../source/source.ts';
import { INDEX_NAME, readIndex, SINGLE_NAME } from './checkpoint.ts';

// What goes along with the weights where it is there; there is no way to ask for a listing.
const SIDE_FILES = [
  ...['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'],
  ...['added_tokens.json', 'vocab.json', 'merges.txt', 'tokenizer.model', 'chat_template.jinja', 'chat_template.json'],
];

/** Files that are asked for at once: browsers have six connections to a server. */
const PROBES = 6;

/**
 * Opens the checkpoint below an address: `model.safetensors` or an index and its shards, and the files beside them.
 * @param address such as `https://example.org/models/llama/`; with or without the last slash
 * @throws {FileError} when the server refuses, other than by 404 or a web page, which many servers have for what is not there
 * @throws {RangeError} when the address is no whole URL, or the page of a model on huggingface.co
 * @throws {FormatError} when there is neither a model.safetensors nor an index
 * @example
 * const checkpoint = await higgs.open(await urlFolder('https://example.org/models/llama/'));
 */
export async function urlFolder(address: string | URL, options: HttpOptions = {}): Promise<Folder> {
  const base = new URL(urlOf('address', address));
  const settings = httpOptions('options', options);
  checkHub(base);
  const addressOf = (name: string): URL => {
    const url = new URL(base);
    url.pathname = `${base.pathname.replace(/\/*$/, '/')}${encodeURIComponent(name)}`;
    return url;
  };
  const opened = new Map<string, Source>();
  let answer = 'it has neither';
  const probe = async (name: string): Promise<boolean> => {
    try {
      opened.set(name, await openUrl(String(addressOf(name)), settings));
      return true;
    } catch (error) {
      if (!(error instanceof FileError) || (error.code !== '404' && error.code !== WEB_PAGE)) throw error;
      if (name === SINGLE_NAME && error.code === WEB_PAGE) answer = 'the server answers with a web page';
      return false;
    }
  };
  const folder: Folder = {
    name: `${base.origin}${base.pathname.replace(/\/*$/, '')}`,
    list: async () => [...opened.keys()].sort(),
    open: async (name) => {
      const source = opened.get(text('name', name));
      if (!source)
        throw new FormatError(`folder must have the file ${show(name)}: it is missing`, { file: folder.name });
      return source;
    },
  };
  if (!(await probe(SINGLE_NAME))) {
    if (!(await probe(INDEX_NAME))) {
      throw new FormatError(`address must have ${SINGLE_NAME} or ${INDEX_NAME}: ${answer}`, { file: folder.name });
    }
    const shards = new Set((await readIndex(folder)).values());
    await forEach([...shards].sort(), probe);
  }
  await forEach(SIDE_FILES, probe);
  return folder;
}

// Runs `work` on every item, PROBES at once; after an error, on no further one.
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = items.values();
  let isOver = false;
  const next = async () => {
    for (const item of left) {
      if (isOver) return;
      try {
        await work(item);
      } catch (error) {
        isOver = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: PROBES }, next));
}

// The page of a model, copied from a browser: its files lie elsewhere.
function checkHub({ origin, hostname, pathname }: URL): void {
  if (hostname !== 'huggingface.co' && hostname !== 'hf.co') return;
  const [, model, revision = 'main'] = /^\/([^/]+\/[^/]+)(?:\/(?:tree|blob)\/([^/]+).*)?\/*$/.exec(pathname) ?? [];
  if (model === undefined) return;
  throw new RangeError(
    `address must be that of a model’s files, ${origin}/${model}/resolve/${revision}/: got ${show(origin + pathname)}`,
  );
}
