// Writes a checkpoint with the shapes of a real model and seeded Gaussian weights in bf16:
//   node build/bench/synthesize.js <model> <directory>

import { writeCheckpoint } from './checkpoint.ts';
import { models } from './models.ts';

const [model, path] = process.argv.slice(2);
if (model === undefined || path === undefined) {
  process.stderr.write(`node build/bench/synthesize.js <${Object.keys(models).join(' | ')}> <directory>\n`);
  process.exitCode = 2;
} else {
  process.stdout.write(`${await writeCheckpoint(model, path)} weights in ${path}\n`);
}
