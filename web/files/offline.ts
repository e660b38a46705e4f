// The service worker: it keeps the page for use without a network, and gives it the headers that threads need where a host gives none.
// Those count from the next load on. So a first visit loads once more, as long as nothing has been done.

import { model, step, typed, waiting } from '../state/store.ts';

const isUntouched = () => step.value === 'model' && !model.value && !waiting.value && typed.value === '';

export async function keepOffline(): Promise<void> {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return;
  const isFirst = !serviceWorker.controller && !globalThis.crossOriginIsolated;
  serviceWorker.addEventListener('controllerchange', () => {
    if (isFirst && isUntouched()) location.reload();
  });
  await serviceWorker.register('sw.js').catch(() => {}); // without one the page works online, on one thread
}
