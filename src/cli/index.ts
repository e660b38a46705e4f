// The command line: one file a verb, which reads options, calls the library and prints.

import { Command, CommanderError } from 'commander';
import { version } from '../../package.json';
import { addExamples, finishCommand, usageText, VERBS } from '../terminal/help.ts';
import { printJson } from '../terminal/print.ts';
import { addAdvise } from './advise.ts';
import { addBench } from './bench.ts';
import { addChat } from './chat.ts';
import { EXIT, errorJson, reportError } from './common/session.ts';
import { addCompletion } from './completion.ts';
import { addDequantize } from './dequantize.ts';
import { addExport } from './export.ts';
import { addGenerate } from './generate.ts';
import { addGrids } from './grids.ts';
import { addInspect } from './inspect.ts';
import { addList, addRemove } from './local.ts';
import { addMerge } from './merge.ts';
import { addPerplexity } from './perplexity.ts';
import { addPlan } from './plan.ts';
import { addPredict } from './predict.ts';
import { addPull } from './pull.ts';
import { addQuantize } from './quantize.ts';
import { addRun } from './run.ts';
import { addSensitivity } from './sensitivity.ts';
import { addServe } from './serve.ts';
import { addVerify } from './verify.ts';

/** The verbs, as help groups them. */
const verbs: Readonly<Record<keyof typeof VERBS, readonly ((program: Command) => void)[]>> = {
  quantizing: [addAdvise, addQuantize, addMerge, addInspect, addVerify, addDequantize, addExport],
  keeping: [addPull, addList, addRemove],
  running: [addRun, addGenerate, addChat, addServe, addPerplexity, addBench],
  choosing: [addGrids, addSensitivity, addPlan, addPredict],
  helping: [addCompletion],
};

/**
 * Runs a command line. What it prints goes to the process's standard output and error.
 * @param args behind the program's name
 * @returns the exit code
 */
export async function run(args: readonly string[]): Promise<number> {
  const isJson = args.includes('--json');
  try {
    await program().parseAsync(args, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, isJson);
    if (error.exitCode === 0) return EXIT.done;
    if (isJson) printJson(errorJson('UsageError', usageText(error.message).trimEnd(), EXIT.usage));
    return EXIT.usage;
  }
}

/** @returns the command line: every verb with its options */
export function program(): Command {
  const program = new Command('higgs')
    .description('HIGGS quantization of language models: no GPU, no Python, no calibration data.')
    .version(version, '-V, --version', 'show the version')
    .helpCommand(false);
  for (const [group, adders] of Object.entries(verbs)) {
    program.commandsGroup(VERBS[group as keyof typeof VERBS]);
    for (const add of adders) add(program);
  }
  // As commander's own, and a name that is no verb's has the suggestion that it has as a verb.
  program
    .command('help')
    .argument('[command]')
    .summary('show the help of a command')
    .description('Shows the help of a command.')
    .action((name?: string) => {
      if (name === undefined) return program.help();
      program.commands.find((command) => command.name() === name)?.help();
      program.parse([name], { from: 'user' });
    });
  addExamples(program, [
    ['higgs quantize Llama-3.2-1B -o Llama-3.2-1B-higgs --bits 4'],
    ['higgs quantize Llama-3.2-1B -o Llama-3.2-1B-mixed --bpw 3.25'],
    ['higgs verify Llama-3.2-1B-higgs --against Llama-3.2-1B'],
    ['higgs generate Llama-3.2-1B-higgs -p "Once upon a time"'],
    ['higgs chat Llama-3.2-1B-higgs'],
    ['higgs perplexity Llama-3.2-1B-higgs --text wiki.test.raw --against Llama-3.2-1B'],
  ]).addHelpText(
    'after',
    '\nLlama-3.2-1B stands for a directory with a model of that name.\n' +
      'Exit codes: 0 done, 1 the input or the system is at fault, 2 the command line\nis, 130 interrupted.',
  );
  for (const command of [program, ...program.commands]) finishCommand(command);
  return program;
}
