// A whole model by this code and by an older commit's, in turns within one process: the older one is built in build/against/, both run
// the same prompts and tokens, and rows of logits are compared. Time is the processor's, so that other work on the machine counts less;
// with several threads it is the clock's.
//   node build/bench/against.js <quantized model> <commit> [threads] [rounds] [depth]

import { execFileSync } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { loadModel } from '../src/decoder.ts';
import type { openFolder } from '../src/source/file.ts';
import type { Sequence } from '../src/text/language.ts';
import type { startThreads } from '../src/workers/node.ts';

const [path, commit = 'HEAD', threads = '1', rounds = '5', depth = '0'] = process.argv.slice(2);
const PROMPT = 128;
const TOKENS = 24;

interface Side {
  readonly name: string;
  readonly sequence: Sequence;
  readonly prompts: number[];
  readonly tokens: number[];
  close(): Promise<void>;
}

function buildOf(commit: string): string {
  const hash = execFileSync('git', ['rev-parse', '--short=12', `${commit}^{commit}`], { encoding: 'utf8' }).trim();
  const folder = resolve('build/against', hash);
  if (!existsSync(folder)) {
    execFileSync('git', ['worktree', 'add', '--detach', folder, hash], { stdio: 'ignore' });
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  }
  execFileSync(process.execPath, ['esbuild.mjs'], { cwd: folder, stdio: 'ignore' });
  return join(folder, 'build');
}

async function open(name: string, build: string): Promise<Side> {
  const from = async <T>(file: string): Promise<T> => import(pathToFileURL(join(build, file)).href);
  const decoder = await from<{ loadModel: typeof loadModel }>('decoder.js');
  const files = await from<{ openFolder: typeof openFolder }>('files.js');
  const workers = await from<{ startThreads: typeof startThreads }>('workers-node.js');
  const folder = await files.openFolder(path!);
  const context = Number(depth) + 2 * PROMPT;
  const model = await decoder.loadModel(folder, { context, threads: await workers.startThreads(Number(threads)) });
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

const at = (times: readonly number[], share: number): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length * share)];

const sides = [await open(commit, buildOf(commit)), await open('this', resolve('build'))];
const idOf = (i: number): number => (i * 40503 + 7) % 1000;
let differing = 0;
for (let round = 0; round < Number(rounds); round++) {
  for (const { sequence } of sides) {
    if (round > 0) sequence.truncate(Number(depth));
    else if (Number(depth) > 0)
      await sequence.extend(
        Array.from({ length: Number(depth) }, (_, i) => idOf(i)),
        { rows: 'none' },
      );
  }
  const prompt = Array.from({ length: PROMPT }, (_, i) => idOf(i + round));
  if (!(await turn(sides, prompt, 'prompts'))) differing++;
  for (let i = 0; i < TOKENS; i++) if (!(await turn(sides, [idOf(i * 3 + round)], 'tokens'))) differing++;
}
console.log(`${cpus()[0].model}, Node ${process.versions.node}, threads ${threads}, depth ${depth}\n`);
console.log(`| | prompt of ${PROMPT}, tokens/s | × | generate, tokens/s, median | × |\n|---|---|---|---|---|`);
const [old] = sides;
for (const { name, prompts, tokens } of sides) {
  const [prompt, token] = [at(prompts, 0), at(tokens, 0.5)];
  const rates = [(PROMPT * 1000) / prompt, 1000 / token].map((rate) => rate.toPrecision(3));
  const ratios = [at(old.prompts, 0) / prompt, at(old.tokens, 0.5) / token].map((ratio) => ratio.toFixed(2));
  console.log(`| ${name} | ${rates[0]} | ${ratios[0]} | ${rates[1]} | ${ratios[1]} |`);
}
console.log(`\nrows of logits that differ: ${differing}`);
for (const side of sides) await side.close();
