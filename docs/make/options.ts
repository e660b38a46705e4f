// docs/options.md: every verb with its arguments, options and examples, as the program has them.
// `npm run docs` writes it; a test compares.

import type { Command } from 'commander';
import { program } from '../../src/cli/index.ts';

/** @returns the page in Markdown */
export function optionsPage(): string {
  const verbs = program().commands.filter((verb) => verb.name() !== 'help');
  const list = verbs.map((verb) => `- [\`higgs ${verb.name()}\`](#higgs-${verb.name()}): ${verb.summary()}`);
  return [
    '# Every option',
    'This page is made from the program. `higgs help VERB` shows you the same in a terminal.',
    list.join('\n'),
    ...verbs.flatMap(sectionOf),
    '',
  ].join('\n\n');
}

function sectionOf(verb: Command): string[] {
  const help = verb.createHelp();
  const args = help.visibleArguments(verb).map((argument) => row(`<${argument.name()}>`, argument.description));
  const groups = help.groupItems(
    [...verb.options],
    help.visibleOptions(verb),
    (option) => option.helpGroupHeading ?? '',
  );
  const rows = [...groups.values()].flat().map((option) => row(option.flags, help.optionDescription(option)));
  return [
    `## higgs ${verb.name()}`,
    escaped(verb.description()),
    `\`higgs ${verb.name()} ${verb.usage()}\``,
    ['| | |', '|---|---|', ...args, ...rows].join('\n'),
  ];
}

const row = (name: string, about: string) => `| \`${name.replaceAll('|', '\\|')}\` | ${escaped(about)} |`;

/** Text as Markdown: what would be markup is not. */
const escaped = (text: string) => text.replace(/[<>|]/g, (character) => `\\${character}`).replace(/\s+/g, ' ');
