// Public functions, with arguments that work, and values that none of them expects: those that tests/arguments.test.ts has, too.

import { type PublicFunction, publicFunctions } from '../public-functions.ts';

export { HOSTILE, THROWN } from '../hostile-values.ts';
export type { PublicFunction };

/** All but those that start as many threads as they are asked for. */
export async function functionsOf(): Promise<{ functions: readonly PublicFunction[]; close(): Promise<void> }> {
  const { functions, close } = await publicFunctions();
  return { functions: functions.filter(({ name }) => name !== 'startPool' && name !== 'startThreads'), close };
}
