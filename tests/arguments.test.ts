// Every public function with arguments that it does not expect: it works, or says in our words what the argument must be.

import { tmpdir } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HOSTILE, THROWN } from './hostile-values.ts';
import { MODULES, type PublicFunction, publicFunctions } from './public-functions.ts';

const test = suite('arguments');
const here = process.cwd();
const { functions, close } = await publicFunctions();
const { fetch } = globalThis;
test.before(() => {
  process.chdir(tmpdir()); // some strings are names of files that can be made
  globalThis.fetch = async () => new Response('content');
});
test.after(async () => {
  globalThis.fetch = fetch;
  process.chdir(here);
  await close();
});

const OURS = ['TypeError', 'RangeError', 'FormatError', 'UnsupportedError', 'FileError', 'StateError'];
// How engines put it.
const RAW =
  /is not a function|is not iterable|is not defined|is not a constructor|Cannot (read|set|convert|mix|destructure|perform|define)|undefined is|null is|Invalid (array|typed|time|string|URL)|call stack|incompatible receiver|out of bounds|unreachable|Proxy|proxy that|ERR_|DataClone|could not be cloned|transferList|WebAssembly\.[\w.]+\(\):|allocation failed|Reduce of|Illegal invocation|circular structure/;
// How messages call some options.
const WORDS: Readonly<Record<string, string>> = {
  bpw: 'b(pw|its per weight)',
  embeddings: 'embeddings|grid',
  prompt: 'prompt|messages',
};
const WAIT = 60_000; // requests are made again for 3.5 s

// What a call came to: undefined if it worked, the error if not.
async function outcome(fn: PublicFunction, args: unknown[]): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it does not settle')), WAIT);
  });
  try {
    await Promise.race([(async () => fn.call(...(args as never[])))(), late]);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

// @param names of the parameter and its members: one must be told, or another that this one does not fit
function faultOf(error: unknown, names: readonly string[]): string | undefined {
  if (error === undefined) return undefined;
  if (!(error instanceof Error)) return `throws ${typeof error}`;
  if (error.message === THROWN || error.name === 'AbortError') return undefined; // the caller's own
  const { name, message } = error;
  if (!OURS.includes(name)) return `${name}: ${message}`;
  if (RAW.test(message)) return `raw: ${name}: ${message}`;
  // What is wrong in a folder or a file is told by its own name.
  if (/^(Type|Range)Error$/.test(name) && !names.some((each) => new RegExp(each).test(message)))
    return `subject: ${name}: ${message}`;
  if (name !== 'FileError' && !/must/.test(message)) return `must: ${name}: ${message}`;
  if (message.length > 2000 && name !== 'FileError') return `long: ${message.slice(0, 200)}`;
  return undefined;
}

test('every exported function has a row', () => {
  const names = new Set(functions.map(({ name }) => name));
  for (const [subpath, module] of Object.entries(MODULES)) {
    for (const [name, value] of Object.entries(module)) {
      if (typeof value === 'function') assert.ok(names.has(name), `${name} of ${subpath}`);
    }
  }
});

for (const fn of functions) {
  test(`${fn.name}() works, and says what it cannot take`, async () => {
    const faults: string[] = [];
    const good = await outcome(fn, await fn.args());
    if (good) faults.push(`good arguments: ${good}`);
    const names = [...fn.parameters, ...Object.values(fn.members ?? {}).flat()].flatMap((each) => WORDS[each] ?? each);
    const check = async (parameter: string, member: string | undefined, kind: string) => {
      const args = await fn.args();
      const i = fn.parameters.indexOf(parameter);
      const value = HOSTILE[kind]();
      args[i] = member === undefined ? value : { ...(args[i] as object), [member]: value };
      const fault = faultOf(await outcome(fn, args), names);
      // A class is a function, until it is called.
      if (fault && !/^subject: TypeError: Class constructor/.test(fault)) {
        faults.push(`${parameter}${member === undefined ? '' : `.${member}`}: ${kind}: ${fault}`);
      }
    };
    const checks = fn.parameters.flatMap((parameter) =>
      [undefined, ...(fn.members?.[parameter] ?? [])].flatMap((member) =>
        Object.keys(HOSTILE).map((kind) => () => check(parameter, member, kind)),
      ),
    );
    // Requests wait for one another: together they take as long as one.
    if (fn.name.startsWith('url')) await Promise.all(checks.map((run) => run()));
    else for (const run of checks) await run();
    assert.is(faults.length, 0, `${faults.length} faults:\n${faults.slice(0, 12).join('\n')}`);
  });
}

test.run();
