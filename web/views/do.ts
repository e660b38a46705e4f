// The door from views to actions: they come with the worker, after the first paint.

type Actions = typeof import('../state/actions.ts');

let loaded: Promise<Actions> | undefined;

/** What the actions know. */
export async function asked<T>(work: (module: Actions) => T): Promise<T> {
  loaded ??= import('../state/actions.ts');
  return work(await loaded);
}

/** Does what a person asked for, as soon as the actions are there. */
export function actions(work: (module: Actions) => unknown): void {
  void asked(work);
}
