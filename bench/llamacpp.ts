// Plans and exports for llama.cpp, by llama.cpp itself: the perplexity of an exported model beside ours over the same tokens, and the KL
// divergence of plans beside that of llama-quantize's mixtures of the same size. A plan is as `higgs plan` makes it, with its importance
// matrix, and without one; a mixture without a matrix, and with the plan's. Text windows are those of llama-perplexity.
//
//   node build/bench/llamacpp.js MODEL --binaries DIR --text FILE [--context 256] [--chunks 40] [--mixtures Q3_K_M,Q4_K_M,Q5_K_M]
//     [--weights-alone]
//
// DIR has llama-quantize and llama-perplexity. Sensitivities are kept beside the model, as `higgs plan` keeps them. `--weights-alone` makes
// weights F32 before they are scored: llama.cpp then does not round activations to eight bits.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { openTokenizer } from '../src/decoder.ts';
import { largeGrids } from '../src/grids/large.ts';
import { load } from '../src/higgs.ts';
import { logSumExp } from '../src/numerics/exponential.ts';
import { openFolder } from '../src/source/file.ts';
import { parseInteger } from '../src/terminal/usage.ts';
import { logitsOf, openSequence } from '../src/text/language.ts';

/** Runs of a tool that may end before its log is written. */
const TRIES = 20;

interface Options {
  binaries: string;
  text: string;
  context: number;
  chunks: number;
  mixtures: string[];
  weightsAlone?: boolean;
}

await new Command('llamacpp')
  .argument('<model>', 'a checkpoint’s directory')
  .requiredOption('--binaries <directory>', 'where llama-quantize and llama-perplexity are')
  .requiredOption('--text <file>', 'a text in UTF-8')
  .addOption(new Option('--context <n>', 'tokens of a window').argParser(parseInteger(2, 1 << 20)).default(256))
  .addOption(new Option('--chunks <n>', 'windows').argParser(parseInteger(1, 1 << 20)).default(40))
  .option('--mixtures <list>', 'mixtures to compare with', (text) => text.split(','), ['Q3_K_M', 'Q4_K_M', 'Q5_K_M'])
  .option('--weights-alone', 'score weights as F32, activations not rounded')
  .action(compare)
  .parseAsync();

async function compare(model: string, options: Options): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'higgs-llamacpp-'));
  const pathOf = (name: string) => join(scratch, name);
  try {
    higgs('export', model, '--format', 'gguf', '-o', pathOf('model.gguf'));
    const theirs = measured(/Final estimate: PPL = ([\d.]+)/, options, '-m', pathOf('model.gguf'));
    const own = await ownPerplexity(model, options);
    const apart = 100 * (own / theirs - 1);
    console.log(`perplexity of the export: llama.cpp ${theirs}, higgs ${own.toFixed(4)} (${apart.toFixed(3)} %)\n`);
    const base = ['--kl-divergence-base', pathOf('logits')];
    llama('perplexity', options, '-m', pathOf('model.gguf'), ...windows(options), ...base);
    const klOf = (file: string) =>
      measured(/Mean\s+KLD:\s+(-?[\d.]+)/, options, '-m', file, ...base, '--kl-divergence');
    const plan = (...args: string[]) => JSON.parse(higgs('plan', model, '--format', 'gguf', '--json', ...args));
    const made = (...args: string[]) => {
      llama('quantize', options, ...args.slice(0, -1), pathOf('model.gguf'), pathOf('made.gguf'), args.at(-1)!);
      const bytes = statSync(pathOf('made.gguf')).size;
      if (options.weightsAlone)
        llama('quantize', options, '--allow-requantize', pathOf('made.gguf'), pathOf('wide.gguf'), 'F32');
      return { bytes, kl: klOf(pathOf(options.weightsAlone ? 'wide.gguf' : 'made.gguf')) };
    };
    const started = performance.now();
    const { imatrix } = plan('--bpw', '8', '-o', pathOf('types.txt'));
    console.log(`sensitivities and matrix: ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
    const weighted = ['--imatrix', imatrix];
    const { plan: sizes } = plan('--bpw', '8', '--no-imatrix');
    console.log(
      '| mixture | bpw | KL | a plan | | the mixture with its matrix | the plan below that | both without | |',
    );
    console.log('|---|--:|--:|--:|--:|--:|--:|--:|--:|');
    for (const mixture of options.mixtures) {
      const { bpw, bytes } = sizes.mixtures.find(({ name }: { name: string }) => name === mixture);
      const bare = made(mixture);
      if (bare.bytes !== bytes) console.log(`${mixture} has ${bare.bytes} bytes, not the ${bytes} that were predicted`);
      // llama-quantize notes the matrix in its output: plans have the size without. The matrix is that of the first plan.
      const planned = (...args: string[]) => {
        const types = pathOf('types.txt');
        plan('--size', String(bytes), '-o', types, '--force', args.length > 0 ? '--imatrix' : '--no-imatrix');
        return made(...args, '--tensor-type-file', types, 'Q4_K_M').kl;
      };
      const [own, same, without] = [planned(...weighted), made(...weighted, mixture).kl, planned()];
      const cells = [own, below(own, bare.kl), same, below(own, same), without, below(without, bare.kl)];
      console.log(`| ${[mixture, bpw.toFixed(3), ...[bare.kl, ...cells].map(cell)].join(' | ')} |`);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function below(value: number, other: number): string {
  return `${(100 * (value / other - 1)).toFixed(0)} %`;
}

function cell(value: number | string): string {
  return typeof value === 'number' ? value.toPrecision(3) : value;
}

function windows({ context, chunks, text }: Options): string[] {
  return ['-f', text, '-c', String(context), '--chunks', String(chunks), '-t', '1'];
}

function higgs(...args: string[]): string {
  return execFileSync('node', ['build/higgs.js', ...args, '-q'], { encoding: 'utf8' });
}

// What it prints, on either stream.
function llama(tool: string, { binaries }: Options, ...args: string[]): string {
  return execFileSync('sh', ['-c', '"$0" "$@" 2>&1', join(binaries, `llama-${tool}`), ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
}

// A number that llama-perplexity prints at its end.
function measured(pattern: RegExp, options: Options, ...args: string[]): number {
  let text = '';
  for (let i = 0; i < TRIES; i++) {
    text = llama('perplexity', options, ...args, ...windows(options));
    const [, value] = pattern.exec(text) ?? [];
    if (value !== undefined) return Number(value);
  }
  throw new Error(`llama-perplexity must print ${pattern}: it printed\n${text.slice(-2000)}`);
}

// As llama-perplexity has it: of each window the second half is scored, and its first token gives way to the one that begins texts.
async function ownPerplexity(directory: string, { text, context, chunks }: Options): Promise<number> {
  const folder = await openFolder(directory);
  const ids = (await openTokenizer(folder)).encode(readFileSync(text, 'utf8'));
  const higgs = await load(undefined, { grids: largeGrids });
  const model = await higgs.loadModel(folder, { context, activations: 'f32' });
  const { language } = model;
  const sequence = await openSequence(language, { capacity: context });
  const { vocabSize, bos } = language.config;
  const half = context >> 1;
  let [loss, count] = [0, 0];
  for (let chunk = 0; chunk < chunks && (chunk + 1) * context <= ids.length; chunk++) {
    const own = ids.slice(chunk * context, (chunk + 1) * context);
    if (bos !== undefined) own[0] = bos;
    sequence.truncate(0);
    const logits = await logitsOf(language, sequence, own, { rows: 'all' });
    for (let i = half; i < context - 1; i++) {
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      loss += logSumExp(row) - row[own[i + 1]];
      count++;
    }
  }
  sequence.close();
  await model.close();
  await folder.close();
  return Math.exp(loss / count);
}
