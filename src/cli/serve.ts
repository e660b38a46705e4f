// higgs serve: the OpenAI API over models, by their names. They are fetched and quantized as higgs run does it, and loaded when they are
// asked for.

import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { isThere } from '../disk/commit.ts';
import { type Input, identityOf, openModel } from '../disk/input.ts';
import { readPage } from '../disk/page.ts';
import { openPromptDirectory, type PromptDirectory } from '../disk/prompts.ts';
import { StateError } from '../errors.ts';
import { excerpt } from '../excerpt.ts';
import type { Higgs } from '../higgs.ts';
import { isRemote } from '../hub/name.ts';
import type { ModelLoader, RequestLog, Server } from '../server/server.ts';
import { bytesText, counted, progressDisplay } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { type LiveLine, liveLine } from '../terminal/live.ts';
import { complain, note, printJson, warn } from '../terminal/print.ts';
import { byteSize, parseInteger, UsageError } from '../terminal/usage.ts';
import { startThreads } from '../workers/node.ts';
import { lendThreads } from '../workers/threads.ts';
import { answersOf } from './common/answers.ts';
import { checkFits, freeMemory } from './common/memory.ts';
import { addModelOptions, type ModelChoice } from './common/model.ts';
import { cores, loadHiggs, threadCount } from './common/session.ts';
import { addSizeOptions, readyModel, type SizeChoice } from './run.ts';

interface Options extends ModelChoice, SizeChoice {
  port: number;
  host: string;
  apiKey?: string;
  cors?: string[];
  allowHost?: string[];
  parallel: number;
  queue: number;
  contextShift?: boolean;
  page?: string;
  cacheDir?: string;
  cacheLimit: number;
  log: 'text' | 'json' | 'none';
  json?: boolean;
}

/** Milliseconds that a client has for the head of a request, and for a whole one. */
const HEAD_MS = 15_000;
const REQUEST_MS = 60_000;
/**
 * Milliseconds that a connection stays open between two requests. Clients close theirs after some seconds: where the server is as quick, it
 * may close one that a request is already on its way over.
 */
const KEPT_MS = 30_000;
/** Milliseconds that a client may take nothing of an answer that is there; and that all have for theirs at the end. */
const STALLED_MS = 60_000;
const CLOSING_MS = 5000;
/** Connections at once. */
const CONNECTIONS_LIMIT = 1024;
/** Bytes of prompts on disk unless more are asked for. */
const CACHE_BYTES = 4_000_000_000;
/** Milliseconds between two looks of the live line. */
const LOOK_MS = 500;
/** Where a key may stand, so that no list of processes shows it. */
const KEY_VARIABLE = 'HIGGS_API_KEY';

/** Adds the verb `serve`. */
export function addServe(program: Command): void {
  const command = program
    .command('serve')
    .summary('serve models to clients of the OpenAI API')
    .description(
      'Serves models by the OpenAI API, to programs on this machine. Models are fetched and quantized as “higgs run” does it, and loaded when a client asks for them. Ctrl-C waits for answers under way; a second Ctrl-C does not.',
    )
    .argument(
      '[name...]',
      'hf:org/model, an address, a checkpoint’s directory or a .gguf file (the demo model of this package)',
    )
    .optionsGroup('Clients:')
    .addOption(new Option('--port <n>', 'port; 0 takes a free one').argParser(parseInteger(0, 65_535)).default(11_435))
    .option('--host <address>', 'address to listen at; 0.0.0.0 lets other machines in', '127.0.0.1')
    .option('--api-key <key>', `what clients must give as their key (${KEY_VARIABLE} of the environment, or none)`)
    .option('--cors <origin>', 'a page’s origin that may ask, or *; may be given again', collect)
    .option('--allow-host <name>', 'a further name by which clients may call this machine; may be given again', collect)
    .option(
      '--page <directory>',
      'a web page to serve at the address, such as build/web (that of this package, if it has one)',
    )
    .optionsGroup('Scheduling:')
    .addOption(new Option('--parallel <n>', 'texts at once').argParser(parseInteger(1, 256)).default(4))
    .addOption(
      new Option('--queue <n>', 'requests that may wait; others get 429').argParser(parseInteger(0, 4096)).default(256),
    )
    .option('--context-shift', 'leave out the oldest part of a prompt that is too long, instead of refusing it')
    .option('--cache-dir <directory>', 'keep computed prompts there, for later runs')
    .addOption(
      new Option('--cache-limit <size>', 'most bytes of --cache-dir; what was unused for longest is removed')
        .argParser(byteSize)
        .default(CACHE_BYTES, '4GB'),
    );
  addSizeOptions(command);
  addModelOptions(command, 'tokens of prompt and text together (the model’s, at most 4096)');
  const memory = command.options.find(({ long }) => long === '--memory')!;
  memory.description = 'most memory of all models; those unused for longest are closed (what is free)';
  addPrinting(command, 'print the address, then each request, as JSON');
  command.addOption(
    new Option('--log <how>', 'a line for each request').choices(['text', 'json', 'none']).default('text'),
  );
  addExamples(command, [
    ['higgs serve', 'the demo model, and a page to try things in'],
    ['higgs serve hf:HuggingFaceTB/SmolLM2-135M-Instruct'],
    ['higgs serve SmolLM2-135M-Instruct-higgs Qwen3-0.6B-higgs --memory 2GB --port 8080'],
    ['higgs serve Qwen3-0.6B-higgs --cache-dir ~/.cache/prompts --cache-limit 2GB'],
    ['HIGGS_API_KEY=secret higgs serve SmolLM2-135M-Instruct-higgs --host 0.0.0.0 --log json'],
  ]).action(serve);
}

const collect = (value: string, before: string[] = []) => [...before, value];

async function serve(names: string[], options: Options): Promise<void> {
  const apiKey = options.apiKey ?? process.env[KEY_VARIABLE];
  if (apiKey === '') throw new UsageError('--api-key must have at least one character: it is empty');
  const higgs = await loadHiggs();
  const inputs: Input[] = [];
  const line = liveLine();
  const log = options.json ? 'json' : options.log;
  const { cacheDir, cacheLimit } = options;
  const unkept = ({ message }: Error) => line.above(() => warn(`a prompt is not kept in ${cacheDir}: ${message}`));
  const prompts = cacheDir === undefined ? undefined : await openPromptDirectory(cacheDir, cacheLimit, unkept);
  const memory = options.memory ?? freeMemory();
  try {
    const models = new Map<string, ModelLoader>();
    for (const name of names.length > 0 ? names : [await demoModel()]) {
      const { memory: _, ...choice } = options;
      const input = await openModel(await readyModel(name, choice));
      inputs.push(input);
      const id = idOf(name, models);
      const loader = await loaderOf(higgs, input, options, line, prompts).catch(namedBy(id));
      const bytes = await loader.bytes();
      if (bytes > memory) {
        const [needed, has] = [bytesText(bytes), bytesText(memory)];
        warn(`model ${id} needs ${needed} of memory: the server has ${has}, and refuses requests for it`);
      }
      models.set(id, loader);
    }
    const page = await pageOf(options.page);
    const { createServer } = await import('../server/server.ts');
    const server = createServer({
      models,
      memory,
      ...(apiKey !== undefined && { apiKey }),
      ...(page && { page }),
      ...(options.cors && { cors: options.cors }),
      hosts: [options.host, ...(options.allowHost ?? [])],
      ...{ parallel: options.parallel, queue: options.queue, contextShift: options.contextShift ?? false },
      clientOf: (_, env) =>
        (env as { incoming?: { socket: { remoteAddress?: string } } }).incoming?.socket.remoteAddress ?? '',
      onRequest: (each) => line.above(() => logRequest(each, log)),
    });
    await listen(server, [...models.keys()], options, apiKey !== undefined, line);
  } finally {
    line.stop();
    for (const { folder } of inputs) await folder.close();
  }
}

// The files of a page: of the package's own, which may not be there, if none is asked for.
async function pageOf(path: string | undefined): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
  if (path !== undefined) return readPage(path);
  const installed = fileURLToPath(new URL('./web', import.meta.url));
  return (await isThere(installed)) ? readPage(installed) : undefined;
}

// The demo model that lies beside the page, for who has no other yet.
async function demoModel(): Promise<string> {
  const installed = fileURLToPath(new URL('./web/demo-4bit', import.meta.url));
  if (await isThere(installed)) return installed;
  throw new UsageError('serve must be given a model: this build has no demo model');
}

// What clients call a model: its name on the hub, or that of its directory.
function idOf(name: string, taken: ReadonlyMap<string, unknown>): string {
  const id = isRemote(name) ? name.replace(/^hf:/, '') : basename(name).replace(/\.gguf$/, '');
  if (!taken.has(id)) return id;
  if (taken.has(name)) throw new UsageError(`models must have different names: ${name} is given twice`);
  return name;
}

// What is wrong with one of several models, with its name in front.
const namedBy = (id: string) => (error: Error) => {
  if (error instanceof RangeError) error.message = `model ${excerpt(id)}: ${error.message}`;
  throw error;
};

async function loaderOf(
  higgs: Higgs,
  input: Input,
  options: Options,
  line: LiveLine,
  prompts: PromptDirectory | undefined,
): Promise<Required<ModelLoader>> {
  const { context, activations, cache, threads, parallel } = options;
  const source = await higgs.open(input.folder);
  const { context: most } = await source.runMemory({ ...(context !== undefined && { context }), cache });
  const running = { context: most, cacheTokens: most * parallel, activations, cache };
  // As many as will run, each of which works in memory of its own; for an estimate none has to be started.
  const idle = async () => {};
  const size = Math.min(threads, cores());
  const uncalled = lendThreads({ ...{ size, isClosed: false, take() {} }, start: idle, close: idle });
  return {
    bytes: async () => (await source.runMemory({ ...running, threads: uncalled })).bytes,
    async load() {
      line.stop();
      const progress = progressDisplay('load');
      try {
        return await source.run({
          ...running,
          ...(prompts && { prompts: prompts.of(await identityOf(input)) }),
          onMemory: (need) => checkFits(need, cache, freeMemory()),
          threads: await startThreads(threadCount(threads)),
          onProgress: ({ bytesDone, bytes, tensor }) =>
            progress.update({ done: bytesDone, total: bytes, unit: 'bytes', bytes: bytesDone, tensor }),
        });
      } finally {
        progress.stop();
      }
    },
  };
}

// Listens until a signal comes, and what is under way has ended.
async function listen(
  server: Server,
  names: readonly string[],
  options: Options,
  hasKey: boolean,
  line: LiveLine,
): Promise<void> {
  const { host, port, json } = options;
  // Here alone: it asks for Response, by which Node loads its HTTP client.
  const { createAdaptorServer } = await import('@hono/node-server');
  const http = createAdaptorServer({
    fetch: (request, env) => server.fetch(request, env),
    createServer: createHttpServer,
    serverOptions: {
      headersTimeout: HEAD_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEPT_MS,
      connectionsCheckingInterval: 5000,
    },
  }) as ReturnType<typeof createHttpServer>;
  http.maxConnections = CONNECTIONS_LIMIT;
  const answers = answersOf(http, { stalledMs: STALLED_MS, closingMs: CLOSING_MS });
  await new Promise<void>((resolve, reject) => {
    http.once('error', ({ code, message }: NodeJS.ErrnoException) => {
      const why = code === 'EADDRINUSE' ? 'another program listens there; give another --port' : message;
      reject(new StateError(`port ${port} of ${host} must be free: ${why}`));
    });
    http.listen(port, host, resolve);
  });
  const { port: taken } = http.address() as AddressInfo;
  const address = `http://${host.includes(':') ? `[${host}]` : host}:${taken}`;
  if (json) printJson({ address, models: names });
  note(`${counted(names.length, 'model')} at ${address}/v1: ${names.join(', ')}`);
  if (!hasKey && !/^(127\.|::1$|localhost$)/.test(host)) {
    warn(`anyone who reaches ${host} can use this server: give --api-key, or ${KEY_VARIABLE} in the environment`);
  }
  const looking = setInterval(() => line.show(stateText(server)), LOOK_MS);
  const signalled = new Promise<void>((resolve, reject) => {
    let isEnding = false;
    const end = () => {
      if (isEnding) process.exit(130);
      isEnding = true;
      const { active, waiting } = server.state;
      if (active + waiting > 0)
        line.above(() => note(`waiting for ${counted(active, 'text')}; press Ctrl-C again to end at once`));
      const ended = () => process.off('SIGINT', end).off('SIGTERM', end);
      answers
        .close(() => server.close())
        .finally(ended)
        .then(resolve, reject);
    };
    process.on('SIGINT', end).on('SIGTERM', end);
  });
  await signalled.finally(() => clearInterval(looking));
}

function stateText({ state: { active, waiting, loaded } }: Server): string {
  if (active + waiting === 0) return '';
  return `${counted(active, 'text')}, ${waiting} waiting, ${loaded.join(', ')}`;
}

function logRequest(request: RequestLog, log: Options['log']): void {
  const { cause, ...rest } = request;
  if (cause !== undefined) complain(`higgs: ${(cause as Error)?.stack ?? String(cause)}\n`);
  if (log === 'json') printJson({ time: new Date().toISOString(), ...roundedTimes(rest) });
  else if (log === 'text') note(logText(rest));
}

// Milliseconds to a tenth: no clock here tells more.
function roundedTimes<T extends RequestLog>(request: T): T {
  const { ms, firstMs } = request;
  const rounded = (time: number) => Math.round(time * 10) / 10;
  return { ...request, ms: rounded(ms), ...(firstMs !== undefined && { firstMs: rounded(firstMs) }) };
}

function logText({
  method,
  path,
  status,
  model,
  ms,
  firstMs,
  promptTokens,
  cachedTokens,
  generatedTokens,
  error,
}: RequestLog): string {
  const tokens =
    promptTokens > 0
      ? `, ${promptTokens} tokens${cachedTokens > 0 ? ` (${cachedTokens} cached)` : ''} and ${generatedTokens}`
      : '';
  const first = firstMs === undefined ? '' : `, first after ${firstMs.toFixed(0)} ms`;
  const about = `${model === undefined ? '' : ` ${model}`}${tokens}${first}`;
  return `${method} ${path} ${status}${about}, ${ms.toFixed(0)} ms${error === undefined ? '' : `: ${error}`}`;
}
