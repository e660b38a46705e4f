// A checkpoint with the shapes of a real model and seeded Gaussian weights in bf16.

import { planShards } from '../src/safetensors/layout.ts';
import { createFolder } from '../src/source/file.ts';
import { gaussianBytes } from './gaussian.ts';
import { shapeOf, sizeOf, tensorsOf } from './models.ts';

/** Writes the checkpoint to a new directory; returns the number of its weights. */
export async function writeCheckpoint(model: string, path: string): Promise<number> {
  const tensors = tensorsOf(shapeOf(model)).map(({ name, shape }) => ({
    ...{ name, shape, dtype: 'BF16' },
    byteLength: sizeOf(shape) * 2,
  }));
  const gaussian = gaussianBytes('bf16');
  const folder = await createFolder(path);
  const shards = planShards(
    tensors.map((tensor) => [tensor]),
    { maxShardBytes: 1e12, align: false },
  );
  for (const { fileName, header } of shards) {
    const sink = await folder.create(fileName);
    await sink.write(header);
    for (const { byteLength } of tensors) {
      for (const part of gaussian(byteLength / 2)) await sink.write(part);
    }
    await sink.close();
  }
  await folder.close();
  return tensors.reduce((sum, { byteLength }) => sum + byteLength / 2, 0);
}
