// The command line that does the same, to copy.

import { useSignal } from '@preact/signals';
import { commandOf } from '../engine/recipe.ts';
import { isMeasured, model, recipe } from '../state/store.ts';

export function Command() {
  const isCopied = useSignal(false);
  const { name } = model.value!;
  const line = commandOf(name === 'books-llama' ? 'models/books-llama' : name, recipe.value, isMeasured.value);
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
