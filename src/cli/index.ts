// The command line: one file a verb, which reads options, calls the library and prints.

import { Command, CommanderError } from 'commander';
import { version } from '../../package.json';
import { complain, print } from '../terminal/print.ts';
import { addAdvise } from './advise.ts';
import { addBench } from './bench.ts';
import { addChat } from './chat.ts';
import { addDequantize } from './dequantize.ts';
import { addGenerate } from './generate.ts';
import { addInspect } from './inspect.ts';
import { addList, addRemove } from './local.ts';
import { addPerplexity } from './perplexity.ts';
import { addPlan } from './plan.ts';
import { addPredict } from './predict.ts';
import { addPull } from './pull.ts';
import { addQuantize } from './quantize.ts';
import { EXIT, reportError } from './run.ts';
import { addSensitivity } from './sensitivity.ts';
import { addVerify } from './verify.ts';

/**
 * Runs a command line. What it prints goes to the process's standard output and error.
 * @param args behind the program's name
 * @returns the exit code
 */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: 'user' });
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    return reportError(error);
  }
}

function program(): Command {
  const program = new Command('higgs')
    .description('HIGGS quantization of language models: no GPU, no Python, no calibration data.')
    .version(version, '-V, --version')
    .configureHelp({ helpWidth: 120 })
    .addHelpText(
      'after',
      `
Examples:
  $ higgs quantize Llama-3.2-1B -o Llama-3.2-1B-higgs --bits 4
  $ higgs quantize Llama-3.2-1B -o Llama-3.2-1B-mixed --bpw 3.25
  $ higgs quantize hf:org/model -o model-higgs
  $ higgs inspect Llama-3.2-1B-higgs
  $ higgs verify Llama-3.2-1B-higgs --against Llama-3.2-1B
  $ higgs dequantize Llama-3.2-1B-higgs -o Llama-3.2-1B-restored
  $ higgs generate Llama-3.2-1B-higgs -p "Once upon a time"
  $ higgs perplexity Llama-3.2-1B-higgs --text wiki.test.raw --against Llama-3.2-1B

Exit codes: 0 done, 1 the input or the system is at fault, 2 the command line is, 130 interrupted.`,
    );
  const verbs = [
    ...[addQuantize, addSensitivity, addPlan, addPredict, addInspect, addAdvise, addDequantize, addVerify],
    ...[addGenerate, addChat, addPerplexity, addBench],
    ...[addPull, addList, addRemove],
  ];
  for (const add of verbs) add(program);
  // As commander's own, and a name that is no verb's has the suggestion that it has as a verb.
  program
    .helpCommand(false)
    .command('help')
    .argument('[command]')
    .description('display help for command')
    .action((name?: string) => {
      if (name === undefined) return program.help();
      program.commands.find((command) => command.name() === name)?.help();
      program.parse([name], { from: 'user' });
    });
  for (const command of [program, ...program.commands]) {
    command.exitOverride().showHelpAfterError('(add --help for the options)');
    command.configureOutput({
      writeOut: (text) => print(text.replace(/\n$/, '')),
      writeErr: complain,
      outputError: (text) => complain(text.replace(/^error: /, 'higgs: ')),
    });
  }

  return program;
}
