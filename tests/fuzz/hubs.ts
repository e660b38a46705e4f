// Hubs that lie: in what they tell of a model, in listings and their further pages, in ETags, redirects, sizes and bytes. What comes is
// the file that the listing tells of, or an error that names the model; a token goes to the hub alone.

import { createHash } from 'node:crypto';
import { openHub } from '../../src/hub/hub.ts';
import type { HttpOptions } from '../../src/index.ts';
import { rawTensor, safetensors } from '../checkpoints.ts';
import { changedJson } from './json.ts';
import { expect, Fault } from './oracle.ts';
import type { Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, type Target, type World } from './target.ts';

const ENDPOINT = 'http://hub.test';
const STORE = 'http://files.test';
const NAME = 'hf:org/model';
const TOKEN = 'hf_secret';
const COMMIT = createHash('sha1').update('commit').digest('hex');
const WEIGHTS = 'model.safetensors';

/** How answers differ from the right ones. */
interface Lies {
  /** Texts in place of the answers to what the model is, and of its files. */
  info?: string;
  listing?: string;
  /** A Link header of the listing; `next` for a page that never ends. */
  link?: string;
  /** Headers of files, by name; null for none. */
  headers: Record<string, string | null>;
  /** Where the weights are said to be. */
  location?: string;
  /** Statuses of the nth request. */
  status: Record<number, number>;
  /** Bytes of the weights that are others; how many more or fewer than the listing says. */
  changes: number[];
  longer: number;
  knowsRanges: boolean;
}

const HEADERS: readonly (readonly [name: string, values: readonly (string | null)[]])[] = [
  ['etag', ['"2"', '', 'W/"1"', null, 'x'.repeat(4000)]],
  ['x-linked-etag', ['"0"', `"${'0'.repeat(64)}"`, 'W/"', null]],
  ['x-repo-commit', ['0'.repeat(40), '', '../..', null, 'x'.repeat(4000)]],
  ['content-range', ['bytes 0-0/*', 'bytes 0-0/0', 'bytes 5-1/2', 'bytes 0-0/1e9', 'bytes 0-0/9007199254740993', null]],
  ['content-type', ['text/html', 'application/json', '']],
  ['x-error-code', ['GatedRepo', 'RepoNotFound', 'EntryNotFound', 'constructor', '']],
  ['x-linked-size', ['0', '-1', 'NaN']],
];
const LINKS: readonly string[] = [
  'next',
  `<${STORE}/api/models/org/model/tree/main?cursor=3>; rel="next"`,
  '<>; rel="next"',
  '<javascript:alert(1)>; rel="next"',
  '<//>; rel="next"',
  'rel="next"',
  '<'.repeat(5000),
];
const LOCATIONS: readonly string[] = [`${STORE}/other`, `${ENDPOINT}/else`, 'http://[', 'file:///etc/passwd', ''];

function filesFrom(random: Random): Record<string, Uint8Array<ArrayBuffer>> {
  const size = random.between(1, 300);
  const tensors = { a: rawTensor('U8', [size], size), b: rawTensor('F32', [2], 8) };
  return {
    [WEIGHTS]: safetensors(tensors),
    'config.json': encode('{}'),
    ...(random.chance(0.3) && { 'tokenizer.json': encode('{"a":1}') }),
  };
}

const digest = (kind: string, bytes: Uint8Array) => createHash(kind).update(bytes).digest('hex');
const infoOf = () => ({
  id: 'org/model',
  sha: COMMIT,
  private: false,
  gated: false,
  siblings: [{ rfilename: WEIGHTS }],
});
const listingOf = (files: Readonly<Record<string, Uint8Array>>) =>
  Object.entries(files).map(([path, bytes]) => {
    const file = { type: 'file', path, size: bytes.length, oid: digest('sha1', encode(path)) };
    return path === WEIGHTS
      ? { ...file, lfs: { oid: digest('sha256', bytes), size: bytes.length, pointerSize: 128 } }
      : file;
  });

function liesFrom(random: Random, files: Readonly<Record<string, Uint8Array>>): Lies {
  const lies: Lies = { headers: {}, status: {}, changes: [], longer: 0, knowsRanges: random.chance(0.8) };
  for (let count = random.below(4); count > 0; count--) {
    switch (random.below(8)) {
      case 0:
        lies.info = random.chance(0.8) ? changedJson(infoOf(), random) : random.pick(['', '<!doctype html>', '[', '7']);
        break;
      case 1:
      case 2:
        lies.listing = random.chance(0.9)
          ? changedJson(listingOf(files), random)
          : random.pick(['', '{}', '[]', 'null', '[[]]']);
        break;
      case 3:
        lies.link = random.pick(LINKS);
        break;
      case 4: {
        const [name, values] = random.pick(HEADERS);
        lies.headers[name] = random.pick(values);
        break;
      }
      case 5:
        lies.location = random.pick(LOCATIONS);
        break;
      case 6:
        // Those that are asked again wait; of them one is enough.
        lies.status[random.below(8)] = random.pick([401, 403, 404, 416, 200, 206, 204, 304, 301, 410, 418]);
        break;
      default:
        if (random.chance(0.5)) lies.changes.push(random.below(files[WEIGHTS].length));
        else lies.longer = random.pick([-1, 1, -8, 100]);
    }
  }
  return lies;
}

export const hub: Target = {
  name: 'hub',
  subjects: [NAME, 'org/model', ENDPOINT],
  make(random) {
    const files = filesFrom(random);
    return { ...files, [CASE_NAME]: caseOf({ ...liesFrom(random, files) }) };
  },
  async run(files, { higgs }) {
    const { [CASE_NAME]: _, ...modelFiles } = files;
    const lies = choicesOf<Lies>(files);
    const actual: Found = { requests: 0 };
    const failed = await readAll(modelFiles, lies, actual, higgs).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    // What a fetch throws is no answer, which is asked for again: faults are told of here.
    if (actual.fault !== undefined) throw new Fault(actual.fault);
    expect(actual.requests <= REQUESTS, 'requests come to an end');
    if (failed) throw failed.error;
  },
};

/** Most requests of a case: a thousand pages, and the files, some of them again. */
const REQUESTS = 1200;

/** What the server saw. */
interface Found {
  requests: number;
  fault?: string;
}

async function readAll(
  modelFiles: Readonly<Record<string, Uint8Array>>,
  lies: Lies,
  actual: Found,
  higgs: World['higgs'],
): Promise<void> {
  const folder = await openHub(NAME, { endpoint: ENDPOINT, token: TOKEN, fetch: fetchFrom(modelFiles, lies, actual) });
  const names = await folder.list();
  for (const name of names) {
    expect(!/[/\\\0]/.test(name) && name !== '..' && name !== '.', 'names of files are plain');
    const source = await folder.open(name);
    const bytes = new Uint8Array(await source.slice(0, source.byteLength));
    // What the listing tells the digest of is that, whatever else was said.
    if (name !== WEIGHTS || lies.listing !== undefined || lies.link !== undefined) continue;
    expect(Buffer.compare(bytes, modelFiles[WEIGHTS]) === 0, 'bytes are those that the listing tells of');
  }
  if (lies.listing === undefined && lies.link === undefined) {
    expect(names.join() === Object.keys(modelFiles).sort().join(), 'the files are those of the listing');
  }
  await higgs.inspectCheckpoint(folder);
}

function fetchFrom(
  files: Readonly<Record<string, Uint8Array>>,
  lies: Lies,
  actual: Found,
): NonNullable<HttpOptions['fetch']> {
  const weights = Uint8Array.from(
    { length: Math.max(0, files[WEIGHTS].length + lies.longer) },
    (_, i) => files[WEIGHTS][i] ?? 0,
  );
  for (const offset of lies.changes) if (offset < weights.length) weights[offset] ^= 1;
  return async (url, init) => {
    const calls = actual.requests++;
    const status = lies.status[calls];
    const { origin, pathname, searchParams } = new URL(url);
    const headers = new Headers(init.headers);
    if ((origin === ENDPOINT) !== (headers.get('authorization') === `Bearer ${TOKEN}`))
      actual.fault = 'the hub alone gets the token';
    const given = Object.entries(lies.headers);
    const withLies = (right: Record<string, string>): Record<string, string> => {
      const all = { ...right };
      for (const [name, value] of given) {
        if (value === null) delete all[name];
        else all[name] = value;
      }
      return all;
    };
    const answer = (body: BodyInit | null, code: number, extra: Record<string, string>, sentTo?: string) => {
      const is = status ?? code;
      const response = new Response([204, 304].includes(is) ? null : body, { status: is, headers: extra });
      if (sentTo === undefined) return response;
      return Object.defineProperties(response, { redirected: { value: true }, url: { value: sentTo } });
    };
    if (pathname.startsWith('/api/models/')) {
      if (pathname.includes('/revision/'))
        return answer(lies.info ?? JSON.stringify(infoOf()), 200, { 'content-type': 'application/json' });
      const next = lies.link === 'next' ? `<${url.split('?')[0]}?cursor=${calls}>; rel="next"` : lies.link;
      const isFirst = !searchParams.has('cursor');
      const body = isFirst || lies.link === 'next' ? (lies.listing ?? JSON.stringify(listingOf(files))) : '[]';
      return answer(body, 200, { 'content-type': 'application/json', ...(next !== undefined && { link: next }) });
    }
    const name = decodeURIComponent(pathname.split('/').at(-1)!);
    const isWeights = name === WEIGHTS || origin === STORE;
    const content = isWeights ? weights : Object.hasOwn(files, name) ? files[name] : undefined;
    if (!content) return answer('Entry not found', 404, withLies({ 'x-error-code': 'EntryNotFound' }));
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.get('range') ?? '') ?? [];
    const about = { etag: '"1"', 'x-repo-commit': COMMIT };
    const sentTo = isWeights ? (lies.location ?? `${STORE}/${WEIGHTS}`) : undefined;
    if (first === undefined || !lies.knowsRanges) return answer(content.slice().buffer, 200, withLies(about), sentTo);
    if (Number(first) >= content.length)
      return answer(null, 416, withLies({ ...about, 'content-range': `bytes */${content.length}` }), sentTo);
    const to = Math.min(Number(last), content.length - 1);
    const range = `bytes ${first}-${to}/${content.length}`;
    return answer(
      content.slice(Number(first), to + 1).buffer,
      206,
      withLies({ ...about, 'content-range': range }),
      sentTo,
    );
  };
}
