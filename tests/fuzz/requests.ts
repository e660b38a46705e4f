// Requests of public functions: in the places of some arguments, and of members of some, stand values that are not expected there.

import { HOSTILE, type PublicFunction, THROWN } from './functions.ts';
import { NUMBERS, type Random, TEXTS } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, type Target } from './target.ts';

/** A value in a place: `{ hostile: 'a Map' }` is made when the case runs, others stand as they are. */
interface Change {
  parameter: string;
  member?: string;
  value: unknown;
}

function randomChange({ parameters, members = {} }: PublicFunction, random: Random): Change {
  const parameter = random.pick(parameters);
  const given = members[parameter];
  const value = random.pick<() => unknown>([
    () => random.pick(NUMBERS),
    () => random.pick(TEXTS),
    () => ({ hostile: random.pick(Object.keys(HOSTILE)) }),
  ])();
  return { parameter, ...(given && random.chance(0.9) && { member: random.pick(given) }), value };
}

export const request: Target = {
  name: 'request',
  subjects: ['memory', 'must', 'cannot'],
  make(random, { functions }) {
    const called = random.pick(functions.filter(({ parameters }) => parameters.length > 0));
    const changes = Array.from({ length: 1 + random.below(2) }, () => randomChange(called, random));
    return { [CASE_NAME]: caseOf({ name: called.name, changes }) };
  },
  async run(files, { functions }) {
    const { name, changes } = choicesOf<{ name: string; changes: Change[] }>(files);
    const called = functions.find((each) => each.name === name)!;
    const args = await called.args();
    const spoilt = new Set<number>(); // arguments that are no objects of ours any more
    for (const { parameter, member, value } of changes) {
      const i = called.parameters.indexOf(parameter);
      const hostile = (value as { hostile?: string } | null)?.hostile;
      const argument = hostile === undefined ? value : HOSTILE[hostile]();
      if (member === undefined) {
        args[i] = argument;
        spoilt.add(i);
      } else if (!spoilt.has(i)) args[i] = { ...(args[i] as object), [member]: argument };
    }
    try {
      await called.call(...(args as never[]));
    } catch (error) {
      if (!isCallers(error)) throw error;
    }
  },
};

// What the caller's own functions threw, and what comes of a class among them, which is a function until it is called.
function isCallers(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.message === THROWN || error.name === 'AbortError' || error.message.startsWith('Class constructor Hostile')
  );
}
