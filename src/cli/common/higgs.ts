// higgs export --format higgs: a plain checkpoint to transformers' own HIGGS.

import { openOnce } from '../../checkpoint/checkpoint.ts';
import type { Input } from '../../disk/input.ts';
import { stageOutput } from '../../disk/output.ts';
import { UnsupportedError } from '../../errors.ts';
import { readArchitecture } from '../../families/family.ts';
import { isTrellis } from '../../grids/grid.ts';
import { exportHiggs, fluteBits } from '../../interop/higgs.ts';
import { withSigns } from '../../interop/signs.ts';
import { carryOver, checkCarried } from '../../quantize/carry.ts';
import { bytesStep, bytesText } from '../../terminal/figures.ts';
import { print, printJson, warn } from '../../terminal/print.ts';
import { GRIDS, UsageError } from '../../terminal/usage.ts';
import { withSession } from './session.ts';

/** Options of the format. */
export interface HiggsChoice {
  output?: string;
  force?: boolean;
  grid: string;
  hadamard: number;
  scaleGroup: number;
  signs: 'fold' | 'none';
  seed: number;
  exclude?: RegExp;
  workers: number;
  json?: boolean;
}

/** Writes the checkpoint, with all that stands beside its weights. */
export async function exportToHiggs(input: Input, options: HiggsChoice): Promise<void> {
  const { hadamard: hadamardSize, scaleGroup: groupSize, exclude, signs, seed } = options;
  const grid = GRIDS.find(({ name }) => name === options.grid)!;
  fluteBits(grid);
  if (isTrellis(grid)) return;
  if (![64, 128, 256].includes(groupSize))
    throw new UsageError(`--scale-group must be 64, 128 or 256: got ${groupSize}`);
  if ((hadamardSize & (hadamardSize - 1)) !== 0 || hadamardSize < groupSize)
    throw new UsageError(`--hadamard must be a power of two from --scale-group to 4096: got ${hadamardSize}`);
  const method = await checkCarried(input.folder);
  if (method !== undefined) {
    const message = 'weights must not be quantized: config.json says that they are; dequantize them first';
    throw new UnsupportedError(`quantization by ${method}`, message, { file: input.folder.name });
  }
  const { checkpoint } = await openOnce(input.folder);
  const signed = signs === 'none' ? checkpoint : withSigns(checkpoint, await readArchitecture(input.folder), seed);
  const report = await withSession('export', options.workers, async ({ pool, signal, progress }) => {
    const staging = await stageOutput(options.output!, input, { force: options.force });
    try {
      const means = { grid, hadamardSize, groupSize, exclude, pool, signal };
      const onProgress = (step: Parameters<typeof bytesStep>[0]) => progress.update(bytesStep(step));
      const written = await exportHiggs(signed, staging.folder, { ...means, onProgress });
      await carryOver(input.folder, staging.folder, (content) => ({
        ...content,
        ['dtype' in content ? 'dtype' : 'torch_dtype']: 'float16',
        quantization_config: written.config,
      }));
      await input.folder.unchanged?.();
      await staging.commit();
      return written;
    } catch (error) {
      await staging.discard();
      throw error;
    }
  });
  if (report.biased.length > 0)
    warn(
      `transformers 5.18 leaves out biases of such weights, and ${report.biased.length} have one: ${report.biased[0]} is the first`,
    );
  const { config, ...rest } = report;
  if (options.json) printJson({ ...rest, config });
  else print(`${bytesText(report.bytesIn)} → ${bytesText(report.bytesOut)}: ${options.output}`);
}
