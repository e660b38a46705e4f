// uvu's interface, collecting results instead of printing them: uvu itself starts a timer on `test.run()`, which edge
// workers forbid, and writes to the console. The bundle resolves `uvu` to this file; `uvu/assert` stays uvu's own.

type Context = Record<string, unknown>;
type Handler = (context: Context) => void | Promise<void>;

interface Hook {
  (handler: Handler): void;
  each(handler: Handler): void;
}

interface Test {
  (name: string, handler: Handler): void;
  only(name: string, handler: Handler): void;
  skip(): void;
  before: Hook;
  after: Hook;
  run(): void;
}

/** A test that failed, or a hook that did. */
export interface Failure {
  name: string;
  message: string;
}

export interface Counts {
  passed: number;
  skipped: number;
  failures: Failure[];
}

interface Suite {
  name: string;
  context: Context;
  tests: [name: string, handler: Handler][];
  only: [name: string, handler: Handler][];
  before: Handler[];
  after: Handler[];
  beforeEach: Handler[];
  afterEach: Handler[];
  skipped: number;
}

const queue: Suite[] = [];

/** A suite; its `run` queues what was added since the last one. */
export function suite(name = '', context: Context = {}): Test {
  const empty = (): Suite => {
    return { name, context, tests: [], only: [], before: [], after: [], beforeEach: [], afterEach: [], skipped: 0 };
  };
  let current = empty();
  const hook = (all: 'before' | 'after', each: 'beforeEach' | 'afterEach'): Hook =>
    Object.assign((handler: Handler) => void current[all].push(handler), {
      each: (handler: Handler) => void current[each].push(handler),
    });
  const add = (list: 'tests' | 'only') => (title: string, handler: Handler) =>
    void current[list].push([title, handler]);
  return Object.assign(add('tests'), {
    only: add('only'),
    skip: () => void current.skipped++,
    before: hook('before', 'beforeEach'),
    after: hook('after', 'afterEach'),
    run: () => {
      queue.push(current);
      current = empty();
    },
  });
}

export const test: Test = suite();

/** Runs what was queued, one test after the other. */
export async function runQueue(): Promise<Counts> {
  const counts: Counts = { passed: 0, skipped: 0, failures: [] };
  for (const queued of queue.splice(0)) {
    const { name: suiteName, context, tests, only, before, after, beforeEach, afterEach, skipped } = queued;
    counts.skipped += skipped + (only.length > 0 ? tests.length : 0);
    const attempt = async (name: string, handlers: Handler[]): Promise<boolean> => {
      try {
        for (const handler of handlers) await handler(context);
        return true;
      } catch (error) {
        counts.failures.push({ name: suiteName ? `${suiteName}: ${name}` : name, message: String(error) });
        return false;
      }
    };
    await attempt('before', before);
    for (const [name, handler] of only.length > 0 ? only : tests) {
      const passed = await attempt(name, [...beforeEach, handler]);
      if ((await attempt(`${name} (after each)`, afterEach)) && passed) counts.passed++;
    }
    await attempt('after', after);
  }
  return counts;
}
