// Sensitivities of models whose weights are any numbers: finite figures that can be stored, or an error.

import { readAlphas, type SensitivityOptions, writeAlphas } from '../../src/index.ts';
import { shapesOf } from '../models.ts';
import { encodeDraft, randomTensor } from './checkpoint.ts';
import { randomConfig } from './models.ts';
import { expect, Fault } from './oracle.ts';
import { CASE_NAME, caseOf, choicesOf, encode, folderOfCase, type Target } from './target.ts';

export const sensitivity: Target = {
  name: 'sensitivity',
  make(random) {
    const config = randomConfig(random);
    const odd = random.pick([0, 0.02, 0.1]);
    const tensors = shapesOf(config).map(([name, shape]): [string, ReturnType<typeof randomTensor>] => [
      name,
      randomTensor(random, shape, odd),
    ]);
    const options: SensitivityOptions = {
      estimator: random.pick(['fisher', 'fisher', 'noise']),
      source: random.pick(['model', 'random']),
      tokens: random.pick([1, 2, 5, 16]),
      sequences: random.pick([1, 2]),
    };
    return {
      'config.json': encode(JSON.stringify(config)),
      'model.safetensors': encodeDraft({ metadata: {}, tensors }),
      [CASE_NAME]: caseOf({ ...options }),
    };
  },
  async run(files, { higgs }) {
    const folder = folderOfCase(files);
    const measured = await higgs.measureSensitivity(folder, choicesOf<SensitivityOptions>(files));
    for (const [name, { alpha, error }] of measured.tensors) {
      expect(Number.isFinite(alpha), `sensitivity of ${name} is finite: ${alpha}`);
      expect(error === null || (Number.isFinite(error) && error >= 0), `its standard error is a number: ${error}`);
    }
    const text = writeAlphas(measured);
    let again: string;
    try {
      again = writeAlphas(readAlphas(text, 'alphas.json'));
    } catch (error) {
      throw new Fault(`sensitivities that were measured are refused: ${(error as Error).message}`);
    }
    expect(again === text, 'sensitivities read as they were written');
    await higgs.planBits(folder, measured, { bpw: 12, groupSize: 64 });
  },
};
