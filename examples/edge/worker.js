// An edge worker that keeps embeddings quantized and searches them as they are: inner products come from the codes.
// README.md has the requests. The kernels come as a compiled module, because edge workers may not compile bytes.

import { load } from 'higgs-wasm';
import module from './higgs.wasm';

/** Bytes of all quantized sets: with what a request needs they fit a worker's 128 MB. */
const KEPT_LIMIT = 24 << 20;
/** Bytes of JSON, and of queries, which are read whole. */
const WHOLE_LIMIT = 4 << 20;
/** Vectors that are posted to be kept are quantized as they arrive, in blocks of about so many numbers. */
const BLOCK = 1 << 18;

const loading = load(module);
/** Quantized sets by name. What is here is lost when the worker is moved. */
const sets = new Map();

export default {
  async fetch(request) {
    try {
      return await answer(request);
    } catch (error) {
      const wrong = error instanceof TypeError || error instanceof RangeError || error.name === 'UnsupportedError';
      if (!wrong) throw error;
      // A client that is still sending would not see the answer.
      await request.body?.pipeTo(new WritableStream()).catch(() => {});
      return Response.json({ error: error.message }, { status: 400 });
    }
  },
};

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  const [, name, search] = /^\/sets\/([\w-]{1,64})(\/search)?$/.exec(pathname) ?? [];
  if (!name) throw new RangeError(`path must be /sets/NAME or /sets/NAME/search: got ${pathname}`);
  const route = `${request.method}${search ?? ''}`;
  if (route === 'POST') return Response.json(await keep(name, request, searchParams));
  if (route === 'POST/search') return Response.json(await searchSet(setOf(name), request, searchParams));
  if (route === 'GET') return download(setOf(name));
  if (route === 'DELETE') return Response.json({ deleted: sets.delete(name) });
  throw new RangeError(`method must be POST, GET or DELETE for a set, POST for a search: got ${request.method}`);
}

/** Quantizes the posted vectors, block by block as they arrive, and keeps them under a name. */
async function keep(name, request, options) {
  const higgs = await loading;
  const { rows, cols, blocks } = await readVectors(request);
  const grid = options.get('grid') ?? 'p2n256';
  const seed = Number(options.get('seed') ?? 0);
  let set;
  let [first, error, norm] = [0, 0, 0];
  for await (const block of blocks) {
    const count = block.length / cols;
    const part = higgs.quantize(block, { rows: count, cols, grid, seed });
    set ??= emptySet(name, part, rows);
    // Every row has its own codes and scales, so blocks of rows stand one behind the other.
    set.packed.set(part.packed, first * (part.packed.length / count));
    set.scales.set(part.scales, first * (part.scales.length / count));
    const squares = block.reduce((sum, x) => sum + x * x, 0);
    norm += squares;
    error += squares * part.relativeError;
    first += count;
  }
  sets.set(name, { ...set, relativeError: norm && error / norm });
  return describe(sets.get(name));
}

/** A set with room for the codes and scales of so many rows as `part` has them. */
function emptySet(name, part, rows) {
  const packed = (part.packed.length / part.rows) * rows;
  const scales = (part.scales.length / part.rows) * rows;
  let bytes = packed + scales * 2;
  for (const [other, set] of sets) if (other !== name) bytes += bytesOf(set);
  if (bytes > KEPT_LIMIT) throw new RangeError(`sets must have at most ${KEPT_LIMIT} bytes together: got ${bytes}`);
  return { ...part, rows, packed: new Uint8Array(packed), scales: new Uint16Array(scales) };
}

/** For each posted query, the vectors with the largest inner products, the best first. */
async function searchSet(set, request, options) {
  const higgs = await loading;
  const top = Number(options.get('top') ?? 10);
  if (!Number.isInteger(top) || top < 1 || top > 1000) throw new RangeError(`top must be from 1 to 1000: got ${top}`);
  if (Number(request.headers.get('content-length')) > WHOLE_LIMIT) {
    throw new RangeError(`queries must have at most ${WHOLE_LIMIT} bytes: got more`);
  }
  const { cols, blocks } = await readVectors(request);
  if (cols !== set.cols) throw new RangeError(`queries must have ${set.cols} dimensions: got ${cols}`);
  const results = [];
  for await (const block of blocks) {
    for (let at = 0; at < block.length; at += cols) {
      // The query is rotated once; its inner products with all vectors come from their codes.
      const scores = higgs.matvec(set, block.subarray(at, at + cols));
      const ids = best(scores, Math.min(top, scores.length));
      results.push({ ids, scores: ids.map((id) => scores[id]) });
    }
  }
  return { results };
}

/** Indices of the `count` largest scores, the largest first; of equal ones, the first. */
function best(scores, count) {
  const ids = [];
  for (let id = 0; id < scores.length; id++) {
    if (ids.length === count && scores[id] <= scores[ids[count - 1]]) continue;
    let at = Math.min(ids.length, count - 1);
    for (; at > 0 && scores[id] > scores[ids[at - 1]]; at--) ids[at] = ids[at - 1];
    ids[at] = id;
  }
  return ids;
}

/** The set as bytes: codes, then scales. The header tells the shape; FORMAT.md, "One matrix", the rest. */
function download(set) {
  const body = ReadableStream.from(piecesOf(set.packed, new Uint8Array(set.scales.buffer)));
  return new Response(body, { headers: { 'x-higgs': JSON.stringify(describe(set)) } });
}

function* piecesOf(...arrays) {
  for (const array of arrays) {
    for (let at = 0; at < array.length; at += BLOCK) yield array.slice(at, at + BLOCK);
  }
}

function describe(set) {
  const { rows, cols, grid, groupSize, seed, bitsPerWeight, relativeError } = set;
  return { rows, cols, grid: grid.name, groupSize, seed, bitsPerWeight, relativeError, bytes: bytesOf(set) };
}

function setOf(name) {
  const set = sets.get(name);
  if (!set) throw new RangeError(`no set has the name ${name}: post it to /sets/${name} first`);
  return set;
}

function bytesOf({ packed, scales }) {
  return packed.length + scales.length * 2;
}

/** Vectors of a request: little-endian float32 with the header `x-dims`, or JSON, `{"vectors": [[…], …]}`. */
async function readVectors(request) {
  const byteLength = Number(request.headers.get('content-length') ?? Number.NaN);
  if (!(byteLength > 0)) throw new RangeError(`content-length must tell the size of a body: got ${byteLength}`);
  if (request.headers.get('content-type')?.startsWith('application/json')) return readJson(request, byteLength);
  const cols = Number(request.headers.get('x-dims'));
  if (!Number.isInteger(cols) || cols < 1 || cols > BLOCK) {
    throw new RangeError(`x-dims must be from 1 to ${BLOCK}: got ${request.headers.get('x-dims')}`);
  }
  const rows = byteLength / (cols * 4);
  if (!Number.isInteger(rows)) {
    throw new RangeError(`body must be whole float32 vectors of ${cols * 4} bytes: got ${byteLength} bytes`);
  }
  return { rows, cols, blocks: readBlocks(request.body, rows, cols) };
}

/** Blocks of whole rows, as they arrive, all in one buffer: each is overwritten by the next. */
async function* readBlocks(body, rows, cols) {
  const step = Math.min(rows, Math.floor(BLOCK / cols));
  const reader = body.getReader({ mode: 'byob' });
  let buffer = new ArrayBuffer(step * cols * 4);
  try {
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first) * cols;
      const { value } = await reader.readAtLeast(count * 4, new Uint8Array(buffer, 0, count * 4));
      buffer = value.buffer;
      yield new Float32Array(buffer, 0, count);
    }
  } finally {
    reader.releaseLock();
  }
}

async function readJson(request, byteLength) {
  if (byteLength > WHOLE_LIMIT) throw new RangeError(`JSON must have at most ${WHOLE_LIMIT} bytes: got ${byteLength}`);
  const { vectors: list } = (await request.json().catch(() => undefined)) ?? {};
  const cols = list?.[0]?.length;
  const same = (vector) => Array.isArray(vector) && vector.length === cols && vector.every(Number.isFinite);
  if (!(Array.isArray(list) && cols > 0 && list.every(same))) {
    throw new TypeError('body must be JSON with "vectors", arrays of as many numbers each: it is not');
  }
  return { rows: list.length, cols, blocks: [Float32Array.from(list.flat())] };
}
