// What operators and filters of a template cost, in steps, by the sizes of what they work through.

import { elementsOf, isString, sizeOf, type Value } from './values.ts';

/** Widest indentation. */
const INDENT = 64;

/** A part of a template, as the library parses it. */
export interface TemplateNode {
  /** Kind of node, such as `For`. */
  type: string;
  /** An identifier's name. */
  value?: unknown;
  /** What a block holds. */
  body?: readonly TemplateNode[];
  /** What stands behind `else`. */
  alternate?: readonly TemplateNode[];
  /** What a loop without rounds shows. */
  defaultBlock?: readonly TemplateNode[];
  /** What a filter or test is of. */
  operand?: TemplateNode;
  /** Of a filter: its name, or a call of it. */
  filter?: { type: string; value?: unknown; callee?: { value?: unknown } };
  /** The operator's sign. */
  operator?: { value: string };
  /** The operand behind an operator. */
  right?: TemplateNode;
  /** What is called. */
  callee?: TemplateNode;
  /** What a member is of. */
  object?: TemplateNode;
  /** The member. */
  property?: { type: string; value?: unknown };
  /** Whether the member stands in brackets, as an expression. */
  computed?: boolean;
  /** What a loop runs over. */
  iterable?: { lhs?: TemplateNode };
}

/** An evaluation under way, and what it has so far: the last value, and the weight of all. */
export interface Frame {
  /** What is evaluated; undefined at the outermost. */
  readonly node: TemplateNode | undefined;
  /** The evaluation that this one is a part of. */
  readonly outer: Frame | undefined;
  /** Value of the part that was evaluated last. */
  last: Value | undefined;
  /** Steps that its parts' values weigh together. */
  weight: number;
}

/** An operator between what the frame has and a further value: a search takes a needle's length, a list may become text. */
export function operationCost(
  operator: string | undefined,
  { last, weight: left }: Frame,
  value: Value,
  weight: number,
): number {
  const isList = Array.isArray(value.value);
  switch (operator) {
    case 'in':
    case 'not in':
      return isString(value) ? (sizeOf(value) / 256) * left : isList ? weight : 0;
    case 'and':
    case 'or':
      return 0;
    default:
      return isList && Array.isArray(last?.value)
        ? (sizeOf(value) + sizeOf(last)) / 16
        : (isList ? weight : 0) + (Array.isArray(last?.value) ? left : 0);
  }
}

/** A filter. @param isOperand whether `value` is what it filters, not an argument @throws {Error} when it indents too far */
export function filterCost(frame: Frame, node: TemplateNode, isOperand: boolean, value: Value, weight: number): number {
  const name = node.filter?.value ?? node.filter?.callee?.value;
  if (isOperand) {
    if (isString(value)) return sizeOf(value) / 64;
    if (/^(length|first|last|list|safe|default)$/.test(String(name))) return 0;
    return name === 'sort' || name === 'dictsort'
      ? weight + sortCost(value)
      : name === 'items'
        ? sizeOf(value) / 4
        : 2 * weight;
  }
  // An argument: for all of the operand.
  if (value.type !== 'IntegerValue' || (name !== 'indent' && name !== 'tojson')) return (frame.weight * weight) / 16;
  const width = value.value as number;
  if (width > INDENT) throw new Error(`it indents by more than ${INDENT} characters`);
  return frame.weight * (1 + Math.max(0, width));
}

/** Comparisons, each of which may go through the longest text. */
export function sortCost(value: Value): number {
  const size = sizeOf(value);
  return size * Math.ceil(Math.log2(size + 1)) * (1 + longestText(value) / 64);
}

function longestText(value: Value): number {
  if (isString(value)) return value.value.length;
  let longest = 0;
  if (value.value instanceof Map) for (const key of value.value.keys()) longest = Math.max(longest, key.length);
  for (const element of elementsOf(value) ?? []) longest = Math.max(longest, longestText(element));
  return longest;
}
