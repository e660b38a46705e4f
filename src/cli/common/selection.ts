// Options that say which tensors are quantized, and how: those that verbs share.

import { type Command, Option } from 'commander';
import { DEFAULT_GROUP_SIZE, GROUP_SIZES } from '../../quantize/scheme.ts';
import { GROUPS } from '../../terminal/help.ts';
import { gridName, integer, pattern, UsageError } from '../../terminal/usage.ts';

/** Which tensors are quantized, and how, as `addSelection` offers it. */
export interface SelectionOptions {
  group: number;
  seed: number;
  signs: 'random' | 'none';
  embeddings?: string;
  include?: RegExp;
  exclude?: RegExp;
}

/** Adds the options that choose tensors and scheme. */
export function addSelection(command: Command): Command {
  return command
    .optionsGroup(GROUPS.tensors)
    .addOption(
      new Option('--group <n>', `weights that share a scale: a power of two, ${GROUP_SIZES.low} to ${GROUP_SIZES.high}`)
        .argParser(integer(GROUP_SIZES.low, GROUP_SIZES.high))
        .default(DEFAULT_GROUP_SIZE),
    )
    .addOption(new Option('--seed <n>', 'seed of the random signs').argParser(integer(0, 0xffffffff)).default(0))
    .addOption(
      new Option('--signs <kind>', 'random signs before the transform').choices(['random', 'none']).default('random'),
    )
    .option(
      '--embeddings <grid>',
      'also quantize token embeddings and output head, with this grid (of a plan, or with any)',
      (text) => (text === 'any' ? text : gridName(text)),
    )
    .option('--include <regexp>', 'quantize the tensors whose names match, instead of the linear weights', pattern)
    .option('--exclude <regexp>', 'never quantize the tensors whose names match', pattern);
}

/** What the options come to for the library. */
export function selectionOf({ group, seed, signs, embeddings, include, exclude }: SelectionOptions) {
  if ((group & (group - 1)) !== 0) {
    throw new UsageError(`--group must be a power of two from ${GROUP_SIZES.low} to ${GROUP_SIZES.high}: got ${group}`);
  }
  return {
    groupSize: group,
    seed,
    signs,
    ...(embeddings !== undefined && { embeddings }),
    ...(include && { include }),
    ...(exclude && { exclude }),
  };
}
