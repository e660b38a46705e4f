// Quantized checkpoints whose checksums hold: described, verified, dequantized; the output must be a checkpoint of the same tensors.

import { memoryOutput } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import { changeDraft, encodeDraft, randomStored, refitAll, type Wanted } from './checkpoint.ts';
import { expect, Fault } from './oracle.ts';
import { aFewTimes } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, folderOfCase, type Target } from './target.ts';

const NAMES = ['model.layers.0.mlp.up_proj.weight', 'a', 'experts.w1', 'norm.weight', 'constructor'];

export const stored: Target = {
  name: 'stored',
  repair: refitAll,
  make(random, { grids }) {
    const wanted = NAMES.slice(0, 1 + random.below(NAMES.length)).map((name): Wanted => {
      const cols = random.between(1, random.chance(0.1) ? 5000 : 200);
      const shape = [random.between(1, 5), cols];
      if (random.chance(0.2)) shape.unshift(random.between(1, 3));
      return [name, random.chance(0.1) ? [cols] : shape];
    });
    const draft = randomStored(random, wanted, grids);
    if (random.chance(0.6)) aFewTimes(random, () => changeDraft(draft, random));
    let file: Uint8Array = encodeDraft(draft);
    if (random.chance(0.1)) file = changeBytes(file, random);
    const options = random.chance(0.5) ? {} : { dtype: random.pick(['F32', 'F16', 'BF16']) };
    return { ...refitAll({ 'model.safetensors': file }), [CASE_NAME]: caseOf(options) };
  },
  async run(files, { higgs }) {
    const folder = folderOfCase(files);
    const report = await higgs.inspectCheckpoint(folder);
    expect(Number.isFinite(report.bpw) && report.bpw >= 0, `bits per weight are a number: ${report.bpw}`);
    for (const { relativeError = 0, gridMse = 0, bpw = 0, bytes } of report.tensors) {
      expect(relativeError >= 0 && relativeError < Infinity, `t² is a number: ${relativeError}`);
      expect(gridMse >= 0 && gridMse < Infinity, `a grid's MSE is a number: ${gridMse}`);
      expect(bpw >= 0 && bpw < Infinity && Number.isSafeInteger(bytes), 'sizes are numbers');
    }
    const names = report.tensors.map(({ name }) => name);
    expect(new Set(names).size === names.length, 'a name occurs once');
    if (!report.quantized) return;
    await higgs.verifyCheckpoint(folder);
    const output = memoryOutput();
    const made = await higgs.dequantizeCheckpoint(folder, output, choicesOf(files));
    const again = await higgs.inspectCheckpoint(output.folder()).catch((error: Error) => {
      throw new Fault(`what was dequantized is refused: ${error.message}`);
    });
    const shapes = (list: readonly { name: string; shape: readonly number[] }[]) =>
      JSON.stringify(list.map(({ name, shape }) => [name, shape]));
    expect(shapes(again.tensors) === shapes(made.tensors), 'dequantized tensors are those of the report');
    expect(shapes(made.tensors) === shapes(report.tensors), 'dequantized tensors are those of the checkpoint');
  },
};
