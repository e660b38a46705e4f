// Options that say which tensors are quantized, and how: those that verbs share.

import { type Command, Option } from 'commander';
import { DEFAULT_GROUP_SIZE, GROUP_SIZES } from '../../quantize/scheme.ts';
import { GROUPS } from '../../terminal/help.ts';
import { gridName, parseInteger, parsePattern, UsageError } from '../../terminal/usage.ts';

/** Which tensors are quantized, and how, as `addSelection` offers it. */
export interface SelectionOptions {
  /** Weights that share a scale and a transform: a power of two from 16 to 4096. */
  group: number;
  /** Seed of the random signs, 0 to 2^32 − 1. */
  seed: number;
  /** Whether rows are multiplied by random signs before the transform. */
  signs: 'random' | 'none';
  /** The grid of token embeddings and output head, or `any` in a plan; left out, they stay as they are. */
  embeddings?: string;
  /** Tensors whose names match are quantized, instead of the linear weights. */
  include?: RegExp;
  /** Tensors whose names match are not, whatever else is said. */
  exclude?: RegExp;
}

/** Adds the options that choose tensors and scheme. */
export function addSelection(command: Command): Command {
  return command
    .optionsGroup(GROUPS.tensors)
    .addOption(
      new Option('--group <n>', `weights that share a scale: a power of two, ${GROUP_SIZES.low} to ${GROUP_SIZES.high}`)
        .argParser(parseInteger(GROUP_SIZES.low, GROUP_SIZES.high))
        .default(DEFAULT_GROUP_SIZE),
    )
    .addOption(new Option('--seed <n>', 'seed of the random signs').argParser(parseInteger(0, 0xffffffff)).default(0))
    .addOption(
      new Option('--signs <kind>', 'random signs before the transform').choices(['random', 'none']).default('random'),
    )
    .option(
      '--embeddings <grid>',
      'also quantize token embeddings and output head, with this grid (of a plan, or with any)',
      (text) => (text === 'any' ? text : gridName(text)),
    )
    .option('--include <regexp>', 'quantize the tensors whose names match, instead of the linear weights', parsePattern)
    .option('--exclude <regexp>', 'never quantize the tensors whose names match', parsePattern);
}

/** What the options come to for the library. @throws {UsageError} when the group size is out of range */
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
