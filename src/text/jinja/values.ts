// Values of templates as Python writes them: the library's are JSON's and lack some.

import { Environment, type Interpreter } from '@huggingface/jinja';
import { quoted } from './strings.ts';

/** Most elements in a value however deep, 16 characters counting as one; each that occurs twice counts twice. */
export const ELEMENTS = 1 << 20;

/** A value of the library. */
export type Value = ReturnType<Interpreter['evaluate']>;

const scratch = new Environment();

/** A value of the library's of one of JavaScript's. @throws {Error} when it has too many elements */
export function toValue(content: unknown): Value {
  if (Array.isArray(content) && content.length > ELEMENTS)
    throw new Error(`it makes a value of more than ${ELEMENTS} elements`);
  scratch.variables.delete('value');
  return scratch.set('value', content);
}

/** As text, in Python's words. @param isJoined whether it becomes a part of a string */
export function written(value: Value, isJoined: boolean): Value | undefined {
  if (value.type === 'BooleanValue') return toValue(value.value ? 'True' : 'False');
  if (value.type === 'NullValue') return toValue('None');
  if (value.type === 'UndefinedValue') return toValue('');
  if (!isString(value) && elementsOf(value)) return toValue(literal(value));
  return isJoined ? toValue(value.toString()) : undefined;
}

// A value within a printed list, as Python writes it.
function literal(value: Value): string {
  if (isString(value)) return quoted(value.value);
  if (value.value instanceof Map) {
    return `{${Array.from(value.value, ([key, each]) => `${quoted(key)}: ${literal(each)}`).join(', ')}}`;
  }
  const elements = elementsOf(value);
  return elements ? `[${Array.from(elements, literal).join(', ')}]` : (written(value, true)?.value as string);
}

/** Filters of kinds of values that the library refuses, or writes as JSON where Python's words are meant. */
export function filteredValue(operand: Value, filter: unknown): Value | undefined {
  const { type, value } = operand;
  switch (filter) {
    case 'string':
      return written(operand, false);
    case 'list':
      if (type === 'StringValue') return toValue(Array.from(value as string));
      if (type === 'ObjectValue') return toValue([...(value as unknown as Map<string, Value>).keys()]);
      return type === 'UndefinedValue' ? toValue([]) : undefined;
    case 'length':
      return type === 'UndefinedValue' ? toValue(0) : undefined;
    case 'trim':
    case 'upper':
    case 'lower':
      return type === 'UndefinedValue' ? toValue('') : undefined;
    case 'items':
      return type === 'UndefinedValue' ? toValue([]) : undefined;
    case 'first':
    case 'last':
      if (type !== 'StringValue') return undefined;
      return toValue(Array.from(value as string).at(filter === 'first' ? 0 : -1));
    default:
      return undefined;
  }
}

/** Whether it is a text. */
export function isString(value: Value): value is Value & { value: string } {
  return typeof value.value === 'string';
}

/** What a list or an object holds. */
export function elementsOf({ value }: Value): Iterable<Value> | undefined {
  if (Array.isArray(value)) return value;
  return value instanceof Map ? value.values() : undefined;
}

/** Characters of a text, or elements. */
export function sizeOf({ value }: Value): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 0;
}
