// How verbs that generate choose tokens: as the options say, else as the model's author does in generation_config.json, else
// mildly at random, for the most likely tokens alone soon repeat themselves. And where their prompt comes from.

import { type Command, Option } from 'commander';
import { readInput, readTextFile } from '../../disk/files.ts';
import { GROUPS } from '../../terminal/help.ts';
import { decimal, parseInteger, UsageError } from '../../terminal/usage.ts';
import type { SamplingOptions } from '../../text/sample.ts';

/** Options of the verbs that generate. */
export interface SamplingChoice {
  /** Most tokens to generate, from 1. */
  maxTokens: number;
  /** Texts before which the answer ends. */
  stop?: string[];
  /** Logits are divided by it; 0 takes the most likely token. Here and below, the model's own if left out. */
  temperature?: number;
  /** Tokens are taken from among so many of the most likely; 0 for all. */
  topK?: number;
  /** Tokens are taken from among the fewest that have this probability together; 1 for all. */
  topP?: number;
  /** Least probability of a token, as a part of the most likely one's; 0 for all. */
  minP?: number;
  /** What logits of tokens that occurred are divided by, or multiplied where they are negative; 1 for none. */
  repetitionPenalty?: number;
  /** Seed of the random choices, 0 to 2^32 − 1; a random one if left out. */
  seed?: number;
}

/** Where the model's author says nothing. */
const DEFAULTS = { temperature: 0.8, topP: 0.95 } as const;
const SEEDS = 2 ** 32;

/** Adds the options of `SamplingChoice`. */
export function addSamplingOptions(command: Command): Command {
  return command
    .optionsGroup(GROUPS.sampling)
    .addOption(
      new Option('-n, --max-tokens <n>', 'most tokens to generate').argParser(parseInteger(1, 2 ** 24)).default(256),
    )
    .option('--stop <text>', 'end where this text would begin; may be given again', collect)
    .addOption(
      new Option(
        '--temperature <x>',
        `0 takes the most likely token, always (the model’s, or ${DEFAULTS.temperature})`,
      ).argParser(decimal(0, 100)),
    )
    .addOption(
      new Option('--top-k <n>', 'among the k most likely tokens; 0 for all (the model’s, or all)').argParser(
        parseInteger(0, 2 ** 24),
      ),
    )
    .addOption(
      new Option(
        '--top-p <x>',
        `among the fewest tokens that have this probability together; 1 for all (the model’s, or ${DEFAULTS.topP})`,
      ).argParser(decimal(1e-6, 1)),
    )
    .addOption(
      new Option(
        '--min-p <x>',
        'among those at least this times as likely as the first; 0 for all (the model’s, or all)',
      ).argParser(decimal(0, 1)),
    )
    .addOption(
      new Option(
        '--repetition-penalty <x>',
        'makes tokens that occurred less likely; 1 for none (the model’s, or none)',
      ).argParser(decimal(1e-3, 100)),
    )
    .addOption(
      new Option('--seed <n>', 'seed of the random choices (a random one, which is printed)').argParser(
        parseInteger(0, SEEDS - 1),
      ),
    );
}

const collect = (text: string, all: readonly string[] = []): string[] => [...all, text];

/** All that decides which tokens are chosen. */
type Sampling = Required<SamplingOptions>;

/**
 * @param options what was asked for
 * @param recommended by the model's author
 */
export function samplingOf(options: SamplingChoice, recommended: SamplingOptions): Sampling {
  const base = { topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  const asked = { temperature, topK, topP, minP, repetitionPenalty };
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
  // What only says something of random choices asks for them.
  const isRandom = (topK ?? topP ?? minP ?? seed) !== undefined;
  const isLeft = recommended.temperature === undefined || (recommended.temperature === 0 && isRandom);
  const defaults = { ...DEFAULTS, ...recommended, ...(isLeft && { temperature: DEFAULTS.temperature }) };
  return {
    ...base,
    ...(isLeft ? defaults : recommended),
    ...given,
    temperature: temperature ?? defaults.temperature,
    seed: seed ?? randomSeed(),
  };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** The seed of a later turn: each has its own, and all follow from the first. */
export const laterSeed = (seed: number, turn: number): number => (seed + turn) % SEEDS;

/** `temperature 0.8, top-p 0.95, seed 7`; of what is not random, that it is not. */
export function samplingText({ temperature, topK, topP, minP, repetitionPenalty, seed }: Sampling): string {
  const penalty = repetitionPenalty === 1 ? [] : [`repetition penalty ${repetitionPenalty}`];
  if (temperature === 0) return ['always the most likely token', ...penalty].join(', ');
  return [
    `temperature ${temperature}`,
    ...(topK > 0 ? [`top-k ${topK}`] : []),
    ...(topP < 1 ? [`top-p ${topP}`] : []),
    ...(minP > 0 ? [`min-p ${minP}`] : []),
    ...penalty,
    `seed ${seed}`,
  ].join(', ');
}

/** Options that say where a prompt comes from. */
export interface PromptChoice {
  /** The prompt itself. */
  prompt?: string;
  /** Path of a file with the prompt; `-` for standard input. */
  file?: string;
}

/** Adds the options of `PromptChoice`. @param description the prompt is, in words */
export function addPrompt(command: Command, description: string): Command {
  return command
    .optionsGroup(GROUPS.prompt)
    .option('-p, --prompt <text>', `${description}; - reads standard input`)
    .addOption(new Option('-f, --file <file>', 'a file in UTF-8 with the prompt').conflicts('prompt'));
}

/**
 * The prompt: of `--prompt`, `--file`, or what is piped in; without the line break at its end, where it is a file's.
 * @returns undefined when there is none, and standard input is a terminal
 * @throws {UsageError} when it is empty
 */
export async function promptOf({ prompt, file }: PromptChoice): Promise<string | undefined> {
  const isPiped = prompt === '-' || (prompt === undefined && file === undefined && !process.stdin.isTTY);
  if (!isPiped && prompt === undefined && file === undefined) return undefined;
  const content = isPiped ? await readInput() : file !== undefined ? await readTextFile(file) : prompt!;
  const text = isPiped || file !== undefined ? content.replace(/\r?\n$/, '') : content;
  if (text !== '') return text;
  const source = isPiped ? 'standard input' : file !== undefined ? `--file ${file}` : '--prompt';
  throw new UsageError(`${source} must not be empty: give -p TEXT, -f FILE, or text by a pipe`);
}
