// A loaded model with one sequence that has the whole context: what tests of the forward pass itself need.

import type { Folder } from '../src/index.ts';
import { type LanguageModel, loadLanguage, type ModelOptions } from '../src/model/model.ts';
import type { ExtendOptions, Sequence } from '../src/model/sequences/batch.ts';

interface ForwardOptions extends Omit<ExtendOptions, 'rows' | 'of'> {
  /** Ids of the sequence that stay; 0 if left out. */
  from?: number;
  logits?: 'last' | 'all' | 'none';
}

export interface LoneModel extends LanguageModel {
  readonly sequence: Sequence;
  readonly cached: readonly number[];
  forward(ids: ArrayLike<number>, options?: ForwardOptions): Promise<Float32Array<ArrayBuffer>>;
  hidden(ids: ArrayLike<number>): Promise<Float32Array<ArrayBuffer>>;
}

export async function loadAlone(folder: Folder, options?: ModelOptions): Promise<LoneModel> {
  const model = await loadLanguage(folder, options);
  const sequence = await model.open({ capacity: model.config.contextLength });
  return {
    ...model,
    sequence,
    get cached() {
      return sequence.ids;
    },
    forward(ids, { from = 0, logits = 'last', ...options } = {}) {
      sequence.truncate(from);
      return sequence.extend(ids, { rows: logits, ...options });
    },
    hidden(ids) {
      sequence.truncate(0);
      return sequence.extend(ids, { rows: 'all', of: 'hidden' });
    },
  };
}
