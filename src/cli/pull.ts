// higgs pull: a model of the hub into the cache.

import type { Command } from 'commander';
import { pull } from '../disk/pull.ts';
import { bytesText, counted, progressDisplay } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { Interrupted, interruptible } from './common/session.ts';

/** Adds the verb `pull`. */
export function addPull(program: Command): void {
  const command = program
    .command('pull')
    .summary('download a model of the hub into the cache')
    .description(
      'Downloads a checkpoint into the cache that the hub’s Python client shares: what one has, the other finds. The same command continues after an interruption. You need not download a model to quantize it: higgs quantize hf:org/model streams. HF_TOKEN (or the file HF_TOKEN_PATH), HF_HUB_CACHE, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean to that client.',
    )
    .argument('<name>', 'hf:org/model, hf:org/model@revision, or its address on the hub')
    .option('--all', 'every file of the repository, not only the checkpoint’s');
  addPrinting(command, 'print as JSON');
  addExamples(command, [
    ['higgs pull hf:HuggingFaceTB/SmolLM2-135M'],
    ['higgs pull hf:org/model@v1.0'],
    ['higgs pull hf:org/model/model-Q4_K_M.gguf'],
  ]).action(run);
}

async function run(name: string, options: { all?: boolean; json?: boolean }): Promise<void> {
  const progress = progressDisplay('pull');
  const pulled = await interruptible(async (signal) => {
    try {
      return await pull(name, {
        ...options,
        signal,
        onProgress: ({ done, total, file }) =>
          progress.update({ done, total, unit: 'bytes', bytes: done, tensor: file }),
      });
    } catch (error) {
      if (error instanceof Interrupted) error.message = 'interrupted; the same command continues it';
      throw error;
    } finally {
      progress.stop();
    }
  });
  if (options.json) return printJson(pulled);
  const { files, bytes, downloaded, path, left } = pulled;
  const came = downloaded === bytes ? '' : `, ${bytesText(downloaded)} of it now`;
  print(`${path}\n${counted(files, 'file')}, ${bytesText(bytes)}${came}`);
  if (left.length > 0)
    print(`${counted(left.length, 'file')} left at the hub: no part of the checkpoint (--all takes them)`);
}
