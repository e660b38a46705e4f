// What help looks like for every verb: its groups, examples that fit the terminal, and the options of printing that all verbs have.

import { type Command, Option } from 'commander';
import { beQuiet, columns, complain, hasColor, print, printHelp, styled } from './print.ts';

/** Headings of verbs in help, in its order. */
export const VERBS = {
  quantizing: 'Quantize:',
  keeping: 'Models on this machine:',
  running: 'Run a model:',
  choosing: 'Choose grids:',
  helping: 'Help:',
} as const;

/** Headings of options that several verbs have. */
export const GROUPS = {
  output: 'Output:',
  tensors: 'Which tensors, and how:',
  budget: 'Mixed bits:',
  gguf: 'For llama.cpp:',
  sensitivities: 'Sensitivities:',
  measuring: 'Measuring:',
  prompt: 'Prompt:',
  sampling: 'Choosing tokens:',
  machine: 'Machine:',
  printing: 'Printing:',
} as const;

/** Adds `--json`, and, of verbs that summarise, `--all`. @param all what `--all` does, in words */
export function addPrinting(command: Command, json: string, all?: string): Command {
  command.optionsGroup(GROUPS.printing);
  if (all !== undefined) command.option('--all', all);
  return command.option('--json', json);
}

/** Adds what every command has: `--quiet`, `--help`, where help goes, how errors end. */
export function finishCommand(command: Command): void {
  const help = new Option('-h, --help', 'show this help');
  if (command.parent) {
    command
      .addOption(new Option('-q, --quiet', 'no progress and no notes').helpGroup(GROUPS.printing))
      .hook('preAction', () => command.opts().quiet && beQuiet());
  }
  command.addHelpOption(command.parent ? help.helpGroup(GROUPS.printing) : help);
  command.exitOverride().showHelpAfterError('(add --help for the options)');
  command.configureHelp({
    minWidthToWrap: 20,
    styleTitle: (title) => styled(title, 'bold'),
    subcommandTerm: (verb) => verb.name(),
  });
  command.configureOutput({
    writeOut: (text) => (hasColor() ? printHelp(text) : print(text.replace(/\n$/, ''))),
    writeErr: complain,
    outputError: (text) => complain(`higgs: ${usageText(text)}`),
    getOutHelpWidth: columns,
    getErrHelpWidth: columns,
    getOutHasColors: hasColor,
    getErrHasColors: () => false,
  });
}

/** What commander says of a command line that cannot be, as this one says it: subject, requirement, colon, what it is. */
export function usageText(text: string): string {
  const plain = text.replace(/^error: /, '');
  const [, option, value, rest] =
    /^(?:option|command-argument value) '(?:-\w, )?(--[\w-]+).*?' argument '(.*)' is invalid\. (.*)/s.exec(plain) ?? [];
  if (option === undefined) return plain;
  const wish = rest
    .trimEnd()
    .replace(/^Allowed choices are (.*)\.$/, 'must be one of $1')
    .replace(/\.$/, '');
  if (wish.includes(': ')) return `${option} ${wish}\n`;
  const [first, ...others] = wish.split('. ');
  return `${[`${option} ${first}: got ${value}`, ...others].join('. ')}\n`;
}

/** Shows command lines under help, each with what it does, in the terminal's width. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, about?: string])[]): Command {
  return command.addHelpText('after', () => {
    const lines = examples.flatMap(([line, about]) => [...broken(line), ...(about ? [`      ${about}`] : [])]);
    return `\n${styled('Examples:', 'bold')}\n${lines.join('\n')}`;
  });
}

// A command in lines that a shell takes: cut in front of options.
function broken(line: string): string[] {
  const lines: string[] = [];
  for (const part of `$ ${line}`.split(/ (?=-)/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + part.length + 5 <= columns()) lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(last === undefined ? `  ${part}` : `      ${part}`);
  }
  return lines.map((each, i) => (i < lines.length - 1 ? `${each} \\` : each));
}
