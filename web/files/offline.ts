// The service worker: it keeps the page for use without a network, and gives it the headers that threads need where a host gives none.
// Those count from the next load on. So a first visit loads once more, as long as nothing has been done.

import { model, step, typed, waiting } from '../state/store.ts';

const offered = typed.value; // by the address
const isUntouched = () => step.value === 'model' && !model.value && !waiting.value && typed.value === offered;

/** Milliseconds that what takes long waits for the second load at most: on slow lines the files take their time. */
const PATIENCE = 5000;
let settle = () => {};
/** Until it is known that the page stays as it is. */
export const settled = new Promise<void>((resolve) => {
  settle = resolve;
});

export async function keepOffline(): Promise<void> {
  const { serviceWorker } = navigator;
  if (!serviceWorker || serviceWorker.controller || globalThis.crossOriginIsolated) settle();
  if (!serviceWorker) return;
  setTimeout(settle, PATIENCE);
  // A first visit, or a new release: its files take the place of those that this page would still ask for.
  const isToReload = serviceWorker.controller !== null || !globalThis.crossOriginIsolated;
  serviceWorker.addEventListener('controllerchange', () => {
    if (isToReload && isUntouched()) location.reload();
    else settle();
  });
  // The worker took the page over while it loaded, and nobody heard of it. A load that is one again already has what it can have.
  const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  const isLate = serviceWorker.controller && !globalThis.crossOriginIsolated && navigation?.type !== 'reload';
  if (isLate && isUntouched()) location.reload();
  try {
    if ((await serviceWorker.register('sw.js')).active) settle(); // it was there, and the page was loaded past it
  } catch {
    settle(); // without one the page works online, on one thread
  }
}
