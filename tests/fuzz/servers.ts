// Servers that lie: about sizes, ranges, names and bytes. Either the checkpoint that is there comes, or an error that names its address.

import { type HttpOptions, urlFolder } from '../../src/index.ts';
import { indexOf, rawTensor, safetensors } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import { expect, Fault } from './oracle.ts';
import type { Random } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target } from './target.ts';

/** How one answer differs from the right one. */
interface Lie {
  /** Which request it answers. */
  nth: number;
  status?: number;
  statusText?: string;
  range?: string | null;
  /** Bytes more or fewer than asked; the kind of a body that is none. */
  body?: number | 'none' | 'breaks' | 'endless' | 'html';
  etag?: string;
  fails?: boolean;
}

const single = { 'model.safetensors': safetensors({ a: rawTensor('U8', [40], 40), b: rawTensor('F32', [2], 8) }) };
const sharded = {
  'model.safetensors.index.json': indexOf({ 'x.safetensors': ['a'], 'y.safetensors': ['b'] }),
  'x.safetensors': safetensors({ a: rawTensor('U8', [40], 40) }),
  'y.safetensors': safetensors({ b: rawTensor('F32', [2], 8) }),
};
const ADDRESS = 'http://server.test/models/one';

function randomLie(random: Random): Lie {
  const nth = random.below(random.chance(0.7) ? 6 : 30);
  switch (random.below(6)) {
    case 0:
      return {
        nth,
        status: random.pick([200, 204, 206, 301, 304, 400, 401, 403, 404, 416, 429, 500, 503, 599]),
        statusText: random.pick(['', 'No', '\u0085x', 'x'.repeat(5000)]),
      };
    case 1:
      return {
        nth,
        range: random.pick([
          null,
          '',
          'bytes',
          'bytes */*',
          'bytes 0-0/*',
          'bytes 0-0/-1',
          'bytes 0-0/0',
          'bytes 0-0/9007199254740993',
          'bytes 9-1/50',
          'bytes 0-0/1e9',
          'bytes 0-0/1000000000',
          'bytes */77',
          'x'.repeat(3000),
        ]),
      };
    case 2:
      return { nth, body: random.pick([-1, 1, 7, -8, 100, 1 << 20]) };
    case 3:
      return {
        nth,
        body: random.pick(['none', 'breaks', 'endless', 'html']),
        ...(random.chance(0.5) && { status: 200 }),
      };
    case 4:
      return { nth, etag: random.pick(['"2"', '', 'W/"1"']) };
    default:
      return { nth, fails: true };
  }
}

export const server: Target = {
  name: 'server',
  subjects: [ADDRESS],
  make(random) {
    const files: Record<string, Uint8Array> = {
      ...random.pick<Record<string, Uint8Array>>([single, sharded]),
      'config.json': encode('{}'),
    };
    if (random.chance(0.3)) {
      const name = random.pick(Object.keys(files));
      files[name] = changeBytes(files[name], random);
    }
    const lies = Array.from({ length: random.below(4) }, () => randomLie(random));
    return { ...files, [CASE_NAME]: caseOf({ lies, knowsRanges: random.chance(0.8) }) };
  },
  async run(files, { higgs }) {
    const { lies, knowsRanges } = choicesOf<{ lies: Lie[]; knowsRanges: boolean }>(files);
    const folder = await urlFolder(ADDRESS, { fetch: fetchFrom(files, lies, knowsRanges) });
    const actual = await higgs.inspectCheckpoint(folder);
    if (lies.length > 0) return;
    const right = await higgs.inspectCheckpoint(folderOfCase(files)).catch((error: Error) => {
      throw new Fault(`what a folder refuses came from a server: ${error.message}`);
    });
    expect(JSON.stringify(actual.tensors) === JSON.stringify(right.tensors), 'a server gives what a folder does');
  },
};

function fetchFrom(
  files: Record<string, Uint8Array>,
  lies: readonly Lie[],
  knowsRanges: boolean,
): NonNullable<HttpOptions['fetch']> {
  let calls = 0;
  return async (url, { headers }) => {
    const lie = lies.find(({ nth }) => nth === calls) ?? { nth: calls };
    calls++;
    expect(calls < 500, 'requests come to an end');
    if (lie.fails) throw new TypeError('fetch failed');
    const file = files[decodeURIComponent(new URL(url).pathname.split('/').at(-1)!)];
    const asked = /^bytes=(\d+)-(\d+)$/.exec(new Headers(headers).get('range') ?? '');
    const isRange = knowsRanges && asked !== null && file !== undefined && file.length > 0;
    const status = lie.status ?? (file === undefined ? 404 : isRange ? 206 : knowsRanges && asked ? 416 : 200);
    const [from, to] = isRange ? [Number(asked[1]), Number(asked[2]) + 1] : [0, file?.length ?? 0];
    const range =
      lie.range === undefined
        ? isRange
          ? `bytes ${from}-${to - 1}/${file.length}`
          : `bytes */${file?.length ?? 0}`
        : lie.range;
    const statusText = lie.statusText && /^[\t\x20-\x7e\x80-\xff]*$/.test(lie.statusText) ? lie.statusText : '';
    const given = { etag: lie.etag ?? '"1"', ...(range !== null && { 'content-range': range }) };
    const isBare = [204, 304].includes(status);
    return new Response(isBare ? null : bodyOf(file?.slice(from, to) ?? encode('gone'), lie.body), {
      status,
      statusText,
      headers: given,
    });
  };
}

function bodyOf(right: Uint8Array<ArrayBuffer>, body: Lie['body']): BodyInit | null {
  if (body === undefined) return right;
  if (body === 'none') return null;
  if (body === 'html') return '<!doctype html><title>Not here</title>';
  if (typeof body === 'number') {
    const bytes = new Uint8Array(Math.max(0, right.length + body));
    bytes.set(right.subarray(0, bytes.length));
    return bytes;
  }
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      if (body === 'breaks' && sent++ > 0) controller.error(new TypeError('terminated'));
      else controller.enqueue(body === 'endless' ? new Uint8Array(8 << 20) : right.subarray(0, 3));
    },
  });
}
