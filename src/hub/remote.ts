// Models on a hub as folders: nothing is stored, ranges are read where they are asked for. What was resolved once, a commit, stays:
// every file is that of the commit, has the size of the listing, keeps its ETag, and ends in the SHA-256 that the hub tells.

import { text } from '../check.ts';
import { siblingsOf } from '../checkpoint/gguf/parts.ts';
import { urlFolder } from '../checkpoint/remote.ts';
import { FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { type HttpOptions, openUrl, type Requests, readUrl, WEB_PAGE } from '../source/http.ts';
import type { Folder, Source } from '../source/source.ts';
import { commitOf, DEFAULT_ENDPOINT, explainer, fileAddress, filesOf, type Hub, type HubFile } from './client.ts';
import { type HubName, isRemote, nameText, readName } from './name.ts';
import { digestInOrder, type FileDigest } from './order.ts';
import { type Digest, startSha256 } from './sha256.ts';

/** Options of `openHub`. */
export interface HubOptions {
  /** The hub's address; https://huggingface.co if left out. */
  endpoint?: string;
  /** A token of the hub, for models that are not open to all. It is sent to the endpoint and nowhere else. */
  token?: string;
  /** Aborts requests under way. */
  signal?: AbortSignal;
  /** Milliseconds without a byte after which a request is made again; 60 000 if left out. */
  timeout?: number;
  /** The function to fetch with; the runtime's if left out. */
  fetch?: HttpOptions['fetch'];
}

/** A model on a hub, open. */
export interface HubFolder extends Folder {
  /** What was asked for. */
  readonly model: HubName;
  /** The commit that is read. */
  readonly commit: string;
  /** The folder's files by name, with sizes and digests. */
  readonly files: ReadonlyMap<string, HubFile>;
  /** For each file whose SHA-256 the hub tells and of which something was read: whether it was checked, to its last byte. */
  checked(): Map<string, boolean>;
  /** Returns: each answer is compared as it comes. */
  unchanged(): Promise<void>;
}

/** What the command line adds. */
export interface HubMeans extends HubOptions {
  /** A SHA-256 of the runtime's, where it has a faster one. */
  readonly digest?: () => Digest;
  /** What is here already: of a file, its bytes. */
  readonly local?: (commit: string, file: HubFile) => Promise<Source | undefined>;
  /** How often the hub is asked before it counts as away. */
  readonly attempts?: number;
}

/** Largest file that is read whole when it is first read, with its like beside it; so much of them is kept. */
const SMALL_LIMIT = 1 << 20;
/** Small files that are read ahead when the first is: a checkpoint has about ten. */
const AHEAD_LIMIT = 24;
const AHEAD = /\.(json|jinja|txt|model)$/;

/** As `openHub`, of what was checked already. @throws {RangeError} when it begins with neither hf: nor https:// */
export async function openRemote(name: string, means: HubMeans): Promise<Folder | HubFolder> {
  if (!isRemote(name)) throw new RangeError(`name must begin with hf: or https://: got ${show(name)}`);
  const model = readName(name);
  const plain = () => urlFolder(name, plainOptions(means));
  if (!model) return plain();
  if (isHubs(model, means)) return openModel(model, means);
  // Of another server nobody knows whether it is a hub. It gets no token.
  try {
    return await openModel(model, means);
  } catch (error) {
    const isNone =
      (error instanceof FileError && ['401', '404', WEB_PAGE].includes(error.code ?? '')) ||
      error instanceof FormatError;
    if (isNone) return plain();
    throw error;
  }
}

// Whether a model is on the hub that the settings name, rather than on another server.
function isHubs({ origin }: HubName, { endpoint = DEFAULT_ENDPOINT }: HubMeans): boolean {
  return origin === undefined || [endpoint, DEFAULT_ENDPOINT].some((address) => new URL(address).origin === origin);
}

// The hub of a model, and how it is asked.
function hubOf(model: HubName, means: HubMeans, attempts?: number): Hub {
  const { endpoint = DEFAULT_ENDPOINT, token } = means;
  const isOwn = isHubs(model, means);
  const headers = isOwn && token !== undefined ? { authorization: `Bearer ${token}` } : {};
  const requests = { ...plainOptions(means), headers, ...(attempts !== undefined && { attempts }) };
  return { endpoint: isOwn ? endpoint.replace(/\/+$/, '') : model.origin!, requests };
}

function plainOptions({ signal, timeout, fetch }: HubMeans): HttpOptions {
  return { ...(signal && { signal }), ...(timeout !== undefined && { timeout }), ...(fetch && { fetch }) };
}

/** A model at a commit: its files, and how each is read. */
export interface RemoteModel {
  /** The commit. */
  readonly commit: string;
  /** Its files. */
  readonly files: readonly HubFile[];
  /** A file's bytes, by ranges. */
  open(file: HubFile): Promise<Source>;
}

/**
 * Asks a hub for a model: what its revision is, and the files of its folder; with `recursive`, those below it, too.
 * @throws {FormatError} when the folder is empty or missing
 */
export async function resolveModel(model: HubName, means: HubMeans, recursive = false): Promise<RemoteModel> {
  const commit = await commitOf(hubOf(model, means, means.attempts), model);
  const hub = hubOf(model, means);
  const listed = await filesOf(hub, model, commit, recursive);
  const wantedNames = model.file === undefined ? undefined : siblingsOf(model.file).map((name) => pathOf(model, name));
  const files = listed.filter(({ path }) => wantedNames?.includes(path) !== false);
  if (files.length > 0) return { commit, files, open: (file) => remoteFile(hub, model, commit, file) };
  const wanted = model.file === undefined ? 'files' : `the file ${show(model.file)}`;
  throw new FormatError(`folder must have ${wanted}: ${model.file === undefined ? 'it is empty' : 'it is missing'}`, {
    file: nameText({ ...model, file: '' }),
  });
}

const pathOf = ({ folder }: HubName, name: string): string => (folder === '' ? name : `${folder}/${name}`);

async function openModel(model: HubName, means: HubMeans): Promise<HubFolder> {
  const remote = await resolveModel(model, means);
  const { commit } = remote;
  const name = nameText(model);
  const nameIn = ({ path }: HubFile) => path.slice(path.lastIndexOf('/') + 1);
  const files = new Map(remote.files.map((file) => [nameIn(file), file]));
  const digests = new Map<string, FileDigest>();

  const openFile = async (file: HubFile): Promise<Source> => {
    const here = await means.local?.(commit, file);
    if (here) return here;
    const source = await remote.open(file);
    if (file.sha256 === undefined) return source;
    const digest = digestInOrder(file.byteLength, (means.digest ?? startSha256)());
    digests.set(nameIn(file), digest);
    return checkedSource(source, digest, file.sha256, `${name}/${nameIn(file)}`);
  };
  // One request after the other for each of ten small files would take seconds.
  let ahead: Map<string, Promise<Source>> | undefined;
  const openSmall = (file: HubFile): Promise<Source> => {
    ahead ??= new Map(
      [...files.values()]
        .filter(({ path, byteLength }) => AHEAD.test(path) && byteLength <= SMALL_LIMIT)
        .slice(0, AHEAD_LIMIT)
        .map((each) => {
          const opened = openFile(each);
          opened.catch(() => {}); // whoever wants it asks again
          return [each.path, opened];
        }),
    );
    const opened = ahead.get(file.path);
    ahead.delete(file.path);
    return opened?.catch(() => openFile(file)) ?? openFile(file);
  };

  return {
    name,
    model,
    commit,
    files,
    list: async () => [...files.keys()].sort(),
    async open(wanted) {
      const file = files.get(text('name', wanted));
      if (!file) throw new FormatError(`folder must have the file ${show(wanted)}: it is missing`, { file: name });
      return file.byteLength <= SMALL_LIMIT ? openSmall(file) : openFile(file);
    },
    checked: () =>
      new Map(
        [...digests]
          .filter(([, digest]) => digest.state() !== 'none')
          .map(([file, digest]) => [file, digest.state() === 'all']),
      ),
    async unchanged() {}, // each answer was compared as it came
  };
}

// A file of a commit, by ranges; a small one whole.
async function remoteFile(hub: Hub, model: HubName, commit: string, file: HubFile): Promise<Source> {
  const subject = `${nameText({ ...model, folder: '', file: file.path })}`;
  const requests: Requests = {
    ...hub.requests,
    subject,
    explain: explainer(hub, model),
    inspect: ({ headers }) => checkHeaders(headers, commit, file, subject),
  };
  const address = fileAddress(hub, model, commit, file.path);
  const source =
    file.byteLength <= SMALL_LIMIT
      ? await readUrl(address, Math.max(file.byteLength, SMALL_LIMIT), requests)
      : await openUrl(address, requests);
  if (source.byteLength === file.byteLength) return source;
  const isPointer =
    source.byteLength < 1024 && /^version https:\/\/git-lfs/.test(textOf(await source.slice(0, source.byteLength)));
  const problem = isPointer
    ? 'the server gives a Git LFS pointer, not the file'
    : `the server gives ${source.byteLength}`;
  throw new FormatError(`file must have the ${file.byteLength} bytes of the listing: ${problem}`, { file: subject });
}

const textOf = (bytes: ArrayBuffer): string => new TextDecoder('latin1').decode(bytes);

// A hub that says whose file it gives must give that of the commit.
function checkHeaders(headers: Headers, commit: string, file: HubFile, subject: string): void {
  const given = headers.get('x-repo-commit');
  const tag = headers.get('x-linked-etag')?.replace(/^W\/|"/g, '');
  if ((given ?? commit) !== commit)
    throw new FormatError(`file must be of commit ${commit}: the server sends one of ${show(given)}`, {
      file: subject,
    });
  if (file.sha256 !== undefined && tag !== undefined && /^[0-9a-f]{64}$/.test(tag) && tag !== file.sha256)
    throw new FormatError(`file must have the SHA-256 of the listing, ${file.sha256}: the server has ${tag}`, {
      file: subject,
    });
}

function checkedSource(source: Source, digest: FileDigest, wanted: string, file: string): Source {
  return {
    byteLength: source.byteLength,
    async slice(start, end, spare) {
      const bytes = await source.slice(start, end, spare);
      const actual = digest.take(start, new Uint8Array(bytes));
      if (actual === undefined || actual === wanted) return bytes;
      throw new FormatError(`file must have the SHA-256 of the hub, ${wanted}: it has ${actual}`, { file });
    },
  };
}
