// higgs verify: structure, checksums, and, beside the original, the error of every weight.

import { type Command, Option } from 'commander';
import { openInput } from '../disk/input.ts';
import { bytesStep, counted } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson, warn } from '../terminal/print.ts';
import { errorsText } from '../terminal/report.ts';
import { parseInteger } from '../terminal/usage.ts';
import { cores, WORKERS_OPTION_LIMIT, withSession } from './common/session.ts';

interface Options {
  against?: string;
  workers: number;
  all?: boolean;
  json?: boolean;
}

/** Adds the verb `verify`. */
export function addVerify(program: Command): void {
  const command = program
    .command('verify')
    .summary('check a quantized checkpoint')
    .description(
      'Checks the structure and the checksums of a quantized checkpoint. With --against it also recomputes the t² of every weight, and compares bit by bit what was copied.',
    )
    .argument('<input>', 'a quantized checkpoint’s directory, or one .safetensors file')
    .option('--against <original>', 'the checkpoint that was quantized')
    .optionsGroup(GROUPS.machine)
    .addOption(
      new Option('--workers <n>', 'worker threads')
        .argParser(parseInteger(1, WORKERS_OPTION_LIMIT))
        .default(cores(), 'the cores'),
    );
  addPrinting(command, 'print the report as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs verify Llama-3.2-1B-higgs'],
    ['higgs verify Llama-3.2-1B-higgs --against Llama-3.2-1B --json'],
  ]).action(verify);
}

async function verify(path: string, options: Options): Promise<void> {
  const input = await openInput(path);
  const original = options.against === undefined ? undefined : await openInput(options.against);
  try {
    const began = performance.now();
    const verified = await withSession('verify', options.workers, ({ higgs, pool, signal, progress }) =>
      higgs.verifyCheckpoint(input.folder, {
        ...(original && { against: original.folder }),
        pool,
        signal,
        onProgress: (step) => progress.update(bytesStep(step)),
      }),
    );
    const report = { ...verified, seconds: (performance.now() - began) / 1000 };
    if (options.json) {
      printJson(report);
    } else {
      const compared = original ? ', t² recomputed against the original' : ', t² as noted when quantizing';
      print(
        `${errorsText(report.tensors, options.all ?? false)}\n\n` +
          `${counted(report.checked, 'checksum')} hold${report.checked === 1 ? 's' : ''}${compared}; ${report.bpw.toFixed(2)} bits per weight, ${report.seconds.toFixed(1)} s`,
      );
    }
    for (const warning of report.warnings) warn(warning);
  } finally {
    await input.folder.close();
    await original?.folder.close();
  }
}
