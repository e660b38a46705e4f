// Writes a checkpoint with the shapes of a real model and seeded Gaussian weights in bf16:
//   node build/bench/synthesize.js <model> <directory>
// or a GGUF of it, with a vocabulary:
//   node build/bench/synthesize.js <model> <file> gguf
// Of a release it may also write the quantized one without an original, or headers alone (models that no disk here holds):
//   node build/bench/synthesize.js <model> <directory> quantized | headers

import { trellises } from '../src/grids/trellises.ts';
import { writeCheckpoint } from './checkpoint.ts';
import { writeGguf } from './gguf.ts';
import { models, shapeOf } from './models.ts';
import { writeOriginal, writeQuantized } from './released.ts';
import { releases } from './releases.ts';
import { tokensOf } from './tokenizer.ts';

const names = [...Object.keys(models), ...Object.keys(releases)].join(' | ');
const [model = '', path, how = 'original'] = process.argv.slice(2);
const release = Object.hasOwn(releases, model) ? releases[model] : undefined;
const ways = release ? ['original', 'quantized', 'headers'] : Object.hasOwn(models, model) ? ['original', 'gguf'] : [];
if (path === undefined || !ways.includes(how)) {
  process.stderr.write(`node build/bench/synthesize.js <${names}> <directory> [quantized | headers | gguf]\n`);
  process.exitCode = 2;
} else if (how === 'gguf') {
  await writeGguf(model, path, 'bf16', tokensOf(shapeOf(model).vocabulary));
} else if (!release) {
  process.stdout.write(`${await writeCheckpoint(model, path)} weights in ${path}\n`);
} else {
  const t4 = trellises.find(({ name }) => name === 't4')!;
  const bytes = await (how === 'quantized'
    ? writeQuantized(release(), path, t4)
    : writeOriginal(release(), path, how === 'headers'));
  process.stdout.write(`${bytes} bytes in ${path}\n`);
}
