// What `higgs plan --format gguf` does: types for llama-quantize, chosen for a budget, and the importance matrix that it rounds by. A matrix
// comes with sensitivities of the model's own, where -o says where; where sensitivities are named, nothing is measured.

import { join, parse, resolve } from 'node:path';
import { openOnce } from '../../checkpoint/checkpoint.ts';
import { checkWritable, writeAtomically } from '../../disk/commit.ts';
import { type Input, openModel } from '../../disk/input.ts';
import { replacedFile } from '../../disk/replaced.ts';
import { show } from '../../excerpt.ts';
import { readArchitecture } from '../../families/family.ts';
import { type GgufLayout, layOutGguf } from '../../interop/gguf/export.ts';
import { type ImportanceFile, importanceFile } from '../../interop/gguf/imatrix.ts';
import { planGguf, typeFile } from '../../interop/gguf/plan.ts';
import { GROUP_SIZES } from '../../kernels/layout.ts';
import { uniformAlphas } from '../../linearity/prior.ts';
import type { OpenCheckpoint } from '../../open.ts';
import { readStatistics } from '../../statistics/file.ts';
import { note, print, printJson } from '../../terminal/print.ts';
import { ggufPlanText } from '../../terminal/typed.ts';
import { UsageError } from '../../terminal/usage.ts';
import { type BitOptions, planningAlphas } from './budget.ts';
import { type Watching, watchMeasuring } from './measurement.ts';
import { loadHiggs } from './session.ts';

interface Options extends BitOptions {
  output?: string | undefined;
  types?: string[] | undefined;
  imatrix?: boolean | string | undefined;
  threads: number;
  force?: boolean | undefined;
  all?: boolean | undefined;
  json?: boolean | undefined;
}

/** Options that choose among grids, or draw. */
const OF_GRIDS = [
  'grids',
  'keep',
  'minBits',
  'maxBits',
  'experts',
  'embeddings',
  'include',
  'exclude',
  'plot',
  'advise',
];

/** Sequences that the model samples for an importance matrix, and tokens of each at most. */
const SEQUENCES = 32;
const TOKENS = 128;
/** Errors after which a plan can be had without a matrix. */
const HINTED = ['UnsupportedError', 'FormatError', 'RangeError'];
/** The least groups of columns: of wide inputs nothing but the diagonal is wanted. */
const GROUP_SIZE = GROUP_SIZES.low;

/**
 * Plans, prints the plan beside llama-quantize's mixtures, and writes its file.
 * @throws {UsageError} when an option has no meaning for GGUF, none names a size, or two name one file
 */
export async function planForGguf(path: string, options: Options): Promise<void> {
  const { bpw, size, output, force = false } = options;
  const other = OF_GRIDS.find((key) => (options as unknown as Record<string, unknown>)[key] !== undefined);
  if (other) {
    const option = other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`--${option} must be left out with --format gguf, which has types and no grids`);
  }
  const budget = bpw !== undefined ? { bpw } : size !== undefined ? { size } : undefined;
  if (!budget) throw new UsageError('--bpw or --size must be given');
  const input = await openModel(path);
  try {
    const { isWeighted, file, isOwn } = matrixChoice(options);
    if (isOwn && output !== undefined && resolve(file!) === resolve(output))
      throw new UsageError(`--output and --imatrix must be two files: got ${show(file)}`);
    for (const [option, path] of [['--output', output] as const, ['--imatrix', file] as const]) {
      const target = path === undefined ? undefined : await checkWritable(path, { force });
      if (target !== undefined && (await input.files()).includes(target))
        throw new UsageError(`${option} must not be the input: got ${show(path)}`);
    }
    const checkpoint = await (await loadHiggs()).open(input.folder);
    const layout = await layOutGguf(await openOnce(input.folder), { dtype: 'F16' });
    const tensors = await checkpoint.planTensors({ embeddings: 'any' });
    const sensitivities = await planningAlphas(options, checkpoint, input, options);
    const asked = { budget, types: options.types, weighted: isWeighted ? 'layers' : 'none' } as const;
    // What cannot be had is told before sensitivities are measured, and before the matrix is.
    if (typeof sensitivities === 'function' && !options.prior) planGguf(layout, uniformAlphas(tensors), asked);
    const alphas = typeof sensitivities === 'function' ? await sensitivities(tensors) : sensitivities;
    const early = planGguf(layout, alphas, asked);
    const matrix = file === undefined ? undefined : await importances(checkpoint, input, layout, file, options);
    const plan = matrix ? planGguf(layout, alphas, { ...asked, weighted: matrix.names }) : early;
    if (matrix) await writeAtomically(file!, matrix.bytes, { force });
    if (output !== undefined) await writeAtomically(output, typeFile(plan), { force });
    if (options.json) printJson({ plan, imatrix: file ?? null });
    else {
      const matrixFile = file ?? (options.imatrix === true ? 'FILE' : undefined);
      print(ggufPlanText(plan, { all: options.all ?? false, file: output, imatrix: matrixFile }));
    }
  } finally {
    await input.folder.close();
  }
}

/** Whether llama-quantize will have an importance matrix, and the file that is written of it. */
interface MatrixChoice {
  readonly isWeighted: boolean;
  readonly file?: string | undefined;
  /** Whether the caller named the file. */
  readonly isOwn?: boolean;
}

function matrixChoice({ imatrix, output, alphas, prior, uniform }: Options): MatrixChoice {
  if (typeof imatrix === 'string') return { isWeighted: true, file: imatrix, isOwn: true };
  if (imatrix !== undefined) return { isWeighted: imatrix };
  const named = alphas !== undefined ? '--alphas' : prior ? '--prior' : uniform ? '--uniform' : undefined;
  if (named !== undefined) {
    note(
      `higgs: no importance matrix: with ${named} nothing is measured; --imatrix FILE makes one, and the model loses less`,
    );
    return { isWeighted: false };
  }
  if (output === undefined) return { isWeighted: true };
  const { dir, name } = parse(output);
  return { isWeighted: true, file: join(dir, `${name}.imatrix.gguf`) };
}

// The importance matrix, from statistics that stand beside it meanwhile.
async function importances(
  checkpoint: OpenCheckpoint,
  input: Input,
  { tensors }: GgufLayout,
  file: string,
  { threads, memory }: Options,
): Promise<ImportanceFile> {
  const output = replacedFile(`${file}.statistics.partial`);
  await output.remove();
  try {
    const { contextLength } = await readArchitecture(input.folder);
    const settings = { sequences: SEQUENCES, tokens: Math.min(TOKENS, contextLength) };
    const statistics = { mode: 'inputs' as const, groupSize: GROUP_SIZE, output };
    const measure = (watching: Watching) => checkpoint.sensitivity({ ...settings, ...watching, statistics });
    await watchMeasuring(checkpoint, threads, measure, memory);
    const gathered = await readStatistics((await output.open())!, output.name);
    const of = async (name: string) =>
      gathered.weights.has(name) ? diagonalOf(await gathered.inputs(name)) : undefined;
    const targets = tensors.map(({ target }) => target);
    return await importanceFile(targets, { ...settings, of }, 'tokens that the model samples');
  } catch (error) {
    // By name: the decoder is a bundle with classes of its own.
    if (error instanceof Error && HINTED.includes(error.name))
      error.message += '; --no-imatrix plans without an importance matrix';
    throw error;
  } finally {
    await output.remove();
  }
}

function diagonalOf(squares: readonly Float32Array[]): Float64Array {
  return Float64Array.from(
    squares.flatMap((square) => {
      const width = Math.round(Math.sqrt(square.length));
      return Array.from({ length: width }, (_, i) => square[i * width + i]);
    }),
  );
}
