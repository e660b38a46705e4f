// What a hub tells of a model: the commit that a revision is, and the files of a folder with sizes and digests. The hub's own client
// asks; requests go through ours, which makes them again, bounds answers, and says in words what a refusal means.

import { HUB_URL, listFiles, modelInfo } from '@huggingface/hub';
import { FormatError } from '../errors.ts';
import { excerpt, show } from '../excerpt.ts';
import { type Requests, readUrl } from '../source/http.ts';
import { type HubName, isPlainPart, nameText } from './name.ts';

/** Largest answer of a hub in bytes: a page of a listing has a thousand files. */
const ANSWER_LIMIT = 32 << 20;
/** Most files of a listing: some fifty times those of the largest checkpoints. */
const FILES_LIMIT = 1 << 16;
/** Most pages of a listing: hubs put a thousand files on one, and one that is empty may lead on for ever. */
const PAGES_LIMIT = 1000;

/** The hub's address unless another is said. */
export const DEFAULT_ENDPOINT = HUB_URL;

/** A hub, and what is sent to it. */
export interface Hub {
  /** Its address, without a slash at its end. */
  readonly endpoint: string;
  /** How to ask: a token stands in its headers. */
  readonly requests: Requests;
}

/** A file as a hub's listing has it. */
export interface HubFile {
  /** Its path in the repository. */
  readonly path: string;
  /** Its size in bytes. */
  readonly byteLength: number;
  /** What git calls it: SHA-1 of its content with a header; of a pointer, if it has `sha256`. */
  readonly oid?: string;
  /** Of a file in LFS or Xet, its content's. */
  readonly sha256?: string;
}

/** The commit that a name's revision is now. @throws {FormatError} when the answer names none */
export async function commitOf(hub: Hub, name: HubName): Promise<string> {
  const info = await asking(name, () =>
    modelInfo({
      name: name.repo,
      revision: name.revision,
      additionalFields: ['sha'],
      hubUrl: hub.endpoint,
      fetch: fetchOf(hub, name),
    }),
  );
  const { sha } = info as { sha?: unknown };
  if (typeof sha === 'string' && /^[0-9a-zA-Z]{1,64}$/.test(sha)) return sha;
  throw new FormatError(`hub must name the commit: got ${show(sha)}`, { file: nameText(name) });
}

/**
 * The files of a name's folder at a commit, and with `recursive` of those below it. What is no plain name is left out.
 * @throws {FormatError} when there are more than FILES_LIMIT
 */
export async function filesOf(hub: Hub, name: HubName, commit: string, recursive = false): Promise<HubFile[]> {
  const files: HubFile[] = [];
  const within = name.folder === '' ? '' : `${name.folder}/`;
  const listing = listFiles({
    repo: { type: 'model', name: name.repo },
    revision: commit,
    hubUrl: hub.endpoint,
    fetch: fetchOf(hub, name),
    recursive,
    ...(name.folder !== '' && { path: name.folder.split('/').map(encodeURIComponent).join('/') }),
  });
  await asking(name, async () => {
    let entries = 0;
    for await (const entry of listing as AsyncIterable<unknown>) {
      if (++entries > FILES_LIMIT)
        throw new FormatError(`repository must have at most ${FILES_LIMIT} files: it has more`, {
          file: nameText(name),
        });
      const file = fileOf(entry, name);
      if (!file?.path.startsWith(within)) continue;
      const parts = file.path.slice(within.length).split('/');
      if (parts.every(isPlainPart) && (recursive || parts.length === 1)) files.push(file);
    }
  });
  return files;
}

/** Where the bytes of a file are. */
export function fileAddress({ endpoint }: Hub, { repo }: HubName, commit: string, path: string): string {
  return `${endpoint}/${repo}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
}

/** What a refusal of the hub means. */
export function explainer(hub: Hub, name: HubName): (response: Response) => string | undefined {
  return ({ status, headers }) => {
    const code = headers.get('x-error-code');
    const isKnown = hub.requests.headers?.authorization !== undefined;
    const page = `${hub.endpoint}/${name.repo}`;
    const token = isKnown
      ? 'the token that was sent has no access to it'
      : 'give a token in HF_TOKEN, or as `token` in code';
    if (code === 'GatedRepo')
      return `its owners ask you to accept terms: do so at ${page}, then ${isKnown ? 'try again; the token must be of that account' : token}`;
    if (code === 'RevisionNotFound') return `there is no revision ${excerpt(name.revision)}`;
    if (code === 'EntryNotFound')
      return `there is no ${name.folder === '' ? 'such file' : `folder ${excerpt(name.folder)}`} in it`;
    if (code === 'RepoNotFound' || status === 401 || status === 404)
      return `there is no such model, or it is private: ${token}`;
    if (status === 403) return `it is not open to you: ${token}`;
    if (status === 429) return 'the hub asks to wait: too many requests were made';
    return undefined;
  };
}

// Runs what asks a hub. What its client cannot read is the hub's fault.
async function asking<T>(name: HubName, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
    const fault = error instanceof SyntaxError ? 'is not JSON' : 'has another form';
    throw new FormatError(`hub must answer like Hugging Face’s: the answer ${fault}`, { file: nameText(name) });
  }
}

// The client's requests as ours. A further page is asked of the same server, whatever its link says: a token goes nowhere else.
function fetchOf(hub: Hub, name: HubName): typeof fetch {
  let pages = 0;
  return async (input) => {
    if (++pages > PAGES_LIMIT) {
      const message = `listing must have at most ${PAGES_LIMIT} pages: it has more`;
      throw new FormatError(message, { file: nameText(name) });
    }
    const { pathname, search } = new URL(String(input));
    const address = `${new URL(hub.endpoint).origin}${pathname}${search}`;
    let link: string | null = null;
    const body = await readUrl(address, ANSWER_LIMIT, {
      ...hub.requests,
      subject: nameText(name),
      explain: explainer(hub, name),
      inspect: (response) => {
        link = response.headers.get('link');
      },
    });
    return new Response(body, { headers: link === null ? {} : { link } });
  };
}

function fileOf(entry: unknown, name: HubName): HubFile | undefined {
  const { type, path, size, oid, lfs } = (entry ?? {}) as Record<string, unknown>;
  if (type !== 'file') return undefined;
  const { oid: lfsOid, size: lfsSize } = (lfs ?? {}) as Record<string, unknown>;
  const byteLength = Number(lfsSize ?? size ?? Number.NaN);
  if (typeof path !== 'string' || !Number.isSafeInteger(byteLength) || byteLength < 0)
    throw new FormatError(`listing must have the path and size of each file: ${show(path)} lacks one`, {
      file: nameText(name),
    });
  const [sha1, sha256] = [digestOf(oid, 40), digestOf(lfsOid, 64)];
  return { path, byteLength, ...(sha1 && { oid: sha1 }), ...(sha256 && { sha256 }) };
}

// A digest of so many hexadecimal digits; some servers write `sha256:` in front.
function digestOf(value: unknown, digits: number): string | undefined {
  const [, digest] = (typeof value === 'string' && /^(?:sha256:)?([0-9a-f]+)$/i.exec(value)) || [];
  return digest?.length === digits ? digest.toLowerCase() : undefined;
}
