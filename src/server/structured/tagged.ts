// Calls whose arguments are written one by one, each between tags, as Qwen3-Coder and its successors do it:
//
//   <tool_call>
//   <function=get_weather>
//   <parameter=city>
//   Paris
//   </parameter>
//   </function>
//   </tool_call>
//
// Values stand there without quotes: which kind one is of, the tool's schema says.

import { isRecord } from '../../text/files.ts';
import { LIMITS } from '../limits.ts';
import type { JsonSchema } from './schema.ts';

/** Names of the tags. */
export interface Tags {
  /** That of a call: `function`. */
  readonly call: string;
  /** That of an argument: `parameter`. */
  readonly argument: string;
}

/** A call as it was written. */
interface WrittenCall {
  readonly name: string;
  readonly values: readonly (readonly [key: string, text: string])[];
}

/** Finds the tags of a call that was written. @returns them, and where they begin and end */
export function tagsIn(
  written: string,
  { name, key, value }: { name: string; key: string; value: string },
): { tags: Tags; begin: number; end: number } | undefined {
  const match = new RegExp(`<(\\w+)=${name}>\\s*<(\\w+)=${key}>\\s*${value}\\s*</\\2>\\s*</\\1>`).exec(written);
  if (!match) return undefined;
  const [whole, call, argument] = match;
  return { tags: { call, argument }, begin: match.index, end: match.index + whole.length };
}

/** Reads the calls of a text that are whole. A value may have tags within it, but for one that ends it and what follows a value. */
export function taggedCalls(text: string, { call, argument }: Tags): WrittenCall[] {
  const begin = new RegExp(`<${call}=([^>\\n]+)>`, 'g');
  const next = `<${argument}=[^>\\n]+>|</${call}>`;
  const value = new RegExp(`\\s*<${argument}=([^>\\n]+)>\\n?([^]*?)\\n?</${argument}>(?=\\s*(?:${next}))`, 'y');
  const end = new RegExp(`\\s*</${call}>`, 'y');
  const calls: WrittenCall[] = [];
  for (let match = begin.exec(text); match; match = begin.exec(text)) {
    const values: [string, string][] = [];
    let position = begin.lastIndex;
    for (;;) {
      value.lastIndex = position;
      const each = value.exec(text);
      if (!each) break;
      values.push([each[1], each[2]]);
      position = value.lastIndex;
    }
    end.lastIndex = position;
    if (!end.test(text)) continue;
    calls.push({ name: match[1], values });
    begin.lastIndex = end.lastIndex;
  }
  return calls;
}

/** Arguments as JSON; of a key that stands there twice, the last. @param schema of the tool */
export function argumentsOf({ values }: WrittenCall, schema: JsonSchema): string {
  const properties = isRecord(schema) && isRecord(schema.properties) ? schema.properties : {};
  const members = new Map<string, string>();
  for (const [key, text] of values) {
    const kinds = Object.hasOwn(properties, key) ? kindsOf(properties[key], schema) : undefined;
    members.set(key, jsonOf(text, kinds));
  }
  return `{${Array.from(members, ([key, json]) => `${JSON.stringify(key)}:${json}`).join(',')}}`;
}

// What a value may be; undefined where the schema does not say. References are followed as deep as schemas may be.
function kindsOf(given: unknown, document: unknown, depth = 0): string[] | undefined {
  if (!isRecord(given) || depth > LIMITS.schemaDepth) return undefined;
  const { $ref, type, enum: some, const: only, anyOf } = given;
  if (typeof $ref === 'string') return kindsOf(memberAt($ref, document), document, depth + 1);
  if (type !== undefined) return [type].flat().map((kind) => (kind === 'integer' ? 'number' : String(kind)));
  if (Array.isArray(some)) return some.map(kindOf);
  if (only !== undefined) return [kindOf(only)];
  if (!Array.isArray(anyOf)) return undefined;
  const kinds = anyOf.map((each) => kindsOf(each, document, depth + 1));
  return kinds.includes(undefined) ? undefined : kinds.flatMap((each) => each!);
}

const kindOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);

// What a reference within a document leads to.
function memberAt(reference: string, document: unknown): unknown {
  const [first, ...path] = reference.split('/');
  if (first !== '#') return undefined;
  const names = path.map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  return names.reduce<unknown>(
    (inner, name) => (isRecord(inner) && Object.hasOwn(inner, name) ? inner[name] : undefined),
    document,
  );
}

// JSON that a value stands for: its own where that is of a kind that may be, and no text; else a text.
function jsonOf(text: string, kinds: readonly string[] | undefined): string {
  const trimmed = text.trim();
  const json = WORDS.get(trimmed) ?? trimmed;
  try {
    const kind = kindOf(JSON.parse(json));
    if (kind !== 'string' && (kinds?.includes(kind) ?? true)) return json;
  } catch {
    // It is a text.
  }
  return JSON.stringify(text);
}

// As templates write what is no text.
const WORDS: ReadonlyMap<string, string> = new Map([
  ['True', 'true'],
  ['False', 'false'],
  ['None', 'null'],
]);
