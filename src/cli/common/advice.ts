// What a model would be at several sizes, as verbs show it.

import type { AdviceOptions, Size } from '../../advice/advise.ts';
import type { Input } from '../../disk/input.ts';
import type { AlphasOrMaker } from '../../linearity/options.ts';
import type { OpenCheckpoint } from '../../open.ts';
import type { Inspection } from '../../quantize/inspect.ts';
import { DEFAULT_GRIDS } from '../../quantize/scheme.ts';
import { isEmbedding } from '../../quantize/select.ts';
import { bytesText, counted, countText, figureText, precise, table } from '../../terminal/figures.ts';
import { defaultThreads, startThreads } from '../../workers/node.ts';
import { keptSensitivities } from './kept.ts';
import { freeMemory } from './memory.ts';
import { interruptible, threadCount } from './session.ts';

/** What advice is asked for. */
interface AdviceChoice extends Pick<AdviceOptions, 'bits' | 'embeddings' | 'context' | 'seconds'> {
  alphas?: AlphasOrMaker | undefined;
  threads?: number;
}

/** Sizes, and what it takes to tell of them. */
interface Advice {
  sizes: readonly Size[];
  inspection: Inspection;
  free: number;
  threads: number;
  embeddings: boolean;
}

/** Sizes of an open checkpoint, by sensitivities that are given, kept, or a prior's. */
export async function adviceOf(
  source: OpenCheckpoint,
  input: Input,
  { bits, embeddings, context, seconds, alphas, threads = defaultThreads() }: AdviceChoice = {},
): Promise<Advice> {
  const inspection = await source.inspect();
  const sensitivities = alphas ?? (inspection.quantized ? undefined : await keptSensitivities(source, input));
  const sizes = await interruptible(async (signal) =>
    source.advise({
      ...{ signal, threads: await startThreads(threadCount(threads)) },
      ...(seconds !== undefined && { seconds }),
      ...(bits && { bits }),
      ...(embeddings !== undefined && { embeddings }),
      ...(context !== undefined && { context }),
      ...(sensitivities && { alphas: sensitivities }),
    }),
  );
  return { sizes, inspection, free: freeMemory(), threads, embeddings: embeddings !== undefined };
}

/** The figures as a table, with a line above and what is to be known below. */
export function adviceText({ sizes, inspection, free, threads, embeddings }: Advice): string {
  const { parameters, quantized, tensors } = inspection;
  const head = `${countText(parameters)} parameters, ${counted(threads, 'thread')}, ${bytesText(free)} of memory free`;
  const bytes = tensors.reduce((sum, { name, bytes }) => sum + (isEmbedding(name) ? bytes : 0), 0);
  const rest =
    embeddings || quantized || bytes === 0
      ? ''
      : `\n\n${bytesText(bytes)} of each size are embeddings and head: --embeddings t4 makes them about a quarter`;
  return `${head}\n\n${sizesText(sizes, free)}${rest}`;
}

function sizesText(sizes: readonly Size[], free: number): string {
  const reference = sizes.find(({ bits }) => bits === 4)?.prediction?.delta;
  const rows = sizes.map(({ bits, bpw, bytes, memory, speed, prediction }) => [
    bits === undefined ? 'as it is' : bits in DEFAULT_GRIDS ? `--bits ${bits}` : `--bpw ${bits}`,
    bpw.toFixed(2),
    bytesText(bytes),
    memory ? bytesText(memory.bytes) : '?',
    speed ? figureText(speed.tokensPerSecond) : '?',
    prediction ? lossCell(prediction, reference) : '',
    ...(memory && memory.bytes > free ? ['does not fit'] : []),
  ]);
  const loss = sizes.some(({ prediction }) => prediction?.loss === 'kl') ? 'KL, nats' : 'loss';
  const head = ['size', 'bits', 'files', 'memory', 'tokens/s', loss];
  return table(rows.some(({ length }) => length > head.length) ? [...head, ''] : head, rows, [0, 6]);
}

// Of a rule only ratios mean anything.
function lossCell({ loss, delta }: NonNullable<Size['prediction']>, reference: number | undefined): string {
  if (loss !== 'relative') return precise(delta, 3);
  return reference !== undefined && reference > 0 ? `${figureText(delta / reference)} ×` : precise(delta, 3);
}

/** What limits the figures. */
export function adviceRemarks({ sizes }: Advice): string[] {
  const predictions = sizes.flatMap(({ prediction }) => prediction ?? []);
  const unknown = predictions.some(({ unknown }) => unknown.length > 0);
  return [
    ...(predictions.some(({ loss }) => loss === 'relative')
      ? ['loss is a prior, from another model: × that of 4 bits; `higgs plan` measures it for this one']
      : []),
    ...(unknown ? ['loss leaves out embeddings and head, whose sensitivity is not known'] : []),
    ...(sizes.some(({ memory }) => memory === undefined)
      ? ['memory and speed are not known: its family does not run']
      : []),
  ];
}
