// higgs run: from a name to a conversation. What is missing is fetched, quantized to what suits the machine, and kept: the next time it
// is there at once, and no server is asked.

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { quantizedOf, quantizedPath } from '../disk/cache.ts';
import { isThere } from '../disk/commit.ts';
import { type Input, identityOf, openInput } from '../disk/input.ts';
import { pull } from '../disk/pull.ts';
import type { Higgs } from '../higgs.ts';
import { isRemote } from '../hub/name.ts';
import type { CheckpointOptions, OpenCheckpoint } from '../open.ts';
import { DEFAULT_GRIDS } from '../quantize/scheme.ts';
import { bytesText } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { note } from '../terminal/print.ts';
import { byteSize, gridBits, UsageError } from '../terminal/usage.ts';
import { addChatOptions, type ChatChoice, talk } from './chat.ts';
import { parseBitsPerWeight, planningAlphas } from './common/budget.ts';
import { freeMemory } from './common/memory.ts';
import { addModelOptions, type ModelChoice, withModels } from './common/model.ts';
import { type PromptChoice, promptOf } from './common/sampling.ts';
import { interruptible, loadHiggs } from './common/session.ts';
import { goOn } from './generate.ts';
import { writeQuantized } from './quantize.ts';

/** Bits that are tried, the best first, and the grid of embeddings beside a budget. */
const BITS = [4, 3, 2];
const EMBEDDINGS = 't4';

/** Of which size a model is to be. */
export interface SizeChoice {
  /** The same whole number of bits for every layer. */
  bits?: number;
  /** Bits per weight, mixed by sensitivities. */
  bpw?: number;
  /** Bytes of all files, mixed by sensitivities. */
  size?: number;
}

type ReadyChoice = SizeChoice & Pick<ModelChoice, 'context' | 'threads' | 'memory' | 'cache'>;

interface Options extends ModelChoice, ChatChoice, PromptChoice, SizeChoice {}

/** Adds the verb `run`. */
export function addRun(program: Command): void {
  const command = program
    .command('run')
    .summary('fetch, quantize and talk to a model, by its name')
    .description(
      'Talks to a model, by its name alone. It is fetched, quantized to what suits this machine, and kept; the original does not touch the disk. The next start finds it there. A model that is quantized already is run as it is. A model without a chat template continues a prompt.',
    )
    .argument('<name>', 'hf:org/model, an address, a checkpoint’s directory or a .gguf file');
  addSizeOptions(command);
  addChatOptions(command);
  addModelOptions(command, 'tokens of the whole conversation (the model’s, at most 4096)');
  addPrinting(command, 'print each answer as JSON, with what the model thinks apart');
  addExamples(command, [
    ['higgs run hf:HuggingFaceTB/SmolLM2-135M-Instruct'],
    ['higgs run hf:HuggingFaceTB/SmolLM2-135M-Instruct --bits 3 -p "What is a wave?"'],
    ['higgs run SmolLM2-135M -p "Once upon a time"'],
  ]).action(run);
}

/** Adds the options of `SizeChoice`. */
export function addSizeOptions(command: Command): Command {
  return command
    .optionsGroup('Which size:')
    .addOption(
      new Option('--bits <n>', '2 to 6 bits per weight (what fits)').argParser(gridBits).conflicts(['bpw', 'size']),
    )
    .addOption(
      new Option('--bpw <n>', 'mixed bits, this many per weight').argParser(parseBitsPerWeight).conflicts('size'),
    )
    .addOption(new Option('--size <size>', 'mixed bits, for files of this size, such as 700MB').argParser(byteSize));
}

async function run(name: string, options: Options): Promise<void> {
  const prompt = await promptOf(options);
  const path = await readyModel(name, options);
  await withModels([path], options, ([open], signal) => {
    const { model } = open;
    if (model.chatTemplate.names.length > 0) return talk(model, basename(name), prompt, options, signal);
    if (prompt !== undefined) return goOn(open, prompt, options, signal);
    throw new UsageError(`${name} has no chat template: give a text to continue, -p TEXT`);
  });
}

/** The directory of the model as it is to run. What is kept of the hub's is found by its name, and nobody asked. */
export async function readyModel(name: string, options: ReadyChoice): Promise<string> {
  const isNamed = isRemote(name);
  const kept = isNamed ? await keptModel(name, options) : undefined;
  if (kept !== undefined) return kept;
  const input = await openInput(name);
  try {
    const higgs = await loadHiggs();
    const source = await higgs.open(input.folder);
    const { quantized } = await source.inspect();
    if (quantized) return isNamed ? (await interruptible((signal) => pull(name, { signal }))).path : name;
    const identity = isNamed ? name : `${basename(input.path)}-${await digestOf(input)}`;
    return (
      (isNamed ? undefined : await keptModel(identity, options)) ??
      (await make(higgs, source, input, identity, options))
    );
  } finally {
    await input.folder.close();
  }
}

// Of the size that is asked for; of none, the newest.
async function keptModel(name: string, options: SizeChoice): Promise<string | undefined> {
  const size = sizeOf(options);
  return (await quantizedOf(name)).find((copy) => size === undefined || copy.size === size)?.path;
}

function sizeOf({ bits, bpw, size }: SizeChoice): string | undefined {
  if (bits !== undefined) return `${bits}bit`;
  if (bpw !== undefined) return `bpw${bpw}`;
  return size === undefined ? undefined : `${size}B`;
}

// Tells a directory's or file's state from another: what was made of an older one is not used.
async function digestOf(input: Input): Promise<string> {
  return createHash('sha256')
    .update(await identityOf(input))
    .digest('hex')
    .slice(0, 12);
}

async function make(
  higgs: Higgs,
  source: OpenCheckpoint,
  input: Input,
  name: string,
  options: ReadyChoice,
): Promise<string> {
  const { bpw, size, threads } = options;
  const isBudget = (bpw ?? size) !== undefined;
  const bits = isBudget ? undefined : (options.bits ?? (await suitingBits(higgs, source, options)));
  const choice: CheckpointOptions = isBudget
    ? {
        ...{ ...(bpw !== undefined ? { bpw } : { size: size! }), embeddings: EMBEDDINGS },
        alphas: await planningAlphas({}, source, input, { threads }),
      }
    : wholeBits(bits!);
  const plan = await source.plan(choice);
  const out = quantizedPath(name, sizeOf({ ...options, ...(bits !== undefined && { bits }) })!);
  note(`${input.path}: quantized to ${bytesText(plan.bytesOut)}, once`);
  const resume = await isThere(`${out}.partial`);
  await writeQuantized(source, input, plan, out, { workers: threads, resume, goesOn: true });
  note(`kept in ${out}; higgs remove frees it`);
  return out;
}

const wholeBits = (bits: number): CheckpointOptions => ({
  grid: DEFAULT_GRIDS[bits],
  embeddings: DEFAULT_GRIDS[bits],
});

// The most bits that memory has room for; the fewest, if it has for none: loading says then what is missing.
async function suitingBits(
  higgs: Higgs,
  source: OpenCheckpoint,
  { context, memory, cache }: ReadyChoice,
): Promise<number> {
  const free = freeMemory();
  for (const bits of memory === undefined ? BITS : []) {
    const copy = await higgs.open(await source.copy(wholeBits(bits)));
    const { bytes } = await copy.runMemory({ cache, ...(context !== undefined && { context }) });
    if (bytes > free) continue;
    note(
      `${bits} bits per weight suit this machine: ${bytesText(bytes)} of memory, ${bytesText(free)} are free; --bits, --bpw or --size choose another`,
    );
    return bits;
  }
  return memory === undefined ? BITS.at(-1)! : BITS[0];
}
