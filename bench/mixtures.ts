// The mixtures of llama-quantize beside `--bpw` of the same bits: KL divergence from the original, of linear weights alone, every file scored
// by one program. Their files are made plain (F32) first, and embeddings stay BF16 on both sides.
//
//   node build/bench/mixtures.js MODEL --binaries DIR --text FILE [--imatrix FILE] [--tokens 24225] [--mixtures Q2_K,Q3_K_M,Q4_K_M,Q5_K_S]
//
// DIR has llama-quantize. FILE of --imatrix is what llama-imatrix wrote. Sensitivities are kept beside the model.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { integer } from '../src/terminal/usage.ts';

interface Options {
  binaries: string;
  text: string;
  imatrix?: string;
  tokens: number;
  mixtures: string[];
}

interface Planned {
  plan: { tensors: { shape: [rows: number, cols: number] }[] };
}

/** Bits of a plain weight. */
const PLAIN = 16;

await new Command('mixtures')
  .argument('<model>', 'a checkpoint’s directory, in BF16')
  .requiredOption('--binaries <directory>', 'where llama-quantize is')
  .requiredOption('--text <file>', 'a text in UTF-8')
  .option('--imatrix <file>', 'also quantize with this importance matrix')
  .addOption(new Option('--tokens <n>', 'tokens of the text').argParser(integer(2, 1 << 30)).default(24225))
  .option('--mixtures <list>', 'mixtures to compare with', (text) => text.split(','), [
    ...['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_S'],
  ])
  .action(compare)
  .parseAsync();

function compare(model: string, options: Options): void {
  const scratch = mkdtempSync(join(tmpdir(), 'higgs-mixtures-'));
  const at = (name: string) => join(scratch, name);
  const scored = ['--against', model, '--text', options.text, '--tokens', String(options.tokens)];
  const klOf = (path: string) => JSON.parse(higgs('perplexity', path, ...scored)).against.meanKl.toFixed(5);
  const mixed = (mixture: string, ...more: string[]) => {
    const args = [...more, '--token-embedding-type', 'bf16', at('model.gguf'), at('mixture.gguf'), mixture];
    quantize(options, ...args);
    quantize(options, '--allow-requantize', at('mixture.gguf'), at('plain.gguf'), 'F32');
    return klOf(at('plain.gguf'));
  };
  try {
    higgs('export', model, '--format', 'gguf', '-o', at('model.gguf'));
    const {
      plan: { tensors },
    } = JSON.parse(higgs('plan', model, '--uniform', '--bpw', '8')) as Planned;
    const weights = tensors.reduce((sum, { shape: [rows, cols] }) => sum + rows * cols, 0);
    console.log('| mixture | bits per weight | KL | with an importance matrix | `--bpw`, KL |');
    console.log('|---|--:|--:|--:|--:|');
    for (const mixture of options.mixtures) {
      const weighed = options.imatrix === undefined ? '' : mixed(mixture, '--imatrix', options.imatrix);
      const kl = mixed(mixture);
      const saved = statSync(at('model.gguf')).size - statSync(at('mixture.gguf')).size;
      const bpw = (PLAIN - (8 * saved) / weights).toFixed(2);
      higgs('quantize', model, '-o', at('copy'), '--bpw', bpw, '--force');
      console.log(`| ${[mixture, bpw, kl, weighed, klOf(at('copy'))].join(' | ')} |`);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function higgs(...args: string[]): string {
  return execFileSync('node', ['build/higgs.js', ...args, '--json', '-q'], { encoding: 'utf8' });
}

function quantize({ binaries }: Options, ...args: string[]): void {
  execFileSync(join(binaries, 'llama-quantize'), args, { stdio: 'ignore' });
}
