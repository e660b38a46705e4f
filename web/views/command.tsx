// The command line that does the same, to copy.

import type { Recipe } from '../engine/protocol.ts';
import { commandOf } from '../engine/recipe.ts';
import { Copy } from './copy.tsx';

interface Subject {
  readonly name: string;
  readonly recipe: Recipe;
  readonly isMeasured: boolean;
}

export function Command({ name, recipe, isMeasured }: Subject) {
  const line = commandOf(name === 'books-llama' ? 'models/books-llama' : name, recipe, isMeasured);
  return (
    <div class="command">
      <span class="aside">The same in a terminal</span>
      <code>{line}</code>
      <Copy text={() => line} />
    </div>
  );
}
