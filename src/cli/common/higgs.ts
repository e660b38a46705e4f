// higgs export --format higgs: a plain checkpoint to transformers' own HIGGS.

import { openOnce } from '../../checkpoint/checkpoint.ts';
import { type Input, openInput } from '../../disk/input.ts';
import { stageOutput } from '../../disk/output.ts';
import { UnsupportedError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { readArchitecture } from '../../families/family.ts';
import { isTrellis, type PointGrid } from '../../grids/grid.ts';
import { exportHiggs, fluteBits, type HiggsReport } from '../../interop/higgs.ts';
import { withSigns } from '../../interop/signs.ts';
import { carryOver, checkCarried } from '../../quantize/carry.ts';
import { bytesStep, bytesText } from '../../terminal/figures.ts';
import { print, printJson, warn } from '../../terminal/print.ts';
import { GRIDS, UsageError } from '../../terminal/usage.ts';
import { withSession } from './session.ts';

/** Options of the format. */
export interface HiggsChoice {
  /** Directory that is written. */
  output?: string;
  /** Whether an output of that name is replaced. */
  force?: boolean;
  /** Name of a grid of points that FLUTE has: p = 1 or 2, 2 to 4 bits a weight. */
  grid: string;
  /** Columns of a transform: a power of two from `scaleGroup` to 4096. */
  hadamard: number;
  /** Weights that share a scale: 64, 128 or 256. */
  scaleGroup: number;
  /** Whether random signs are folded into the weights: transformers knows none. */
  signs: 'fold' | 'none';
  /** Seed of these signs. */
  seed: number;
  /** Tensors whose names match stay as they are. */
  exclude?: RegExp;
  /** Workers that encode, besides the thread that reads and writes. */
  workers: number;
  /** Whether the report is printed as JSON. */
  json?: boolean;
}

/** Writes the checkpoint, with all that stands beside its weights. @throws {UsageError} when a size is none that FLUTE has */
export async function exportToHiggs(path: string, options: HiggsChoice): Promise<void> {
  const { hadamard, scaleGroup } = options;
  const grid = GRIDS.find(({ name }) => name === options.grid)!;
  fluteBits(grid);
  if (isTrellis(grid)) return;
  if (![64, 128, 256].includes(scaleGroup))
    throw new UsageError(`--scale-group must be 64, 128 or 256: got ${scaleGroup}`);
  if ((hadamard & (hadamard - 1)) !== 0 || hadamard < scaleGroup)
    throw new UsageError(`--hadamard must be a power of two from --scale-group to 4096: got ${hadamard}`);
  const input = await openInput(path);
  try {
    const { config, ...report } = await written(input, grid, options);
    const [first] = report.biased;
    if (first !== undefined)
      warn(
        `transformers 5.18 leaves out biases of such weights, and ${report.biased.length} have one: ${excerpt(first)} is the first`,
      );
    if (options.json) printJson({ ...report, config });
    else print(`${bytesText(report.bytesIn)} → ${bytesText(report.bytesOut)}: ${options.output}`);
  } finally {
    await input.folder.close();
  }
}

async function written(input: Input, grid: PointGrid, options: HiggsChoice): Promise<HiggsReport> {
  const { hadamard: hadamardSize, scaleGroup: groupSize, exclude, signs, seed, workers, output, force } = options;
  if (input.isFile)
    throw new UsageError('input must be a directory, with config.json beside the weights: it is a file');
  const method = await checkCarried(input.folder);
  if (method !== undefined) {
    const message = `weights must not be quantized: config.json says that they are, by ${show(method)}; dequantize them first`;
    throw new UnsupportedError(`quantization by ${method}`, message, { file: input.folder.name });
  }
  const { checkpoint } = await openOnce(input.folder);
  const signed = signs === 'none' ? checkpoint : withSigns(checkpoint, await readArchitecture(input.folder), seed);
  return withSession('export', workers, async ({ pool, signal, progress }) => {
    const staging = await stageOutput(output!, input, { force });
    let isDone = false; // a complete output stays where it is
    try {
      const report = await exportHiggs(signed, staging.folder, {
        ...{ grid, hadamardSize, groupSize, exclude, pool, signal },
        onProgress: (step) => progress.update(bytesStep(step)),
      });
      await carryOver(input.folder, staging.folder, (content) => ({
        ...content,
        ['dtype' in content ? 'dtype' : 'torch_dtype']: 'float16',
        quantization_config: report.config,
      }));
      await input.folder.unchanged?.();
      isDone = true;
      await staging.commit();
      return report;
    } catch (error) {
      if (!isDone) await staging.discard();
      throw error;
    }
  });
}
