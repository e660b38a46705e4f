// Quantized checkpoints whose checksums hold: described, verified, dequantized; the output must be a checkpoint of the same tensors.

import type { RestoreOptions } from '../../src/index.ts';
import { memoryOutput, readSafetensors, valuesOf } from '../checkpoints.ts';
import { decode, readAll, tolerance } from '../format.ts';
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
    const odd = random.pick([0, 0.3, 1]);
    const draft = randomStored(random, wanted, grids, odd);
    const isChanged = random.chance(0.6);
    if (isChanged) aFewTimes(random, () => changeDraft(draft, random));
    let file: Uint8Array = encodeDraft(draft);
    if (isChanged && random.chance(0.1)) file = changeBytes(file, random);
    const isRight = odd === 0 && !isChanged;
    const options = isRight
      ? { dtype: 'F32' }
      : random.chance(0.5)
        ? {}
        : { dtype: random.pick(['F32', 'F16', 'BF16']) };
    return { ...refitAll({ 'model.safetensors': file }), [CASE_NAME]: caseOf({ options, isRight }) };
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
    const { options, isRight } = choicesOf<{ options: RestoreOptions; isRight: boolean }>(files);
    const dequantized = await higgs.dequantizeCheckpoint(folder, output, options);
    const again = await higgs.inspectCheckpoint(output.folder()).catch((error: Error) => {
      throw new Fault(`what was dequantized is refused: ${error.message}`);
    });
    const shapes = (list: readonly { name: string; shape: readonly number[] }[]) =>
      JSON.stringify(list.map(({ name, shape }) => [name, shape]));
    expect(shapes(again.tensors) === shapes(dequantized.tensors), 'dequantized tensors are those of the report');
    expect(shapes(dequantized.tensors) === shapes(report.tensors), 'dequantized tensors are those of the checkpoint');
    if (isRight) compare(files['model.safetensors'], output.files.get('model.safetensors')!);
  },
};

// Weights by the second implementation of FORMAT.md, in f64.
function compare(file: Uint8Array, plain: Uint8Array): void {
  const { tensors } = readSafetensors(plain);
  for (const [name, { layout, packed, scales }] of readAll([file]).weights) {
    const decoded = decode(packed.bytes, valuesOf(scales), layout);
    const values = valuesOf(tensors.get(name)!);
    for (let i = 0; i < values.length; i++) {
      const isNear = Math.abs(values[i] - decoded.weights[i]) <= tolerance(decoded, i, layout.groupSize);
      expect(isNear, `${name}[${i}] is ${decoded.weights[i]}: got ${values[i]}`);
    }
  }
}
