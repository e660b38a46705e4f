// higgs completion: a script by which a shell completes verbs, options and their choices. It is made from the commands themselves.

import { Argument, type Command, type Option } from 'commander';
import { addExamples } from '../terminal/help.ts';
import { printPiece } from '../terminal/print.ts';
import { bash, fish, type Verb, zsh } from '../terminal/shells.ts';
import { GRID_NAMES } from '../terminal/usage.ts';

const SHELLS = { bash, zsh, fish } as const;

/** Adds the verb `completion`. */
export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .summary('print a script that completes commands in your shell')
    .description('Prints a script for bash, zsh or fish that completes verbs, options and grids.')
    .addArgument(new Argument('<shell>', 'your shell').choices(Object.keys(SHELLS)));
  addExamples(command, [
    ['higgs completion bash > ~/.local/share/bash-completion/completions/higgs'],
    ['higgs completion zsh > ~/.zfunc/_higgs', 'with fpath+=~/.zfunc in front of compinit in ~/.zshrc'],
    ['higgs completion fish > ~/.config/fish/completions/higgs.fish'],
  ]).action((shell: keyof typeof SHELLS) => printPiece(SHELLS[shell](verbsOf(program))));
}

function verbsOf(program: Command): Verb[] {
  const names = program.commands.map((command) => command.name());
  return program.commands.map((command) => ({
    name: command.name(),
    about: command.summary(),
    options: command.createHelp().visibleOptions(command).map(optionOf),
    words: command.name() === 'help' ? names : (command.registeredArguments[0]?.argChoices ?? []),
  }));
}

function optionOf(option: Option): Verb['options'][number] {
  const takesGrid = /<(name|grid)>/.test(option.flags) && /^--(grid|embeddings)$/.test(option.long ?? '');
  return {
    flags: [option.long, option.short].filter((flag) => flag != null),
    about: option.description,
    takesValue: option.required || option.optional,
    values: option.argChoices ?? (takesGrid ? GRID_NAMES : []),
  };
}
