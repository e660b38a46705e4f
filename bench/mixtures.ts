// The mixtures of llama-quantize beside `--bpw` of the same bits: KL divergence from the original, of linear weights alone, every file scored
// by one program. Their files are made plain (F32) first, and embeddings stay BF16 on both sides.
//
//   node build/bench/mixtures.js MODEL --binaries DIR --text FILE [--imatrix FILE] [--statistics FILE --alphas FILE] [--tokens 24225]
//     [--mixtures Q2_K,Q3_K_M,Q4_K_M,Q5_K_S]
//
// DIR has llama-quantize. FILE of --imatrix is what llama-imatrix wrote; those of --statistics and --alphas are what `higgs sensitivity`
// wrote. Sensitivities are kept beside the model. Without DIR, `--budgets 2.93,3.85` compares plans with refined ones alone.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { load } from '../src/higgs.ts';
import { readAlphas } from '../src/linearity/alphas.ts';
import { createFolder, openFile, openFolder } from '../src/source/file.ts';
import { readStatistics } from '../src/statistics/file.ts';
import { parseInteger } from '../src/terminal/usage.ts';

interface Options {
  binaries?: string;
  text: string;
  imatrix?: string;
  statistics?: string;
  alphas?: string;
  budgets?: string[];
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
  .option('--binaries <directory>', 'where llama-quantize is')
  .requiredOption('--text <file>', 'a text in UTF-8')
  .option('--imatrix <file>', 'also quantize with this importance matrix')
  .option('--statistics <file>', 'also refine the plans by these statistics')
  .option('--alphas <file>', 'sensitivities that were measured with them')
  .option('--budgets <list>', 'bits per weight of plans alone, without llama-quantize', (text) => text.split(','))
  .addOption(new Option('--tokens <n>', 'tokens of the text').argParser(parseInteger(2, 1 << 30)).default(24225))
  .option('--mixtures <list>', 'mixtures to compare with', (text) => text.split(','), [
    ...['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_S'],
  ])
  .action(compare)
  .parseAsync();

async function compare(model: string, options: Options): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'higgs-mixtures-'));
  const pathOf = (name: string) => join(scratch, name);
  const scored = ['--against', model, '--text', options.text, '--tokens', String(options.tokens)];
  const klOf = (path: string) => JSON.parse(higgs('perplexity', path, ...scored)).against.meanKl.toFixed(5);
  const mixed = (mixture: string, ...more: string[]) => {
    const args = [...more, '--token-embedding-type', 'bf16', pathOf('model.gguf'), pathOf('mixture.gguf'), mixture];
    quantize(options.binaries!, ...args);
    quantize(options.binaries!, '--allow-requantize', pathOf('mixture.gguf'), pathOf('plain.gguf'), 'F32');
    return klOf(pathOf('plain.gguf'));
  };
  async function planned(bpw: string): Promise<string[]> {
    higgs('quantize', model, '-o', pathOf('copy'), '--bpw', bpw, '--force');
    const plain = klOf(pathOf('copy'));
    const { statistics, alphas } = options;
    if (statistics === undefined || alphas === undefined) return [plain, ''];
    rmSync(pathOf('refined'), { recursive: true, force: true });
    const [input, file] = [await openFolder(model), await openFile(statistics)];
    await (await load()).quantizeCheckpoint(input, await createFolder(pathOf('refined')), {
      ...{ bpw: Number(bpw), alphas: readAlphas(readFileSync(alphas), alphas) },
      refine: { statistics: await readStatistics(file, statistics) },
    });
    for (const opened of [input, file]) await opened.close();
    return [plain, klOf(pathOf('refined'))];
  }
  try {
    console.log('| mixture | bits per weight | KL | with an importance matrix | `--bpw`, KL | refined |');
    console.log('|---|--:|--:|--:|--:|--:|');
    if (options.binaries === undefined) {
      for (const bpw of options.budgets ?? [])
        console.log(`| ${['', bpw, '', '', ...(await planned(bpw))].join(' | ')} |`);
      return;
    }
    higgs('export', model, '--format', 'gguf', '-o', pathOf('model.gguf'));
    const {
      plan: { tensors },
    } = JSON.parse(higgs('plan', model, '--uniform', '--bpw', '8')) as Planned;
    const weights = tensors.reduce((sum, { shape: [rows, cols] }) => sum + rows * cols, 0);
    for (const mixture of options.mixtures) {
      const weighed = options.imatrix === undefined ? '' : mixed(mixture, '--imatrix', options.imatrix);
      const kl = mixed(mixture);
      const saved = statSync(pathOf('model.gguf')).size - statSync(pathOf('mixture.gguf')).size;
      const bpw = (PLAIN - (8 * saved) / weights).toFixed(2);
      console.log(`| ${[mixture, bpw, kl, weighed, ...(await planned(bpw))].join(' | ')} |`);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function higgs(...args: string[]): string {
  return execFileSync('node', ['build/higgs.js', ...args, '--json', '-q'], { encoding: 'utf8' });
}

function quantize(binaries: string, ...args: string[]): void {
  execFileSync(join(binaries, 'llama-quantize'), args, { stdio: 'ignore' });
}
