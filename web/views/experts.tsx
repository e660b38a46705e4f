// Options for who has read the paper, folded away.

import type { Recipe } from '../engine/protocol.ts';
import { recipe } from '../state/store.ts';
import { actions } from './do.ts';

const GRIDS = ['t2', 't3', 't4', 't5', 't6'];
const GROUPS = [64, 128, 256, 512, 1024, 2048, 4096];

const change = (part: Partial<Recipe>) => actions((module) => module.change(part));

export function Experts() {
  const { embeddings, groupSize, seed, grids, keep, refine } = recipe.value;
  return (
    <details class="experts">
      <summary>Options for experts</summary>
      <div class="fields">
        <label>
          Embeddings and head
          <select value={embeddings} onChange={({ currentTarget: { value } }) => change({ embeddings: value })}>
            <option value="rest">as the rest</option>
            <option value="">as they are</option>
            {GRIDS.map((grid) => (
              <option key={grid} value={grid}>
                {grid}, {grid[1]} bits
              </option>
            ))}
          </select>
        </label>
        <label>
          Refining
          <select
            value={refine}
            onChange={({ currentTarget: { value } }) => change({ refine: value as Recipe['refine'] })}
          >
            <option value="">none</option>
            <option value="both">refine (slower, half the loss)</option>
            <option value="inputs">refine by inputs alone (less slow)</option>
          </select>
        </label>
        <label>
          Weights that share a scale
          <select value={groupSize} onChange={({ currentTarget: { value } }) => change({ groupSize: Number(value) })}>
            {GROUPS.map((size) => (
              <option key={size} value={size}>
                {size}
              </option>
            ))}
          </select>
        </label>
        <label>
          Seed of the signs
          <input
            type="number"
            min="0"
            max="4294967295"
            value={seed}
            onChange={({ currentTarget: { valueAsNumber } }) => change({ seed: valueAsNumber >>> 0 })}
          />
        </label>
        <label>
          Grids to choose from
          <input
            type="text"
            placeholder="all, or t3, t4, t5"
            spellcheck={false}
            value={grids}
            onChange={({ currentTarget: { value } }) => change({ grids: value.trim() })}
          />
        </label>
        <label>
          Grids to keep
          <input
            type="text"
            placeholder="down_proj=t5"
            spellcheck={false}
            value={keep}
            onChange={({ currentTarget: { value } }) => change({ keep: value.trim() })}
          />
        </label>
      </div>
    </details>
  );
}
