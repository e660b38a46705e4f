// The command line that does the same, to copy.

import { useSignal } from '@preact/signals';
import type { Recipe } from '../engine/protocol.ts';
import { commandOf } from '../engine/recipe.ts';

interface Subject {
  readonly name: string;
  readonly recipe: Recipe;
  readonly isMeasured: boolean;
}

export function Command({ name, recipe, isMeasured }: Subject) {
  const isCopied = useSignal(false);
  const line = commandOf(name === 'books-llama' ? 'models/books-llama' : name, recipe, isMeasured);
  return (
    <div class="command">
      <span class="aside">The same in a terminal</span>
      <code>{line}</code>
      <button
        type="button"
        class="quiet"
        onClick={async () => {
          await navigator.clipboard.writeText(line);
          isCopied.value = true;
        }}
      >
        {isCopied.value ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}
