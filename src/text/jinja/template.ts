// Chat templates are programs that come with a checkpoint, in Jinja. They are run by @huggingface/jinja with limits: on the
// template's length, on steps, on strings, lists and what they hold together. So a hostile one ends in an error, in seconds.

import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja';
import { argumentError } from '../../check.ts';
import { FormatError } from '../../errors.ts';
import { excerpt, printable } from '../../excerpt.ts';
import { type Frame, filterCost, operationCost, sortCost, type TemplateNode } from './costs.ts';
import { methods } from './strings.ts';
import { formatTime } from './time.ts';
import { ELEMENTS, elementsOf, filteredValue, isString, sizeOf, toValue, type Value, written } from './values.ts';

/** Longest template; the longest published ones have a third of it. */
const TEMPLATE_CHARACTERS = 64 << 10;
/** Longest run of white space: the library takes quadratic time for it. */
const SPACES = 4096;
/**
 * Most work. An expression or statement evaluated is one step, and so is a turn of a loop; a result is one more for each 256
 * characters or elements, each 4 if a call made them. What works through values takes further ones: see `costOf`.
 */
const STEPS = 500_000;
/** Longest string, the rendered text among them. */
const STRING_CHARACTERS = 4 << 20;
/** Characters that count as one element of a value. */
const ELEMENT_CHARACTERS = 16;
/** Deepest value: indented JSON repeats the depth in each line. */
const DEPTH = 100;
/** Evaluations within one another: fewer than any engine's stack holds, so that all end alike. */
const LEVELS = 500;
/** Longest message of a template's own that is passed on. */
const REFUSAL_CHARACTERS = 500;
/** Longest range(). */
const RANGE = 10_000;

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
    // The parser reads behind the last token.
    const fault = cause instanceof TypeError ? 'a block or an expression is not closed' : faultOf(cause);
    throw new FormatError(`chat template must be Jinja: ${fault}`, { file });
  }
  const printed = new WeakSet<object>();
  notePrinted(program as unknown as TemplateNode, printed);
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
      } catch (cause) {
        throw argumentError(`messages and values must be plain data: ${faultOf(cause)}`);
      }
      try {
        const rendered = new BoundedInterpreter(environment, printed).run(program).value;
        return rendered as string; // a program's value is a string
      } catch (cause) {
        if (cause instanceof Refusal) {
          const words = printable(cause.message.slice(0, REFUSAL_CHARACTERS));
          throw new RangeError(`messages must suit the chat template: ${words}`);
        }
        throw new FormatError(`chat template must run: ${faultOf(cause)}`, { file });
      }
    },
  };
}

// The library's words, not the engine's.
function faultOf(cause: unknown): string {
  if (cause instanceof TypeError) return 'it uses a value that is not there, or not of this kind';
  if (cause instanceof RangeError) return 'it goes too deep, or makes too much';
  return excerpt((cause as Error).message);
}

/** Expressions whose value a template prints where they stand by themselves. */
const PRINTED: ReadonlySet<string> = new Set([
  ...['Identifier', 'MemberExpression', 'FilterExpression', 'BinaryExpression', 'Ternary', 'SelectExpression'],
  ...['TestExpression', 'UnaryExpression', 'CallExpression', 'ObjectLiteral', 'ArrayLiteral'],
]);

// Expressions that stand by themselves, in all blocks of a template.
function notePrinted(node: TemplateNode, printed: WeakSet<object>): void {
  for (const part of [node.body, node.alternate, node.defaultBlock]) {
    if (!Array.isArray(part)) continue;
    for (const each of part) {
      if (PRINTED.has(each.type)) printed.add(each);
      notePrinted(each, printed);
    }
  }
}

class Refusal extends Error {}

function refuse(message: unknown): never {
  throw new Refusal(String(message));
}

/** A node of the template, as far as costs depend on it. */
class BoundedInterpreter extends Interpreter {
  private steps = 0;
  private level = 0;
  private frame: Frame | undefined;
  private visited = 0;
  private readonly weights = new WeakMap<Value, number>();
  private readonly nodes = new WeakMap<object, number>();
  private readonly filtered = new WeakSet<TemplateNode>();

  constructor(
    environment: Environment,
    private readonly printed: WeakSet<object>,
  ) {
    super(environment);
    // A member of the library that it declares as private.
    const self = this as unknown as { applyFilter(operand: Value, filter: object, scope: Environment): Value };
    const apply = self.applyFilter;
    self.applyFilter = (operand, filter, scope) =>
      filteredValue(operand, (filter as { value?: unknown }).value) ?? apply.call(self, operand, filter, scope);
  }

  override evaluate(...args: Parameters<Interpreter['evaluate']>): Value {
    const outer = this.frame;
    const node = args[0] as unknown as TemplateNode | undefined;
    const frame: Frame = { node, outer, last: undefined, weight: 0 };
    this.frame = frame;
    let result: Value;
    if (++this.level > LEVELS) throw new Error(`it goes deeper than ${LEVELS} levels`);
    try {
      if (node) this.enter(node);
      // Of an empty list, `first` is nothing at all.
      result =
        (node?.type === 'Identifier' ? this.lookUp(node, args[1]) : super.evaluate(...args)) ?? this.nothing(args[1]);
      if (node?.type === 'MemberExpression' && !node.computed) result = methodOf(node, frame) ?? result;
      if (node && result.type !== 'StringValue') result = this.suited(node, outer?.node, result) ?? result;
    } finally {
      this.frame = outer;
      this.level--;
    }
    const size = sizeOf(result);
    if (result.type === 'StringValue' && size > STRING_CHARACTERS) {
      throw new Error(`it makes a string of more than ${STRING_CHARACTERS} characters`);
    }
    const weight = this.weigh(result, 0);
    let steps = 1 + size / (node?.type === 'CallExpression' ? 4 : 256) + this.visited / 16;
    this.visited = 0;
    if (outer?.node) {
      steps += this.costOf(outer, outer.node, node, result, weight);
      outer.weight += weight;
      outer.last = result;
    }
    this.spend(steps);
    return result;
  }

  private nothing(scope: Environment): Value {
    return super.evaluate(undefined, scope);
  }

  private spend(steps: number): void {
    this.steps += Math.floor(steps);
    if (this.steps > STEPS) throw new Error(`it takes more than ${STEPS} steps`);
  }

  // The library throws an error for each name that is unknown, and calls itself for each scope.
  private lookUp({ value }: TemplateNode, scope: Environment): Value | undefined {
    let depth = 0;
    for (let each: Environment | undefined = scope; each; each = each.parent) {
      if (++depth % 16 === 0) this.spend(1);
      const variable = each.variables.get(value as string);
      if (variable) return variable;
    }
    return undefined;
  }

  // A value as what surrounds it takes it in Jinja, where the library does not.
  private suited(node: TemplateNode, outer: TemplateNode | undefined, value: Value): Value | undefined {
    const isJoined = outer?.type === 'BinaryExpression' && outer.operator?.value === '~';
    if (isJoined || this.printed.has(node)) {
      this.spend(this.weigh(value, 0) - 1);
      return written(value, isJoined);
    }
    // What is not there has no elements.
    const isLooped = outer?.type === 'For' && node === (outer.iterable?.lhs ?? outer.iterable);
    return isLooped && value.type === 'UndefinedValue' ? toValue([]) : undefined;
  }

  private enter(node: TemplateNode): void {
    // Whenever it defines a macro, the library searches all of it.
    if (node.type === 'Macro' || node.type === 'CallStatement') this.spend(this.count(node) / 4);
    if (node.type !== 'FilterStatement' || this.filtered.has(node)) return;
    this.filtered.add(node);
    for (const each of node.body ?? []) this.filtered.add(each);
  }

  // What the surrounding node is about to do with the value of its child.
  private costOf(
    frame: Frame,
    node: TemplateNode,
    child: TemplateNode | undefined,
    value: Value,
    weight: number,
  ): number {
    const size = sizeOf(value);
    switch (node.type) {
      case 'For':
        return child === (node.iterable?.lhs ?? node.iterable) ? size : 0; // turns
      case 'BinaryExpression':
        return child === node.right ? operationCost(node.operator?.value, frame, value, weight) : 0;
      case 'FilterExpression':
      case 'FilterStatement':
        return filterCost(
          frame,
          node,
          child === node.operand || this.filtered.has(child as TemplateNode),
          value,
          weight,
        );
      case 'CallExpression':
        return child === node.callee ? 0 : weight;
      case 'MemberExpression': {
        if (child !== node.object) return 0;
        if (node.property?.type === 'SliceExpression') return size / 4;
        const call = frame.outer;
        if (call?.node?.type !== 'CallExpression' || call.node.callee !== node) return 0;
        if (node.property?.value === 'dictsort') return sortCost(value);
        return isString(value) ? (size / 64) * (1 + call.weight) : 0; // a method, which has its arguments already
      }
      default:
        return 0;
    }
  }

  // Values share their elements, so that a short program can make one whose text would be endless. Namespaces change: neither
  // they nor what holds them is kept, and looking through them again takes steps.
  private weigh(value: Value, depth: number): number {
    if (isString(value)) return 1 + Math.floor(value.value.length / ELEMENT_CHARACTERS);
    const elements = elementsOf(value);
    if (!elements) return 1;
    const cached = this.weights.get(value);
    if (cached !== undefined) return cached;
    if (depth > DEPTH) throw new Error(`it makes a value deeper than ${DEPTH}`);
    let weight = 1;
    let changes = value.type === 'NamespaceValue';
    if (value.value instanceof Map) {
      for (const key of value.value.keys()) weight += Math.floor(key.length / ELEMENT_CHARACTERS);
    }
    for (const element of elements) {
      this.visited++;
      weight += this.weigh(element, depth + 1);
      if (weight > ELEMENTS) throw new Error(`it makes a value of more than ${ELEMENTS} elements`);
      changes ||= elementsOf(element) !== undefined && !this.weights.has(element);
    }
    if (!changes) this.weights.set(value, weight);
    return weight;
  }

  // Nodes of a part of the template.
  private count(node: object): number {
    let count = this.nodes.get(node);
    if (count === undefined) {
      count = 1;
      for (const each of node instanceof Map ? [...node].flat() : Object.values(node)) {
        if (typeof each === 'object' && each !== null) count += this.count(each);
      }
      this.nodes.set(node, count);
    }
    return count;
  }
}

// A method of a string, as Python has it: the library lacks some, and its strip() takes no characters.
function methodOf({ property }: TemplateNode, { last }: Frame): Value | undefined {
  if (!last || !isString(last)) return undefined;
  const name = String(property?.value);
  const text = last.value;
  return Object.hasOwn(methods, name) ? toValue((...given: unknown[]) => methods[name](text, ...given)) : undefined;
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every(Number.isInteger) || step === 0) throw new Error('range() must be of integers, in steps');
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > RANGE) throw new Error(`range() has more than ${RANGE} elements`);
  return Array.from({ length }, (_, i) => from + i * step);
}
