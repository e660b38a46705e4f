// Chat templates are programs that come with a checkpoint, in Jinja. They are run by @huggingface/jinja with limits: on the
// template's length, on steps, on strings, lists and what they hold together. So a hostile one ends in an error, in seconds.

import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { FormatError } from '../errors.ts';

/** Longest template; the longest published ones have a third of it. */
const TEMPLATE_CHARACTERS = 64 << 10;
/** Longest run of white space: the library takes quadratic time for it. */
const SPACES = 4096;
/**
 * Most work: an expression or statement evaluated is one, a turn of a loop one, and a result one more for each 256 characters
 * or elements, each 4 if a call made them.
 */
const STEPS = 500_000;
/** Longest string, the rendered text among them. */
const STRING_CHARACTERS = 4 << 20;
/** Longest list, and most elements in a value however deep. */
const ELEMENTS = 1 << 20;
/** Longest range(). */
const RANGE = 10_000;

type Value = ReturnType<Interpreter['evaluate']>;
type Program = ReturnType<typeof parse>;

/** A template, parsed. */
export interface Template {
  /**
   * @throws {RangeError} when the template itself refuses the values, with its own words
   * @throws {FormatError} when it fails or goes beyond the limits
   */
  render(values: Readonly<Record<string, unknown>>, now: Date): string;
}

/**
 * @param file names it in messages
 * @throws {FormatError} when it is too long or no Jinja
 */
export function parseTemplate(text: string, file: string): Template {
  if (text.length > TEMPLATE_CHARACTERS) {
    const message = `chat template must have at most ${TEMPLATE_CHARACTERS} characters: it has ${text.length}`;
    throw new FormatError(message, { file });
  }
  if (new RegExp(`\\s{${SPACES + 1}}`).test(text)) {
    throw new FormatError(`chat template must have at most ${SPACES} spaces in a row: it has more`, { file });
  }
  let program: Program;
  try {
    program = parse(tokenize(text, { lstrip_blocks: true, trim_blocks: true }));
  } catch (cause) {
    throw new FormatError(`chat template must be Jinja: ${(cause as Error).message}`, { file });
  }
  return {
    render(values, now) {
      const environment = new Environment();
      const globals = {
        ...{ true: true, True: true, false: false, False: false, none: null, None: null },
        range,
        raise_exception: refuse,
        strftime_now: (format: string) => formatTime(format, now),
      };
      try {
        for (const [name, value] of Object.entries({ ...values, ...globals })) environment.set(name, value);
        const rendered = new BoundedInterpreter(environment).run(program).value;
        return rendered as string; // a program's value is a string
      } catch (cause) {
        if (cause instanceof Refusal) throw new RangeError(`messages must suit the chat template: ${cause.message}`);
        throw new FormatError(`chat template must run: ${(cause as Error).message}`, { file });
      }
    },
  };
}

class Refusal extends Error {}

function refuse(message: unknown): never {
  throw new Refusal(String(message));
}

class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private readonly looped = new WeakSet<object>();
  private readonly weights = new WeakMap<Value, number>();

  override evaluate(...args: Parameters<Interpreter['evaluate']>): Value {
    const [statement] = args;
    if (statement?.type === 'For') {
      const { iterable } = statement as unknown as { iterable: { lhs?: object } };
      this.looped.add(iterable.lhs ?? iterable); // `for x in lhs if …`
    }
    const result = super.evaluate(...args);
    const size = sizeOf(result);
    const turns = statement && this.looped.has(statement) ? size : 0;
    this.steps += 1 + turns + Math.floor(size / (statement?.type === 'CallExpression' ? 4 : 256));
    if (this.steps > STEPS) throw new Error(`it takes more than ${STEPS} steps`);
    if (result.type === 'StringValue') {
      if (size > STRING_CHARACTERS) throw new Error(`it makes a string of more than ${STRING_CHARACTERS} characters`);
    } else if (size > 0) {
      this.weigh(result);
    }
    return result;
  }

  // Values share their elements, so that a short program can make one whose text would be endless.
  private weigh(value: Value): number {
    let weight = this.weights.get(value);
    if (weight === undefined) {
      weight = 1;
      for (const element of elementsOf(value)) weight += this.weigh(element);
      if (weight > ELEMENTS) throw new Error(`it makes a value of more than ${ELEMENTS} elements`);
      this.weights.set(value, weight);
    }
    return weight;
  }
}

function elementsOf({ value }: Value): Iterable<Value> {
  if (Array.isArray(value)) return value;
  return value instanceof Map ? value.values() : [];
}

function sizeOf({ value }: Value): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 0;
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every(Number.isInteger) || step === 0) throw new Error('range() must be of integers, in steps');
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > RANGE) throw new Error(`range() has more than ${RANGE} elements`);
  return Array.from({ length }, (_, i) => from + i * step);
}

const MONTHS = 'January February March April May June July August September October November December'.split(' ');
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ');

// strftime in English, whatever the host's language.
function formatTime(format: string, now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const [month, day] = [MONTHS[now.getMonth()], DAYS[now.getDay()]];
  const parts: Readonly<Record<string, string>> = {
    '%Y': String(now.getFullYear()),
    '%m': two(now.getMonth() + 1),
    '%d': two(now.getDate()),
    '%B': month,
    '%b': month.slice(0, 3),
    '%A': day,
    '%a': day.slice(0, 3),
    '%H': two(now.getHours()),
    '%M': two(now.getMinutes()),
    '%S': two(now.getSeconds()),
    '%%': '%',
  };
  return String(format).replace(/%[a-zA-Z%]/g, (part) => parts[part] ?? part);
}
