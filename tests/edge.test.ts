// examples/edge in workerd: requests as a client makes them, and how well search over codes agrees with exact search.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { openFolder } from '../src/source/file.ts';
import { sameBits, uniform } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { findProgram, testWith } from './installed.ts';
import { type Served, serveWorkerd } from './workerd.ts';

const test = suite('edge worker');
const DIMS = 384;
const COUNT = 10_000;
const QUERIES = 200;
const TOP = 10;
const json = { 'content-type': 'application/json' };

let served: Served;
test.before(async () => {
  const workerd = findProgram('workerd');
  if (workerd) served = await serveWorkerd(workerd, 'examples/edge/config.capnp');
});
test.after(() => served?.close());

testWith(test, 'workerd', 'POST /sets quantizes as the library does, GET gives codes and scales', async () => {
  const { vectors } = clustered();
  const few = vectors.slice(0, 100 * DIMS);
  const described = await post('/sets/few?grid=p2n64&seed=7', few);
  const matrix = (await load()).quantize(few, { rows: 100, cols: DIMS, grid: 'p2n64', seed: 7 });
  const { bitsPerWeight, relativeError, packed, scales } = matrix;
  const bytes = packed.length + 2 * scales.length;
  assert.ok(Math.abs(described.relativeError / relativeError - 1) < 1e-12);
  const expected = {
    ...described,
    rows: 100,
    cols: DIMS,
    grid: 'p2n64',
    groupSize: 1024,
    seed: 7,
    bitsPerWeight,
    bytes,
  };
  assert.equal(described, expected);
  const response = await fetch(`${served.base}/sets/few`);
  assert.equal(JSON.parse(response.headers.get('x-higgs')!), expected);
  const body = await response.arrayBuffer();
  sameBits(new Uint8Array(body, 0, packed.length), packed, 'codes');
  sameBits(new Uint16Array(body.slice(packed.length)), scales, 'scales');
});

testWith(test, 'workerd', 'requests and answers in JSON, as the README has them', async () => {
  const [first, second] = readFileSync('examples/edge/README.md', 'utf8').matchAll(/^curl (\S+) .*-d '(.*)'$/gm);
  const set = await postJson(first[1], first[2]);
  assert.is(set.rows, 3);
  const { results } = await postJson(second[1], second[2]);
  assert.equal(results[0].ids, [2]);
  assert.ok(Math.abs(results[0].scores[0] - 2) < 0.2);
});

testWith(test, 'workerd', 'a wrong request gets 400 and one sentence', async () => {
  const body = new Float32Array(8);
  const large = new Uint8Array((8 << 20) + 4);
  const dims = (cols: number) => ({ 'x-dims': String(cols) });
  const cases: readonly [path: string, init: RequestInit, message: RegExp][] = [
    ['/', {}, /^path must be/],
    ['/sets/none', {}, /^no set has the name none: post it to .sets.none first/],
    ['/sets/a', { method: 'PUT', body }, /^method must be/],
    ['/sets/a', { method: 'POST', body }, /^x-dims must be/],
    ['/sets/a', { method: 'POST', headers: { 'x-dims': '1' } }, /^content-length must tell/],
    ['/sets/a', { method: 'POST', body, headers: dims(3) }, /^body must be whole float32 vectors of 12 bytes/],
    ['/sets/a?grid=p9n9', { method: 'POST', body, headers: dims(8) }, /^grid must be one of those loaded/],
    ['/sets/a?seed=x', { method: 'POST', body, headers: dims(8) }, /seed must be/],
    ['/sets/a', { method: 'POST', body: body.fill(NaN), headers: dims(8) }, /^weights must be finite: \[0, 0\]/],
    ['/sets/a', { method: 'POST', body: '{', headers: json }, /^body must be JSON/],
    ['/sets/a', { method: 'POST', body: '{"vectors": [[1], []]}', headers: json }, /^body must be JSON with "vectors"/],
    ['/sets/a', { method: 'POST', body: ' '.repeat((4 << 20) + 1), headers: json }, /^JSON must have at most 4194304 /],
    ['/sets/none/search', { method: 'POST', body: large, headers: dims(8) }, /^no set has the name none/],
    ['/sets/few/search?top=0', { method: 'POST', body, headers: dims(8) }, /^top must be from 1 to 1000: got 0/],
    ['/sets/few/search', { method: 'POST', body, headers: dims(8) }, /^queries must have 384 dimensions: got 8/],
    ['/sets/few/search', { method: 'POST', body: large, headers: dims(8) }, /^queries must have at most 4194304 bytes/],
  ];
  for (const [path, init, message] of cases) {
    const response = await fetch(served.base + path, init);
    const { error } = (await response.json()) as { error: string };
    assert.is(response.status, 400, path);
    assert.match(error, message);
  }
});

// Recall is the share of the exact ten nearest that search finds, among ten and among thirty. Data, codes and sums are the
// same bits everywhere, so recall is too.
for (const [grid, amongTen, amongThirty] of [
  ['p2n256', 0.8695, 1],
  ['p2n64', 0.764, 0.9955],
  ['p1n16', 0.838, 1],
] as const) {
  testWith(test, 'workerd', `search over ${grid} codes has recall@10 ${amongTen}`, async () => {
    const { vectors, queries, nearest } = clustered();
    const set = await post(`/sets/${grid}?grid=${grid}`, vectors);
    assert.ok(set.bytes * 7.5 < vectors.byteLength);
    const { results } = await post(`/sets/${grid}/search?top=30`, queries);
    const recall = (count: number) => {
      const actual = nearest.map((ids, query) => {
        const among = results[query].ids.slice(0, count);
        return ids.filter((id) => among.includes(id)).length;
      });
      return actual.reduce((sum, n) => sum + n, 0) / (QUERIES * TOP);
    };
    assert.is(results.length, QUERIES);
    for (const { ids, scores } of results as { ids: number[]; scores: number[] }[]) {
      assert.is(new Set(ids).size, 30);
      assert.ok(scores.every((score, i) => i === 0 || score <= scores[i - 1]));
    }
    assert.is(recall(10), amongTen);
    assert.is(recall(30), amongThirty);
  });
}

testWith(test, 'workerd', 'sets of 24 MB fit 128 MB with all that requests need', async (workerd) => {
  const server = await serveWorkerd(workerd, 'examples/edge/config.capnp');
  try {
    const send = (path: string, vectors: Float32Array<ArrayBuffer>) => fetch(server.base + path, request(vectors));
    await send('/sets/first', new Float32Array(DIMS));
    const idle = memoryOf(server.pid);
    const vectors = new Float32Array(30_000 * DIMS).map((_, i) => (i % 1009) - 504);
    for (let n = 0; n < 2; n++) assert.is((await send(`/sets/${n}?grid=p1n256`, vectors)).status, 200);
    const refused = await send('/sets/2?grid=p1n256', vectors);
    assert.match(await refused.text(), /sets must have at most 25165824 bytes together/);
    assert.is((await send('/sets/1/search', vectors.slice(0, DIMS))).status, 200);
    assert.is((await (await fetch(`${server.base}/sets/1`)).arrayBuffer()).byteLength, 30_000 * (DIMS + 4));
    assert.is((await send('/sets/1?grid=p1n256', vectors)).status, 200);
    const used = memoryOf(server.pid) - idle;
    assert.ok(used < 128 << 20, `the worker took ${used} bytes`);
  } finally {
    await server.close();
  }
});

testWith(test, 'workerd', 'a model generates from modules listed as the README has them', async (workerd) => {
  const directory = resolve('build/tests/edge');
  const output = memoryOutput();
  const higgs = await load();
  const folder = await openFolder('models/books-llama');
  await higgs.quantizeCheckpoint(folder, output, { embeddings: 'p2n256' });
  await folder.close();
  const prompt = 'PATIENCE, n.';
  let expected = '';
  const model = await higgs.loadModel(output.folder());
  for await (const piece of model.generate(prompt, { maxTokens: 16 })) expected += piece;

  const names = ['config.json', 'tokenizer.json', 'model.safetensors'];
  mkdirSync(directory, { recursive: true });
  for (const name of names) writeFileSync(join(directory, name), output.files.get(name)!);
  writeFileSync(
    join(directory, 'worker.js'),
    `import { folderOf, load } from 'higgs-wasm';
     ${names.map((name, i) => `import file${i} from '${name}';`).join('\n')}
     export default { async fetch() {
       const files = { ${names.map((name, i) => `'${name}': file${i}`).join(', ')} };
       const model = await (await load()).loadModel(folderOf('modules', files));
       let text = '';
       for await (const piece of model.generate(${JSON.stringify(prompt)}, { maxTokens: 16 })) text += piece;
       return new Response(text);
     } };`,
  );
  const modules = [...readFileSync('examples/edge/README.md', 'utf8').matchAll(/^\(name = .*$/gm)].map(([line]) =>
    line.replace('node_modules/higgs-wasm/build', '../..'),
  );
  assert.is(modules.length, 4);
  const data = names.map((name) => `(name = "${name}", data = embed "${name}"),`);
  const config = readFileSync('examples/edge/config.capnp', 'utf8').replace(
    /modules = \[[^\]]*\]/,
    `modules = [(name = "worker.js", esModule = embed "worker.js"), ${[...modules, ...data].join('\n')}]`,
  );
  writeFileSync(join(directory, 'config.capnp'), config);
  const server = await serveWorkerd(workerd, join(directory, 'config.capnp'));
  try {
    assert.is(await (await fetch(server.base)).text(), expected);
  } finally {
    await server.close();
  }
});

test.run();

function request(vectors: Float32Array<ArrayBuffer>): RequestInit {
  return { method: 'POST', body: vectors, headers: { 'x-dims': String(DIMS) } };
}

// The most memory that a process has had resident, in bytes.
function memoryOf(pid: number): number {
  return Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

async function post(path: string, vectors: Float32Array<ArrayBuffer>) {
  const response = await fetch(served.base + path, request(vectors));
  const answer = await response.json();
  assert.is(response.status, 200, JSON.stringify(answer));
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at what came, whatever it is
  return answer as any;
}

async function postJson(address: string, body: string) {
  const path = address.slice(address.indexOf('/'));
  const response = await fetch(served.base + path, { method: 'POST', body, headers: json });
  assert.is(response.status, 200);
  // biome-ignore lint/suspicious/noExplicitAny: as above
  return (await response.json()) as any;
}

interface Clustered {
  vectors: Float32Array<ArrayBuffer>; // (COUNT, DIMS), of length 1
  queries: Float32Array<ArrayBuffer>; // (QUERIES, DIMS), of length 1
  /** For each query, the ids of the TOP largest inner products in f64. */
  nearest: number[][];
}

let data: Clustered | undefined;

// 100 clusters, seeded: a centre plus noise of the same length, so that vectors of a cluster have cosines about 0.5.
function clustered(): Clustered {
  if (data) return data;
  const next = uniform(1);
  // Sums of uniform numbers rather than Box and Muller: logarithm and cosine differ between engines in the last bit.
  const normal = () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += next();
    return sum;
  };
  const centres = Float32Array.from({ length: 100 * DIMS }, normal);
  const draw = (count: number) => {
    const vectors = new Float32Array(count * DIMS);
    for (let row = 0; row < count; row++) {
      const vector = vectors.subarray(row * DIMS, (row + 1) * DIMS);
      const centre = Math.floor(next() * 100) * DIMS;
      let norm = 0;
      for (let i = 0; i < DIMS; i++) {
        vector[i] = centres[centre + i] + normal();
        norm += vector[i] ** 2;
      }
      for (let i = 0; i < DIMS; i++) vector[i] /= Math.sqrt(norm);
    }
    return vectors;
  };
  const [vectors, queries] = [draw(COUNT), draw(QUERIES)];
  const scores = new Float64Array(COUNT);
  const nearest = Array.from({ length: QUERIES }, (_, query) => {
    for (let row = 0; row < COUNT; row++) {
      let sum = 0;
      for (let i = 0; i < DIMS; i++) sum += vectors[row * DIMS + i] * queries[query * DIMS + i];
      scores[row] = sum;
    }
    return [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, TOP);
  });
  data = { vectors, queries, nearest };
  return data;
}
