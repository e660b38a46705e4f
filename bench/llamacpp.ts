// Plans and exports for llama.cpp, by llama.cpp itself: the perplexity of an exported model beside ours over the same tokens, and the KL
// divergence of plans beside that of llama-quantize's mixtures of the same size. Text windows are those of llama-perplexity.
//
//   node build/bench/llamacpp.js MODEL --binaries DIR --text FILE [--context 256] [--chunks 40] [--mixtures Q3_K_M,Q4_K_M,Q5_K_M]
//
// DIR has llama-quantize and llama-perplexity. Sensitivities are kept beside the model, as `higgs plan` keeps them.

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
import { integer } from '../src/terminal/usage.ts';
import { logitsOf, openSequence } from '../src/text/language.ts';

interface Options {
  binaries: string;
  text: string;
  context: number;
  chunks: number;
  mixtures: string[];
}

await new Command('llamacpp')
  .argument('<model>', 'a checkpoint’s directory')
  .requiredOption('--binaries <directory>', 'where llama-quantize and llama-perplexity are')
  .requiredOption('--text <file>', 'a text in UTF-8')
  .addOption(new Option('--context <n>', 'tokens of a window').argParser(integer(2, 1 << 20)).default(256))
  .addOption(new Option('--chunks <n>', 'windows').argParser(integer(1, 1 << 20)).default(40))
  .option('--mixtures <list>', 'mixtures to compare with', (text) => text.split(','), ['Q3_K_M', 'Q4_K_M', 'Q5_K_M'])
  .action(compare)
  .parseAsync();

async function compare(model: string, options: Options): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'higgs-llamacpp-'));
  const at = (name: string) => join(scratch, name);
  try {
    higgs('export', model, '--format', 'gguf', '-o', at('model.gguf'));
    const theirs = measured(/Final estimate: PPL = ([\d.]+)/, options, '-m', at('model.gguf'));
    const own = await ownPerplexity(model, options);
    const apart = 100 * (own / theirs - 1);
    console.log(`perplexity of the export: llama.cpp ${theirs}, higgs ${own.toFixed(4)} (${apart.toFixed(3)} %)\n`);
    const base = ['--kl-divergence-base', at('logits')];
    llama('perplexity', options, '-m', at('model.gguf'), ...windows(options), ...base);
    console.log('| types | bytes | bpw | predicted KL | KL | of the mixture | KL, in F32 | of the mixture |');
    console.log('|---|--:|--:|--:|--:|--:|--:|--:|');
    const klOf = (file: string) =>
      measured(/Mean\s+KLD:\s+(-?[\d.]+)/, options, '-m', file, ...base, '--kl-divergence');
    // As it runs, with activations in eight bits, and of the weights alone.
    const both = (file: string): Pair => {
      llama('quantize', options, '--allow-requantize', file, at('wide.gguf'), 'F32');
      return [klOf(file), klOf(at('wide.gguf'))];
    };
    for (const mixture of options.mixtures) {
      const planned = JSON.parse(higgs('plan', model, '--format', 'gguf', '--bpw', '8', '--json')).plan.mixtures;
      const { bpw, predicted, bytes } = planned.find(({ name }: { name: string }) => name === mixture);
      llama('quantize', options, at('model.gguf'), at('mixture.gguf'), mixture);
      const size = statSync(at('mixture.gguf')).size;
      if (size !== bytes) console.log(`${mixture} has ${size} bytes, not the ${bytes} that were predicted`);
      const kl = both(at('mixture.gguf'));
      console.log(row(mixture, size, bpw, predicted, kl));
      const args = ['--size', String(size), '-o', at('types.txt'), '--force', '--json'];
      const { plan } = JSON.parse(higgs('plan', model, '--format', 'gguf', ...args));
      llama('quantize', options, '--tensor-type-file', at('types.txt'), at('model.gguf'), at('plan.gguf'), 'Q4_K_M');
      const own = both(at('plan.gguf'));
      console.log(row('a plan', statSync(at('plan.gguf')).size, plan.bpw, plan.predicted, own, kl));
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** KL as it runs, and with weights in F32. */
type Pair = readonly [number, number];

function row(name: string, bytes: number, bpw: number, predicted: number, kl: Pair, of?: Pair): string {
  const cells = kl.flatMap((value, i) => [
    value.toPrecision(3),
    of === undefined ? '' : `${(100 * (value / of[i] - 1)).toFixed(0)} %`,
  ]);
  return `| ${[name, bytes, bpw.toFixed(3), predicted.toPrecision(3), ...cells].join(' | ')} |`;
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

/** Runs of a tool that may end before its log is written. */
const TRIES = 5;

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
