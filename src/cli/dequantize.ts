// higgs dequantize: a quantized checkpoint back to a plain one.

import { type Command, Option } from 'commander';
import { openInput } from '../disk/input.ts';
import { stageOutput } from '../disk/output.ts';
import type { PlainDtype } from '../kernels/kernels.ts';
import { bytesStep, bytesText, counted } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { byteSize, parseInteger } from '../terminal/usage.ts';
import { writePlainCard } from './common/additions.ts';
import { cores, WORKERS_OPTION_LIMIT, withSession } from './common/session.ts';

interface Options {
  output: string;
  dtype?: 'f16' | 'bf16' | 'f32';
  workers: number;
  maxShardSize: number;
  force?: boolean;
  json?: boolean;
}

/** Adds the verb `dequantize`. */
export function addDequantize(program: Command): void {
  const command = program
    .command('dequantize')
    .summary('write a plain checkpoint that any framework loads')
    .description(
      'Writes the weights of a quantized checkpoint as a plain one: the same names and shapes, ordinary dtypes.',
    )
    .argument('<input>', 'a quantized checkpoint’s directory, or one .safetensors file')
    .optionsGroup(GROUPS.output)
    .requiredOption('-o, --output <path>', 'where to write: a directory (or a .safetensors file, if the input is one)')
    .addOption(
      new Option('--dtype <dtype>', 'dtype of the weights (each its original one)').choices(['f16', 'bf16', 'f32']),
    )
    .addOption(new Option('--max-shard-size <size>', 'largest output file').argParser(byteSize).default(5e9, '5GB'))
    .option('--force', 'replace an existing output')
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads')
        .argParser(parseInteger(1, WORKERS_OPTION_LIMIT))
        .default(cores(), 'the cores'),
    );
  addPrinting(command, 'print the report as JSON');
  addExamples(command, [
    ['higgs dequantize Llama-3.2-1B-higgs -o Llama-3.2-1B-restored'],
    ['higgs dequantize Llama-3.2-1B-higgs -o restored --dtype f32'],
  ]).action(dequantize);
}

async function dequantize(path: string, options: Options): Promise<void> {
  const input = await openInput(path);
  try {
    const report = await withSession('dequantize', options.workers, async ({ higgs, pool, signal, progress }) => {
      const { bpw } = await higgs.inspectCheckpoint(input.folder); // faults of the input come before any trace of an output
      const staging = await stageOutput(options.output, input, { force: options.force });
      const { fileName } = staging;
      const began = performance.now();
      let isDone = false; // a complete output stays where it is
      try {
        const done = await higgs.dequantizeCheckpoint(input.folder, staging.folder, {
          dtype: options.dtype?.toUpperCase() as PlainDtype | undefined,
          maxShardBytes: options.maxShardSize,
          ...(fileName !== undefined && { fileName: () => fileName, maxShardBytes: Number.MAX_SAFE_INTEGER }),
          pool,
          signal,
          onProgress: (step) => progress.update(bytesStep(step)),
        });
        if (!input.isFile) await writePlainCard(input.folder, staging.folder, bpw, done);
        isDone = true;
        await staging.commit();
        return { ...done, seconds: (performance.now() - began) / 1000 };
      } catch (error) {
        if (!isDone) await staging.discard();
        throw error;
      }
    });
    const { bytesIn, bytesOut, seconds, tensors } = report;
    const sizes = `${bytesText(bytesIn)} → ${bytesText(bytesOut)}`;
    if (options.json) printJson(report);
    else print(`${counted(tensors.length, 'tensor')}, ${sizes} in ${seconds.toFixed(1)} s: ${options.output}`);
  } finally {
    await input.folder.close();
  }
}
