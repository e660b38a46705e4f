// The door from views to actions: they come with the worker, after the first paint.

import { failure } from '../state/store.ts';

type Actions = typeof import('../state/actions.ts');

let loaded: Promise<Actions> | undefined;

function load(): Promise<Actions> {
  loaded ??= import('../state/actions.ts').catch((error) => {
    loaded = undefined; // it may be there the next time
    failure.value = 'A part of the page could not be loaded. Load the page again.';
    throw error;
  });
  return loaded;
}

/** What the actions know. */
export async function asked<T>(work: (module: Actions) => T): Promise<T> {
  return work(await load());
}

/** Does what a person asked for, as soon as the actions are there. */
export function actions(work: (module: Actions) => unknown): void {
  void load().then(work, () => {}); // what could not be loaded is told
}
