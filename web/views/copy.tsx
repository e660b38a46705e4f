// A button that copies a text, and says so.

import { useSignal } from '@preact/signals';

/** @param text asked for when it is wanted */
export function Copy({ text, children = 'Copy' }: { text: () => string | Promise<string>; children?: string }) {
  const news = useSignal('');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(await text());
      news.value = 'Copied';
    } catch {
      news.value = 'Not copied: the browser forbids it';
    }
  };
  return (
    <button type="button" class="quiet" aria-live="polite" onClick={copy}>
      {news.value || children}
    </button>
  );
}
