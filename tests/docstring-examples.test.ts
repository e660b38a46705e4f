// Examples of docstrings run as they stand, over a small model: what they name and do not declare is in scope here. Lines that print
// print what their comments say.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as decoder from '../src/decoder.ts';
import { openHub } from '../src/hub/hub.ts';
import * as core from '../src/index.ts';
import { createServer } from '../src/server/server.ts';
import * as files from '../src/source/file.ts';
import { readChatTemplate } from '../src/text/chat.ts';
import { assembleModel } from '../src/text/textmodel.ts';
import { readTokenizer } from '../src/text/tokenizer.ts';
import * as workers from '../src/workers/node.ts';
import { normals } from './bits.ts';
import { memoryOutput } from './checkpoints.ts';
import { commitNamed, startHub } from './hub-server.ts';
import { configs, randomFile } from './models.ts';
import { byteLevelContent } from './tokenizers.ts';

const test = suite('examples of docstrings');
const scratch = mkdtempSync(join(tmpdir(), 'higgs-examples-'));
const NAME = 'Llama-3.2-1B';
const closing: (() => unknown)[] = [];
let scope: Record<string, unknown>;

test.before(async () => {
  const contents = modelFiles();
  mkdirSync(join(scratch, NAME));
  for (const [name, bytes] of Object.entries(contents)) writeFileSync(join(scratch, NAME, name), bytes);
  scope = await scopeOf(contents);
});
test.after(async () => {
  for (const close of closing.reverse()) await close();
  rmSync(scratch, { recursive: true });
});

const examples = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .sort()
  .flatMap((file) => examplesOf(readFileSync(join('src', file), 'utf8')).map((example) => ({ file, ...example })));

for (const { file, line, code } of examples) {
  test(`src/${file}:${line} runs and prints what its comments say`, async () => {
    const printed: string[] = [];
    const print = (...values: unknown[]) => printed.push(values.join(' '));
    const directory = inDirectory(mkdtempSync(join(scratch, 'example-')));
    await running(code)({ ...scope, ...directory, console: { log: print } });
    const promised = [...code.matchAll(/console\.log\(.*; \/\/ (.*)$/gm)].map(([, comment]) => comment);
    if (promised.length > 0) assert.equal(printed, promised);
  });
}

test('examplesOf() takes the lines up to the next tag', () => {
  const text = '/**\n * It.\n * @example\n * a();\n * b();\n * @throws never\n */\nexport function c() {}';
  assert.equal(examplesOf(text), [{ line: 3, code: 'a();\nb();' }]);
  assert.ok(examples.length > 60);
});

test.run();

/** The examples of a file, and where they begin. */
function examplesOf(text: string): { line: number; code: string }[] {
  const lines = text.split('\n');
  return lines.flatMap((start, index) => {
    if (!/^\s*\* @example$/.test(start)) return [];
    const code: string[] = [];
    for (const line of lines.slice(index + 1)) {
      if (/^\s*\*(\/| @)/.test(line)) break;
      code.push(line.replace(/^\s*\* ?/, ''));
    }
    return [{ line: index + 1, code: code.join('\n') }];
  });
}

/** A function that runs code whose free names are members of what it is given: what the code declares itself comes first. */
function running(code: string): (scope: object) => Promise<void> {
  return new Function('scope', `with (scope) return (async () => {\n${code}\n})();`) as (
    scope: object,
  ) => Promise<void>;
}

/** What reads and writes files, in a directory of one example; the model is in all of them. */
function inDirectory(directory: string): Record<string, unknown> {
  const { openFile, createFile, openFolder, openFolders, createFolder } = files;
  const pathOf = (name: string) => join(name === NAME ? scratch : directory, name);
  for (const name of ['model.safetensors', 'stats.safetensors', 'alphas.json', 'plan.json'])
    writeFileSync(join(directory, name), scope[name] as Uint8Array | string);
  return {
    openFile: (name: string) => openFile(pathOf(name)).then(closed),
    createFile: (name: string) => createFile(pathOf(name)),
    openFolder: (name: string) => openFolder(name.startsWith(NAME) ? join(scratch, name) : pathOf(name)).then(closed),
    openFolders: async (names: string[]) => {
      if (names.includes('part-1')) for (const index of [1, 2]) await quantizePart(pathOf(`part-${index}`), index);
      const folders = await openFolders(names.map(pathOf));
      closed(folders[0]); // all of them
      return folders;
    },
    createFolder: (name: string) => createFolder(pathOf(name)),
    readFile: (name: string) => readFile(pathOf(name)),
    writeFile: (name: string, content: string) => writeFile(pathOf(name), content),
    output: memoryOutput(),
  };
}

async function quantizePart(path: string, index: number): Promise<void> {
  await (scope.checkpoint as core.OpenCheckpoint).quantize(await files.createFolder(path), {
    part: { index, count: 2 },
  });
}

/** Has something closed at the end. */
function closed<T extends { close(): unknown }>(opened: T): T {
  closing.push(() => opened.close());
  return opened;
}

function modelFiles(): Record<string, Uint8Array> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const config = {
    ...configs.llama,
    ...{
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
    },
    ...{ head_dim: 32, max_position_embeddings: 16384, vocab_size: 267, bos_token_id: 264, eos_token_id: 265 },
  };
  const chat_template = '{% for m in messages %}{{ m.content }}{% endfor %}';
  return {
    'config.json': json(config),
    'model.safetensors': randomFile(config, ['F32']),
    'tokenizer.json': json(byteLevelContent()),
    'tokenizer_config.json': json({ eos_token: '<|end|>', chat_template }),
  };
}

async function scopeOf(contents: Record<string, Uint8Array>): Promise<Record<string, unknown>> {
  const higgs = await core.load();
  const folder = core.folderOf(
    'model',
    Object.fromEntries(Object.entries(contents).map(([n, b]) => [n, b.slice().buffer])),
  );
  const checkpoint = await higgs.open(folder);
  const output = memoryOutput();
  const report = await checkpoint.quantize(output, { bpw: 4, alphas: core.priorAlphas });
  await checkpoint.quantize(await files.createFolder(join(scratch, `${NAME}-higgs`)));
  const quantized = await higgs.open(output.folder());
  const model = closed(await checkpoint.run({ context: 1024 }));
  const tensors = await checkpoint.planTensors();
  const statistics = core.memorySink();
  const gathering = { name: 'statistics', open: async () => undefined, create: async () => statistics };
  const alphas = await checkpoint.sensitivity({
    sequences: 1,
    tokens: 16,
    statistics: { output: gathering, groupSize: 64 },
  });
  const plan = higgs.allocate(tensors, alphas, { bpw: 4 });
  const weights = normals(4096 * 4096);
  const parts: string[] = [];
  const onPart = (content: string) => parts.push(content);
  for (const index of [1, 2])
    await decoder.measureSensitivity(folder, { sequences: 2, tokens: 16, part: { index, count: 2 }, onPart });
  const commit = commitNamed('a model');
  const hub = closed(await startHub({ 'org/model': { commits: { [commit]: contents }, refs: { main: commit } } }));
  const kept = new Map<string, string>();
  return {
    ...core,
    ...decoder,
    ...workers,
    ...{
      createServer,
      readTokenizer,
      readChatTemplate,
      assembleModel,
      openHub: (name: string) => openHub(name, { endpoint: hub.endpoint }),
    },
    // Models and threads of examples end with the tests.
    startPool: async (size?: number) => closed(await workers.startPool(size)),
    startThreads: async (size?: number) => closed(await workers.startThreads(size)),
    urlFolder: (address: string) => core.urlFolder(address, { fetch: fetching(contents) as typeof fetch }),
    urlSource: (address: string) => core.urlSource(address, { fetch: fetching(contents) as typeof fetch }),
    ...{
      higgs,
      folder,
      checkpoint,
      quantized,
      report,
      model,
      tensors,
      alphas,
      plan,
      weights,
      input: { ...folder, files: [new Blob()] },
    },
    ...{ language: model.language, tokenizer: model.tokenizer, ids: [1, 2, 3], text: 'Once upon a time. '.repeat(99) },
    ...{ matrix: higgs.quantize(normals(64 * 64), { rows: 64, cols: 64 }), contents: parts },
    ...{ bytes: contents['model.safetensors'] },
    store: {
      name: 'store',
      read: async (name: string) => kept.get(name),
      write: async (name: string, content: string) => void kept.set(name, content),
      remove: async (name: string) => void kept.delete(name),
    },
    navigator: { storage: { getDirectory: async () => directoryHandle(contents) } },
    Deno: {
      serve: async (_: object, handle: (request: Request) => Promise<Response>) =>
        (await handle(new Request('http://127.0.0.1:11435/v1/models'))).json(),
    },
    process: { stdout: { write: () => true } },
    'model.safetensors': contents['model.safetensors'],
    'stats.safetensors': statistics.bytes(),
    'alphas.json': core.writeAlphas(alphas),
    'plan.json': core.writeBitPlan(plan),
  };
}

/** Serves the files below any directory, whole or by ranges. */
function fetching(contents: Record<string, Uint8Array>) {
  return async (address: string | URL, { headers }: RequestInit = {}): Promise<Response> => {
    const bytes = contents[new URL(address).pathname.split('/').at(-1)!];
    if (!bytes) return new Response('', { status: 404 });
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(new Headers(headers).get('range') ?? '') ?? [];
    if (first === undefined) return new Response(bytes.slice());
    const end = Math.min(Number(last) + 1, bytes.length);
    const range = `bytes ${first}-${end - 1}/${bytes.length}`;
    return new Response(bytes.slice(Number(first), end), { status: 206, headers: { 'content-range': range } });
  };
}

/** A directory of a browser, as far as a folder asks: its files. */
function directoryHandle(contents: Record<string, Uint8Array>): unknown {
  const handleOf = (name: string) => ({
    kind: 'file',
    name,
    getFile: async () => new File([contents[name].slice()], name),
  });
  return {
    kind: 'directory',
    name: 'root',
    getFileHandle: async (name: string) => {
      if (!(name in contents)) throw new DOMException('none', 'NotFoundError');
      return handleOf(name);
    },
    getDirectoryHandle: async () => {
      throw new DOMException('none', 'NotFoundError');
    },
    removeEntry: async () => {},
    async *values() {
      for (const name of Object.keys(contents)) yield handleOf(name);
    },
    async *entries() {
      for (const name of Object.keys(contents)) yield [name, handleOf(name)];
    },
    async *keys() {
      yield* Object.keys(contents);
    },
  };
}
