// A whole model by this code and by an older commit's, in turns within one process: the older one is built in build/against/, both run
// the same prompts and tokens, and rows of logits are compared. Time is the processor's, so that other work on the machine counts less;
// with several threads it is the clock's. Progress goes to stderr; building the older one takes a minute or two, once.
//   node build/bench/against.js <quantized model> [commit, HEAD] [threads, 1] [rounds, 3] [depths, 0] [cache of this code, f16]

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { engineFlag, setEngineFlag } from '../src/cli/common/engine.ts';
import type { loadModel } from '../src/decoder.ts';
import type { CacheDtype } from '../src/model/cache.ts';
import type { openFolder } from '../src/source/file.ts';
import type { Sequence } from '../src/text/language.ts';
import type { startThreads } from '../src/workers/node.ts';

const [path, commit = 'HEAD', threads = '1', rounds = '3', depths = '0', cache = 'f16'] = process.argv.slice(2);
const PROMPT = 128;
const TOKENS = 16;

interface Side {
  readonly name: string;
  readonly sequence: Sequence;
  prompts: number[];
  tokens: number[];
  close(): Promise<void>;
}

const report = (task: string): void => console.error(`${task} …`);

function buildOf(commit: string): string {
  const hash = execFileSync('git', ['rev-parse', '--short=12', `${commit}^{commit}`], { encoding: 'utf8' }).trim();
  const folder = resolve('build/against', hash);
  const build = join(folder, 'build');
  if (existsSync(join(build, 'workers-node.js'))) return build;
  report(`building ${hash}`);
  if (!existsSync(folder)) {
    execFileSync('git', ['worktree', 'add', '--detach', folder, hash], { stdio: 'ignore' });
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  }
  execFileSync(process.execPath, ['esbuild.mjs'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  return build;
}

async function open(name: string, build: string, cache?: CacheDtype): Promise<Side> {
  const from = async <T>(file: string): Promise<T> => import(pathToFileURL(join(build, file)).href);
  const decoder = await from<{ loadModel: typeof loadModel }>('decoder.js');
  const files = await from<{ openFolder: typeof openFolder }>('files.js');
  const workers = await from<{ startThreads: typeof startThreads }>('workers-node.js');
  report(`loading the model by ${name}`);
  const folder = await files.openFolder(path);
  const context = deepest + PROMPT + TOKENS;
  const model = await decoder.loadModel(folder, {
    ...{ context, threads: await workers.startThreads(Number(threads)) },
    ...(cache && { cache }),
  });
  const sequence = await model.language.open({ capacity: context });
  const close = async () => {
    await model.close();
    await folder.close();
  };
  return { name, sequence, prompts: [], tokens: [], close };
}

const now = (): number => {
  if (Number(threads) > 1) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

// The given ids by each side, and whether their logits agree.
async function turn(sides: readonly Side[], ids: readonly number[], kind: 'prompts' | 'tokens'): Promise<boolean> {
  const rows: Uint32Array[] = [];
  for (const side of sides) {
    const began = now();
    const row = await side.sequence.extend(ids);
    side[kind].push(now() - began);
    rows.push(new Uint32Array(row.slice().buffer));
  }
  return rows.every((row) => row.every((bits, i) => bits === rows[0][i]));
}

const quantile = (times: readonly number[], share: number): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length * share)];

const idOf = (i: number): number => (i * 40503 + 7) % 1000;
const idsFrom = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => idOf(first + i));

// Turns at a depth; how many rows of logits differed.
async function measure(sides: readonly Side[], depth: number): Promise<number> {
  report(`depth ${depth}`);
  for (const side of sides) {
    side.sequence.truncate(0);
    [side.prompts, side.tokens] = [[], []];
    if (depth > 0) await side.sequence.extend(idsFrom(0, depth), { rows: 'none' });
  }
  let differing = 0;
  for (let round = 0; round < Number(rounds); round++) {
    for (const { sequence } of sides) sequence.truncate(depth);
    if (!(await turn(sides, idsFrom(round, PROMPT), 'prompts'))) differing++;
    for (let i = 0; i < TOKENS; i++) if (!(await turn(sides, [idOf(i * 3 + round)], 'tokens'))) differing++;
  }
  return differing;
}

const depthsAsked = depths.split(',').map(Number);
const deepest = Math.max(...depthsAsked);
const olderBuild = buildOf(commit);
// Each side has the engine's flag if its own command line sets it: an older one that does not has its kernels before.
const flag = engineFlag(process.versions.v8, process.arch);
if (flag && readFileSync(join(olderBuild, 'higgs.js'), 'utf8').includes(flag)) setEngineFlag();
const older = await open(commit, olderBuild);
setEngineFlag();
const sides = [older, await open('this', resolve('build'), cache as CacheDtype)];
console.log(`${cpus()[0].model}, Node ${process.versions.node}, threads ${threads}\n`);
console.log(
  `| depth | | prompt of ${PROMPT}, tokens/s | × | generate, tokens/s, median | × |\n|---|---|---|---|---|---|`,
);
let differing = 0;
for (const depth of depthsAsked) {
  differing += await measure(sides, depth);
  for (const { name, prompts, tokens } of sides) {
    const [prompt, token] = [quantile(prompts, 0), quantile(tokens, 0.5)];
    const rates = [(PROMPT * 1000) / prompt, 1000 / token].map((rate) => rate.toPrecision(3));
    const ratios = [quantile(older.prompts, 0) / prompt, quantile(older.tokens, 0.5) / token].map((ratio) =>
      ratio.toFixed(2),
    );
    console.log(`| ${depth} | ${name} | ${rates[0]} | ${ratios[0]} | ${rates[1]} | ${ratios[1]} |`);
  }
}
console.log(`\nrows of logits that differ: ${differing}`);
for (const side of sides) await side.close();
