// Every public function, with arguments that work: what calls them with others starts from here. A function that is exported and has no
// row fails tests/arguments.test.ts.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as decoder from '../src/decoder.ts';
import * as hub from '../src/hub/hub.ts';
import * as core from '../src/index.ts';
import * as serving from '../src/server/server.ts';
import * as files from '../src/source/file.ts';
import * as workers from '../src/workers/node.ts';
import { normals } from './bits.ts';
import { memoryFolder, memoryOutput } from './checkpoints.ts';
import { configs, randomFile } from './models.ts';
import { byteLevelContent } from './tokenizers.ts';

/** A function, its parameters by name, and arguments that work, made anew for each call. */
export interface PublicFunction {
  readonly name: string;
  readonly parameters: readonly string[];
  args(): unknown[] | Promise<unknown[]>;
  /** Calls it, and ends what it started. @returns what it gave */
  call(...args: never[]): unknown;
  /** Members of the parameters that are objects, by the parameter's name. */
  readonly members?: Readonly<Record<string, readonly string[]>>;
}

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const layout = ['maxShardBytes', 'fileName'];
const scheme = ['groupSize', 'seed', 'signs'];
const budget = ['grids', 'scales', 'minBits', 'maxBits', 'experts', 'keep', 'bpw', 'size', 'sensitivity'];
const planning = [
  ...[
    ...scheme,
    ...layout,
    'grids',
    'scales',
    'minBits',
    'maxBits',
    'experts',
    'embeddings',
    'include',
    'exclude',
    'keep',
  ],
  ...['bpw', 'size'],
];
const merging = ['onProgress', 'signal', 'resume'];
const running = [
  ...[...scheme, ...layout, 'grid', 'scaleSearch', 'embeddings', 'include', 'exclude', 'plan', 'pool'],
  ...['onProgress', 'signal', 'resume', 'part', 'alphas', ...budget],
];
const sampling = ['temperature', 'topK', 'topP', 'minP', 'repetitionPenalty', 'seed'];
const generating = [...sampling, 'maxTokens', 'stop', 'ignoreEos', 'signal', 'onLogits', 'onToken'];
const chatting = ['addGenerationPrompt', 'template', 'values', 'now'];
const measuring = ['estimator', 'text', 'source', 'tokens', 'sequences', 'draws', 'levels', 'seed', 'threads'];
const keeping = ['tensors', 'store', 'onCheck', 'onKept'];
const copying = ['grid', 'groupSize', 'scaleSearch', 'plan', 'pool', 'onProgress', 'signal'];
const loading = [
  ...['context', 'activations', 'cache', 'cacheTokens', 'threads', 'onProgress', 'signal', 'memoryLimit', 'onMemory'],
  'memory',
];

/** Modules whose exports must all have a row, by the subpath that they are. */
export const MODULES: Readonly<Record<string, object>> = {
  '.': core,
  './decoder': decoder,
  './files': files,
  './hub': hub,
  './server': serving,
  './workers': workers,
};

/** All of them, over a small model in memory; `close` frees what they share. */
export async function publicFunctions(): Promise<{ functions: PublicFunction[]; close(): Promise<void> }> {
  const higgs = await core.load();
  const config = {
    ...configs.llama,
    ...{ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
    ...{ head_dim: 16, max_position_embeddings: 32, vocab_size: 267, bos_token_id: 264, eos_token_id: 265 },
  };
  const tokenizerConfig = { eos_token: '<|end|>', chat_template: '{% for m in messages %}{{ m.content }}{% endfor %}' };
  const folder = memoryFolder({
    'config.json': json(config),
    'model.safetensors': randomFile(config, ['F32']),
    'tokenizer.json': json(byteLevelContent()),
    'tokenizer_config.json': json(tokenizerConfig),
  });
  const output = memoryOutput();
  await higgs.quantizeCheckpoint(folder, output);
  const quantized = output.folder();
  const part = memoryOutput();
  await higgs.quantizeCheckpoint(folder, part, { part: { index: 1, count: 1 } });
  let content = '';
  const onPart = (actual: string) => {
    content = actual;
  };
  const sequences = { sequences: 1, tokens: 4 };
  await decoder.measureSensitivity(folder, { ...sequences, part: { index: 1, count: 1 }, onPart });
  const checkpoint = await higgs.open(folder);
  const stored = await higgs.open(quantized);
  const model = await decoder.loadModel(folder);
  const { tokenizer, chatTemplate, language } = model;
  const sequence = await language.open({ capacity: 8 });
  const pool = await workers.startPool(1);
  const tensors = await higgs.planTensors(folder);
  const alphas = core.priorAlphas(tensors);
  const plan = higgs.allocate(tensors, alphas, { bpw: 4 });
  const matrix = higgs.quantize(normals(128), { rows: 2, cols: 64 });
  const sensitivities = core.sensitivitiesOf(alphas);
  const measured = [{ name: tensors[0].name, relativeError: 0.01 }];
  const prediction = core.predict(measured, sensitivities);
  const place = mkdtempSync(join(tmpdir(), 'higgs-arguments-'));
  writeFileSync(join(place, 'file'), 'content');
  const directory = await files.createFolder(join(place, 'directory'));
  await (await directory.create('x')).close();
  let created = 0;
  const fresh = () => join(place, `new-${created++}`);
  const messages = () => [{ role: 'user', content: 'Hi' }];
  const fetched = async () => new Response('content', { headers: { 'content-length': '7' } });
  const shape = { p: 1, bits: 4, groupSize: 16, rows: 1, cols: 16, seed: 0 };
  const job = () => ({
    kind: 'encode',
    matrix: { ...shape, grid: higgs.grids.get('p1n16') },
    weights: { bytes: new Uint8Array(64), dtype: 'F32' },
    options: {},
  });
  const gathered = core.memorySink();
  const statisticsOutput = { name: 'x', open: async () => undefined, create: async () => gathered };
  await decoder.measureSensitivity(folder, { sequences: 1, tokens: 4, statistics: { output: statisticsOutput } });
  const statistics = await decoder.readStatistics(gathered.bytes().buffer, 'x');
  const [weight] = statistics.weights.keys();
  const subjectOfAdvice = {
    ...{ folder, bytes: 1, bpw: 16, isQuantized: true },
    plan: checkpoint.plan,
    copyOf: (planned: core.Plan) => checkpoint.copy({ planned }),
    sensitivities: async () => alphas,
  };
  const store = () => ({ name: 'x', read: async () => undefined, write: async () => {}, remove: async () => {} });
  const handle = () => ({ name: 'x', values: async function* () {}, getFileHandle: fetched, removeEntry: fetched });
  type Closing = { close(): Promise<void> };
  const closing = async (opened: Promise<Closing>) => (await opened).close();
  const collect = async (generation: AsyncIterable<string>) => {
    for await (const piece of generation) if (typeof piece !== 'string') throw new Error('a piece must be text');
  };
  const sink = core.memorySink();
  const source = core.blobSource(new Blob(['content']));
  const opened = await files.openFile(join(place, 'file'));
  const stream = tokenizer.stream();

  // name, parameters, arguments, function, members
  const rows: [string, string, () => unknown[] | Promise<unknown[]>, (...args: never[]) => unknown, object?][] = [
    ['load', 'module options', () => [undefined, {}], core.load, { options: ['grids'] }],
    [
      'urlFolder',
      'address options',
      () => ['http://h/', { fetch: fetched }],
      core.urlFolder,
      { options: ['headers', 'signal', 'fetch'] },
    ],
    [
      'openHub',
      'name options',
      () => ['http://h/', { fetch: fetched }],
      hub.openHub,
      { options: ['endpoint', 'token', 'signal', 'fetch'] },
    ],
    [
      'urlSource',
      'url options',
      () => ['http://h/', { fetch: fetched }],
      core.urlSource,
      { options: ['headers', 'signal', 'fetch'] },
    ],
    [
      'FormatError',
      'message place',
      () => ['x', {}],
      (...args: [string]) => new core.FormatError(...args),
      { place: ['file', 'tensor', 'byteOffset'] },
    ],
    [
      'UnsupportedError',
      'feature message place',
      () => ['f', 'x', {}],
      (...args: [string, string]) => new core.UnsupportedError(...args),
      { place: ['file', 'tensor', 'byteOffset'] },
    ],
    [
      'FileError',
      'action path code reason',
      () => ['read', 'p', 'E', 'x'],
      (...args: [string, string, string, string]) => new core.FileError(...args),
    ],
    ['StateError', 'message', () => ['x'], (...args: [string]) => new core.StateError(...args)],
    [
      'createServer',
      'options',
      () => [{ models: { tiny: model } }],
      (options: serving.ServerOptions) => void serving.createServer(options),
      {
        options: [
          ...['models', 'memory', 'apiKey', 'cors', 'hosts', 'parallel', 'queue', 'contextShift', 'clientOf'],
          'onRequest',
        ],
      },
    ],
    ['readAlphas', 'content file', () => [core.writeAlphas(alphas), 'x'], core.readAlphas],
    ['writeAlphas', 'alphas', () => [alphas], core.writeAlphas, { alphas: Object.keys(alphas) }],
    ['readBitPlan', 'content file', () => [core.writeBitPlan(plan), 'x'], core.readBitPlan],
    ['writeBitPlan', 'plan', () => [plan], core.writeBitPlan, { plan: Object.keys(plan) }],
    [
      'predict',
      'tensors sensitivities',
      () => [measured, sensitivities],
      core.predict,
      { sensitivities: Object.keys(sensitivities) },
    ],
    [
      'predictPerplexity',
      'prediction perplexity',
      () => [prediction, 12],
      core.predictPerplexity,
      { prediction: ['loss', 'delta'] },
    ],
    ['sensitivitiesOf', 'from', () => [plan], core.sensitivitiesOf, { from: Object.keys(plan) }],
    ['priorAlphas', 'tensors', () => [tensors], core.priorAlphas],
    ['uniformAlphas', 'tensors', () => [tensors], core.uniformAlphas],
    [
      'directoryFolder',
      'handle',
      () => [handle()],
      async (own: core.DirectoryHandle) => core.directoryFolder(own).list(),
    ],
    ['openDirectory', 'handle', () => [handle()], async (own: core.DirectoryHandle) => core.openDirectory(own).list()],
    ['blobSource', 'blob', () => [new Blob(['x'])], core.blobSource],
    ['folderOf', 'name files', () => ['x', { a: new ArrayBuffer(4) }], core.folderOf, { files: ['a'] }],
    ['memorySink', '', () => [], core.memorySink],
    [
      'higgs.quantize',
      'weights options',
      () => [normals(128), { rows: 2, cols: 64 }],
      higgs.quantize,
      { options: ['rows', 'cols', 'grid', ...scheme, 'scaleSearch'] },
    ],
    ['higgs.dequantize', 'matrix', () => [matrix], higgs.dequantize, { matrix: Object.keys(matrix) }],
    ['higgs.matvec', 'matrix x', () => [matrix, normals(64)], higgs.matvec, { matrix: Object.keys(matrix) }],
    ['higgs.planCheckpoint', 'input options', () => [folder, {}], higgs.planCheckpoint, { options: running }],
    [
      'higgs.quantizeCheckpoint',
      'input output options',
      () => [folder, memoryOutput(), {}],
      higgs.quantizeCheckpoint,
      { options: running },
    ],
    [
      'higgs.allocate',
      'tensors alphas options',
      () => [tensors, alphas, { bpw: 4 }],
      higgs.allocate,
      { alphas: Object.keys(alphas), options: planning },
    ],
    [
      'higgs.tradeoff',
      'tensors alphas options',
      () => [tensors, alphas, {}],
      higgs.tradeoff,
      { alphas: Object.keys(alphas), options: planning },
    ],
    ['higgs.planTensors', 'input options', () => [folder, {}], higgs.planTensors, { options: planning }],
    [
      'higgs.planBits',
      'input alphas options',
      () => [folder, alphas, { bpw: 4 }],
      higgs.planBits,
      { options: planning },
    ],
    [
      'higgs.dequantizeCheckpoint',
      'input output options',
      () => [quantized, memoryOutput(), {}],
      higgs.dequantizeCheckpoint,
      { options: [...layout, 'pool', 'dtype', 'onProgress', 'signal'] },
    ],
    [
      'higgs.mergeParts',
      'parts output options',
      () => [[part.folder()], memoryOutput(), {}],
      higgs.mergeParts,
      { options: merging },
    ],
    ['higgs.inspectCheckpoint', 'input', () => [quantized], higgs.inspectCheckpoint],
    [
      'higgs.verifyCheckpoint',
      'input options',
      () => [quantized, {}],
      higgs.verifyCheckpoint,
      { options: ['pool', 'against', 'onProgress', 'signal'] },
    ],
    ['higgs.open', 'input', () => [folder], higgs.open],
    ['checkpoint.inspect', '', () => [], checkpoint.inspect],
    ['checkpoint.plan', 'options', () => [{}], checkpoint.plan, { options: running }],
    ['checkpoint.quantize', 'output options', () => [memoryOutput(), {}], checkpoint.quantize, { options: running }],
    ['checkpoint.planTensors', 'options', () => [{}], checkpoint.planTensors, { options: planning }],
    [
      'checkpoint.planBits',
      'alphas options',
      () => [alphas, { bpw: 4 }],
      checkpoint.planBits,
      { options: [...planning, 'sensitivity'] },
    ],
    [
      'checkpoint.dequantize',
      'output options',
      () => [memoryOutput(), {}],
      stored.dequantize,
      { options: [...layout, 'pool', 'dtype', 'onProgress', 'signal'] },
    ],
    ['checkpoint.copy', 'options', () => [{}], checkpoint.copy, { options: copying }],
    [
      'checkpoint.verify',
      'options',
      () => [{ against: checkpoint }],
      stored.verify,
      { options: ['pool', 'against', 'onProgress', 'signal'] },
    ],
    [
      'checkpoint.run',
      'options',
      () => [{}],
      (...args: [object]) => closing(checkpoint.run(...args)),
      { options: loading },
    ],
    ['checkpoint.runMemory', 'options', () => [{}], checkpoint.runMemory, { options: loading }],
    [
      'checkpoint.sensitivity',
      'options',
      () => [{ sequences: 1, tokens: 4 }],
      checkpoint.sensitivity,
      {
        options: [
          ...measuring,
          'name',
          'onLoad',
          'onProgress',
          'signal',
          'partial',
          'onPartial',
          'memoryLimit',
          'copy',
          ...keeping,
        ],
      },
    ],
    [
      'checkpoint.keptSensitivity',
      'options',
      () => [{ store: store() }],
      checkpoint.keptSensitivity,
      { options: [...measuring, ...keeping] },
    ],
    [
      'checkpoint.sensitivityCost',
      'options',
      () => [{ sequences: 1, tokens: 4 }],
      checkpoint.sensitivityCost,
      { options: measuring },
    ],
    [
      'higgs.loadModel',
      'input options',
      () => [folder, {}],
      (...args: [core.Folder]) => closing(higgs.loadModel(...args)),
      { options: loading },
    ],
    [
      'higgs.measureSensitivity',
      'input options',
      () => [folder, { sequences: 1, tokens: 4 }],
      higgs.measureSensitivity,
      {
        options: [
          ...measuring,
          'name',
          'onLoad',
          'onProgress',
          'signal',
          'partial',
          'onPartial',
          'memoryLimit',
          'copy',
        ],
      },
    ],
    [
      'higgs.estimateSensitivity',
      'input options',
      () => [folder, { sequences: 1, tokens: 4 }],
      higgs.estimateSensitivity,
      { options: measuring },
    ],
    [
      'loadModel',
      'input options',
      () => [folder, {}],
      (...args: [core.Folder]) => closing(decoder.loadModel(...args)),
      { options: loading },
    ],
    [
      'checkpoint.advise',
      'options',
      () => [{ bits: [4], seconds: 0 }],
      checkpoint.advise,
      { options: ['bits', 'embeddings', 'alphas', 'context', 'threads', 'seconds', 'signal'] },
    ],
    [
      'advise',
      'of options',
      () => [subjectOfAdvice, { seconds: 0 }],
      decoder.advise,
      { options: ['bits', 'embeddings', 'alphas', 'context', 'threads', 'seconds', 'signal'] },
    ],
    [
      'measureSpeed',
      'input options',
      () => [folder, { seconds: 0 }],
      decoder.measureSpeed,
      { options: ['activations', 'cache', 'threads', 'seconds'] },
    ],
    ['estimateMemory', 'input options', () => [folder, {}], decoder.estimateMemory, { options: loading }],
    [
      'measureSensitivity',
      'input options',
      () => [folder, { sequences: 1, tokens: 4 }],
      decoder.measureSensitivity,
      { options: [...measuring, 'partial', 'statistics', 'part', 'onPart'] },
    ],
    [
      'gatherRefinement',
      'input options groupSize copy',
      () => [folder, { sequences: 1, tokens: 4 }, 64],
      decoder.gatherRefinement,
      { options: ['mode', 'source', 'sequences', 'tokens', 'draws', 'seed', 'output', 'statistics'] },
    ],
    ['mergeSensitivities', 'parts', () => [[{ name: 'x', content }]], decoder.mergeSensitivities],
    [
      'keptSensitivity',
      'input options',
      () => [folder, { store: store() }],
      decoder.keptSensitivity,
      { options: [...measuring, ...keeping] },
    ],
    [
      'estimateSensitivity',
      'input options',
      () => [folder, { sequences: 1, tokens: 4 }],
      decoder.estimateSensitivity,
      { options: [...measuring, 'statistics'] },
    ],
    ['readStatistics', 'source file', () => [gathered.bytes().buffer, 'x'], decoder.readStatistics],
    ['statistics.inputs', 'name', () => [weight], statistics.inputs],
    ['statistics.outputs', 'name', () => [weight], statistics.outputs],
    [
      'openChatTemplate',
      'folder config',
      () => [folder, tokenizerConfig],
      decoder.openChatTemplate,
      { config: ['chat_template', 'bos_token'] },
    ],
    ['createSampler', 'options', () => [{}], decoder.createSampler, { options: sampling }],
    [
      'sampler',
      'logits occurred',
      () => [normals(40), new Set([1])],
      decoder.createSampler({ temperature: 1, repetitionPenalty: 2 }),
    ],
    [
      'textModel',
      'folder language',
      () => [folder, language],
      decoder.textModel,
      { language: ['config', 'open', 'close'] },
    ],
    ['openTokenizer', 'folder', () => [folder], decoder.openTokenizer],
    [
      'model.generate',
      'prompt options',
      () => ['Hi', { maxTokens: 2 }],
      (...args: [string]) => collect(model.generate(...args)),
      { options: generating },
    ],
    [
      'model.chat',
      'messages options',
      () => [messages(), { maxTokens: 2 }],
      (...args: [core.Message[]]) => collect(model.chat(...args)),
      { options: [...generating, ...chatting] },
    ],
    ['model.logits', 'ids options', () => [[1, 2], {}], model.logits, { options: ['rows'] }],
    [
      'model.perplexity',
      'text options',
      () => ['Hello you', {}],
      model.perplexity,
      { options: ['context', 'stride', 'bos', 'bytes', 'against', 'signal', 'onProgress'] },
    ],
    ['model.complete', 'prompt options', () => ['Hi', { maxTokens: 2 }], model.complete, { options: generating }],
    ['model.embed', 'text options', () => ['Hello', {}], model.embed, { options: ['normalize'] }],
    ['model.close', '', () => [], async () => {}],
    [
      'language.open',
      'options',
      () => [{ capacity: 4, ids: [1, 2] }],
      async (...args: [decoder.OpenOptions]) => (await language.open(...args)).close(),
      { options: ['capacity', 'ids', 'signal'] },
    ],
    [
      'sequence.extend',
      'ids options',
      () => [[1, 2], {}],
      (...args: [number[], object]) => {
        sequence.truncate(0);
        return sequence.extend(...args);
      },
      { options: ['rows', 'of', 'each', 'signal'] },
    ],
    ['sequence.truncate', 'length', () => [0], sequence.truncate],
    ['sequence.close', '', () => [], async () => {}],
    ['language.close', '', () => [], async () => {}],
    ['tokenizer.encode', 'text options', () => ['Hi', {}], tokenizer.encode, { options: ['special'] }],
    ['tokenizer.decode', 'ids options', () => [[1, 2], {}], tokenizer.decode, { options: ['special'] }],
    ['tokenizer.stream', 'behind', () => [[1]], tokenizer.stream],
    ['tokenizer.idOf', 'token', () => ['a'], tokenizer.idOf],
    ['stream.push', 'id', () => [1], stream.push],
    ['stream.end', '', () => [], stream.end],
    ['chatTemplate.render', 'messages options', () => [messages(), {}], chatTemplate.render, { options: chatting }],
    [
      'fileError',
      'action path error',
      () => ['read', 'p', new Error('x')],
      (...args: [string, string, unknown]) => [files.fileError(...args)],
    ],
    ['openFile', 'path', () => [join(place, 'file')], (...args: [string]) => closing(files.openFile(...args))],
    [
      'createFile',
      'path options',
      () => [fresh(), {}],
      (...args: [string]) => closing(files.createFile(...args)),
      { options: ['append'] },
    ],
    [
      'openFolders',
      'paths',
      () => [[place]],
      async (...args: [string[]]) => {
        for (const folder of await files.openFolders(...args)) await folder.close();
      },
    ],
    ['openFolder', 'path', () => [place], (...args: [string]) => closing(files.openFolder(...args))],
    [
      'createFolder',
      'path options',
      () => [fresh(), {}],
      (...args: [string]) => closing(files.createFolder(...args)),
      { options: ['resume'] },
    ],
    ['folder.open', 'name', () => ['config.json'], folder.open],
    ['directory.open', 'name', async () => ['x'], directory.open],
    ['directory.create', 'name', () => [`new-${created++}`], (...args: [string]) => closing(directory.create(...args))],
    [
      'directory.extend',
      'name byteLength',
      () => ['x', 0],
      (...args: [string, number]) => closing(directory.extend(...args)),
    ],
    ['directory.remove', 'name', () => ['none'], directory.remove],
    ['sink.write', 'bytes', () => [new Uint8Array(4)], sink.write],
    ['source.slice', 'start end', () => [0, 2], async (...args: [number, number]) => source.slice(...args)],
    [
      'file.slice',
      'start end spare',
      () => [0, 2, undefined],
      async (...args: [number, number]) => opened.slice(...args),
    ],
    ['startPool', 'size', () => [1], (...args: [number]) => closing(workers.startPool(...args))],
    ['defaultThreads', '', () => [], workers.defaultThreads],
    ['startThreads', 'size', () => [1], (...args: [number]) => closing(workers.startThreads(...args))],
    ['pool.run', 'job', () => [job()], pool.run, { job: Object.keys(job()) }],
  ];
  return {
    functions: rows.map(([name, parameters, args, call, members]) => ({
      ...{ name, parameters: parameters.split(' ').filter(Boolean), args, call },
      members: (members ?? {}) as NonNullable<PublicFunction['members']>,
    })),
    async close() {
      await Promise.all([model.close(), pool.close(), opened.close(), directory.close()]);
      rmSync(place, { recursive: true });
    },
  };
}
