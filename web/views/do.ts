// The door from views to actions: they come with the worker, after the first paint.

type Actions = typeof import('../state/actions.ts');

let loaded: Promise<Actions> | undefined;

/** Does what a person asked for, as soon as the actions are there. */
export function actions(work: (own: Actions) => unknown): void {
  loaded ??= import('../state/actions.ts');
  void loaded.then(work);
}
