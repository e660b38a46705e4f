// What `higgs export --format gguf` does: one file, written aside and renamed.

import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openOnce } from '../../checkpoint/checkpoint.ts';
import { checkWritable, removeStale, renameWhole } from '../../disk/commit.ts';
import { openModel } from '../../disk/input.ts';
import type { WrittenDtype } from '../../interop/gguf/codes.ts';
import { layOutGguf, writeGguf } from '../../interop/gguf/export.ts';
import { createFile } from '../../source/file.ts';
import { attempt } from '../../source/system.ts';
import { bytesStep, bytesText, counted } from '../../terminal/figures.ts';
import { print, printJson, warn } from '../../terminal/print.ts';
import { UsageError } from '../../terminal/usage.ts';
import { withSession } from './session.ts';

/** Dtypes of `--dtype`. */
export const GGUF_DTYPES = ['f32', 'f16', 'bf16', 'q8_0'] as const;

interface Options {
  readonly output: string;
  readonly dtype?: (typeof GGUF_DTYPES)[number] | undefined;
  readonly workers: number;
  readonly force?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/**
 * Writes a model, quantized or not, as a file that llama.cpp loads.
 * @throws {UsageError} when `--output` does not end in .gguf, or is the input
 */
export async function exportGguf(path: string, options: Options): Promise<void> {
  const { output, force = false } = options;
  if (!output.endsWith('.gguf')) throw new UsageError(`--output must end in .gguf: got ${output}`);
  const input = await openModel(path);
  try {
    const target = (await checkWritable(output, { force })) ?? output;
    if ((await input.files()).includes(target)) throw new UsageError(`--output must not be the input: got ${output}`);
    const report = await withSession('export', options.workers, async ({ pool, signal, progress }) => {
      const dtype = options.dtype?.toUpperCase() as WrittenDtype | undefined;
      const settings = {
        pool,
        dtype,
        signal,
        onProgress: (step: Parameters<typeof bytesStep>[0]) => progress.update(bytesStep(step)),
      };
      const layout = await layOutGguf(await openOnce(input.folder), settings);
      for (const remark of layout.remarks) warn(remark);
      const began = performance.now();
      await attempt('write', output, () => mkdir(dirname(target), { recursive: true }));
      await attempt('write', output, () => removeStale(target));
      const aside = `${target}.${process.pid}.partial`;
      try {
        await writeGguf(layout, await createFile(aside), settings);
        await input.folder.unchanged?.();
        await checkWritable(output, { force }); // meanwhile another may have written it
      } catch (error) {
        await rm(aside, { force: true }).catch(() => {}); // the first error is the one to tell
        throw error;
      }
      await renameWhole(aside, target);
      const { byteLength, tensors, remarks } = layout;
      const seconds = (performance.now() - began) / 1000;
      return { file: output, dtype: layout.dtype, bytesOut: byteLength, tensors: tensors.length, seconds, remarks };
    });
    const { tensors, bytesOut, seconds } = report;
    if (options.json) printJson(report);
    else print(`${counted(tensors, 'tensor')}, ${bytesText(bytesOut)} in ${seconds.toFixed(1)} s: ${output}`);
  } finally {
    await input.folder.close();
  }
}
