// Which JSON Schemas are enforced. A grammar has the keywords that say which characters come; what compares values, such as `uniqueItems`, it has
// not. A strict schema with such a keyword is refused; of another one the keyword is a note.

import { show } from '../../excerpt.ts';
import { isRecord } from '../../text/files.ts';
import { refused } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/** A JSON schema. */
export type JsonSchema = boolean | Record<string, unknown>;

// Keywords with schemas as they are, in lists, and by name; with values; and with nothing to enforce.
const SCHEMA = ['items', 'additionalProperties'];
const LIST = ['anyOf', 'prefixItems'];
const NAMED = ['properties', '$defs', 'definitions'];
const PLAIN = [
  ...[
    'type',
    'enum',
    'const',
    '$ref',
    'required',
    'minItems',
    'maxItems',
    'minLength',
    'maxLength',
    'pattern',
    'format',
  ],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'],
];
const NOTES = [
  'title',
  'description',
  'default',
  'examples',
  '$schema',
  '$id',
  '$comment',
  'deprecated',
  'readOnly',
  'writeOnly',
  'nullable',
];
const KNOWN = new Set([...SCHEMA, ...LIST, ...NAMED, ...PLAIN]);
/** Keywords beside which the engine sees no other, in its order. */
const WHOLE = ['$ref', 'const', 'enum', 'anyOf'];
const TYPES = ['null', 'boolean', 'integer', 'number', 'string', 'array', 'object'];
/** Formats that the engine has grammars of. */
const FORMATS = ['date', 'time', 'date-time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uuid'];

/**
 * Checks a schema of a request.
 * @param isStrict refuses what cannot be enforced
 * @returns a copy, as the engine takes it
 * @throws {HttpError} 400 when it is malformed, too large, or more than is enforced
 */
export function checkedSchema(param: string, value: unknown, isStrict: boolean): JsonSchema {
  const json = JSON.stringify(value) ?? '';
  if (json.length > LIMITS.schemaBytes) {
    throw refused(`${param} must have at most ${LIMITS.schemaBytes} characters: it has ${json.length}`, param);
  }
  const root: unknown = JSON.parse(json === '' ? 'null' : json);
  let nodes = 0;
  let counted = 0;
  const pointers: string[] = [];

  function fail(reason: string): never {
    throw refused(`${param} must be a schema that can be enforced: ${reason}`, param);
  }
  function checkNames(names: readonly string[]): void {
    if (names.length > LIMITS.schemaProperties) {
      throw refused(
        `${param} must have at most ${LIMITS.schemaProperties} properties of an object: it has more`,
        param,
      );
    }
    const name = names.find((each) => JSON.stringify(each) !== `"${each}"`);
    if (name !== undefined) fail(`the name ${show(name)} does not stand in JSON as it is`);
  }
  function schemaOf(schema: unknown, depth: number): JsonSchema {
    if (schema === true) return true;
    if (schema === false) return fail('false allows nothing');
    if (!isRecord(schema)) throw refused(`${param} must be a JSON Schema: got ${show(schema)}`, param);
    if (++nodes > LIMITS.schemaNodes)
      throw refused(`${param} must have at most ${LIMITS.schemaNodes} schemas: it has more`, param);
    if (depth > LIMITS.schemaDepth)
      throw refused(`${param} must have at most ${LIMITS.schemaDepth} levels: it has more`, param);
    const result: Record<string, unknown> = {};
    for (const [key, member] of Object.entries(unified(schema))) {
      if (NOTES.includes(key)) continue;
      if (!KNOWN.has(key)) {
        if (isStrict) fail(`it has ${show(key)}`);
      } else if (SCHEMA.includes(key)) result[key] = typeof member === 'boolean' ? member : schemaOf(member, depth + 1);
      else if (LIST.includes(key)) {
        if (!Array.isArray(member) || member.length === 0) fail(`${key} is not a list of schemas`);
        result[key] = (member as unknown[]).map((each) => schemaOf(each, depth + 1));
      } else if (NAMED.includes(key)) {
        if (!isRecord(member)) fail(`${key} has no schemas by name`);
        checkNames(Object.keys(member as object));
        result[key] = Object.fromEntries(
          Object.entries(member as object).map(([name, each]) => [name, schemaOf(each, depth + 1)]),
        );
      } else plain(result, key, member);
    }
    return shaped(result);
  }
  // One of several where no two hold is any of them.
  function unified(schema: Record<string, unknown>): Record<string, unknown> {
    const { oneOf, allOf, ...rest } = schema;
    if (Array.isArray(allOf) && allOf.length === 1 && isRecord(allOf[0])) {
      const beside = { ...rest, ...(oneOf !== undefined && { oneOf }) };
      checkApart(allOf[0], beside);
      return unified({ ...allOf[0], ...beside });
    }
    if (allOf !== undefined && isStrict) fail('it has "allOf" of several');
    if (oneOf === undefined) return rest;
    if (isStrict && !areApart(oneOf)) fail('the members of "oneOf" differ neither in type nor in a constant');
    checkApart({ anyOf: oneOf }, rest);
    return { ...rest, anyOf: oneOf };
  }
  // Of a keyword that both have, one alone would be enforced.
  function checkApart(one: Record<string, unknown>, other: Record<string, unknown>): void {
    if (!isStrict) return;
    for (const [key, member] of Object.entries(one)) {
      if (NOTES.includes(key) || !Object.hasOwn(other, key)) continue;
      if (JSON.stringify(member) !== JSON.stringify(other[key]))
        fail(`it has ${show(key)} twice, beside "allOf" or "oneOf"`);
    }
  }
  function plain(target: Record<string, unknown>, key: string, member: unknown): void {
    if (key === 'type') {
      const types = [member].flat();
      if (types.length === 0 || types.some((type) => !TYPES.includes(type as string))) fail(`type is ${show(member)}`);
    } else if (key === 'enum') {
      if (!Array.isArray(member) || member.length === 0) fail('enum is not a list of values');
      else if (member.length > LIMITS.schemaEnum)
        throw refused(`${param} must have at most ${LIMITS.schemaEnum} values of an enum: it has more`, param);
    } else if (key === 'required') {
      if (!Array.isArray(member) || member.some((name) => typeof name !== 'string'))
        fail('required is not a list of names');
      else checkNames(member);
    } else if (key === '$ref') {
      if (typeof member !== 'string' || !/^#(\/.*)?$/.test(member))
        fail(`a reference leads elsewhere, to ${show(member)}`);
      pointers.push(member as string);
    } else if (key === 'pattern' && typeof member !== 'string') {
      fail('pattern is not a text');
    } else if (key === 'pattern' && !isPlainPattern(member as string)) {
      if (isStrict) fail(`pattern ${show(member)} has more than letters, classes, groups and counts`);
      return;
    } else if (key === 'format' && !FORMATS.includes(member as string)) {
      if (isStrict) fail(`format ${show(member)} is unknown`);
      return;
    } else if (key !== 'const' && key !== 'pattern' && key !== 'format') {
      const isCount = /^(min|max)(Items|Length)$/.test(key);
      if (typeof member !== 'number' || (isCount && !(Number.isInteger(member) && member >= 0)))
        fail(`${key} is ${show(member)}`);
      if (isCount && (member as number) > LIMITS.schemaCount) fail(`${key} is above ${LIMITS.schemaCount}`);
      if (isCount) counted += member as number;
      if (counted > LIMITS.schemaCounts)
        throw refused(`${param} must have lengths of at most ${LIMITS.schemaCounts} together: it has more`, param);
      if (!isCount && Math.abs(member as number) > Number.MAX_SAFE_INTEGER) fail(`${key} is ${show(member)}`);
    }
    target[key] = member;
  }
  // What the engine would take in another way.
  function shaped(merged: Record<string, unknown>): Record<string, unknown> {
    // The first of these is all that it follows.
    const whole = WHOLE.find((key) => merged[key] !== undefined);
    if (whole !== undefined && isStrict) {
      for (const key of Object.keys(merged)) {
        if (key === whole || key === '$defs' || key === 'definitions') continue;
        if (key === 'type' && isOfTypes({ [whole]: merged[whole] }, [merged.type].flat())) continue;
        fail(`it has ${show(key)} beside ${show(whole)}`);
      }
    }
    const ranges: [string, string, number][] = [
      ['minItems', 'maxItems', 0],
      ['minLength', 'maxLength', 0],
      ['minimum', 'maximum', 0],
    ];
    for (const [low, high] of ranges) {
      if (typeof merged[low] === 'number' && typeof merged[high] === 'number' && merged[low] > merged[high])
        fail(`${low} is above ${high}`);
    }
    if (merged.pattern !== undefined && (merged.minLength !== undefined || merged.maxLength !== undefined)) {
      if (isStrict) fail('it has "pattern" beside a length');
      delete merged.pattern;
    }
    const properties = isRecord(merged.properties) ? merged.properties : {};
    for (const name of (merged.required as string[] | undefined) ?? []) {
      if (!Object.hasOwn(properties, name)) {
        if (merged.additionalProperties === false) fail(`${show(name)} is required, and not allowed`);
        merged.properties = { ...(merged.properties as object | undefined), [name]: true };
      }
    }
    if (isRecord(merged.properties)) checkNames(Object.keys(merged.properties));
    // A further property could have the name of a known one: there are none beside known ones.
    if (isRecord(merged.properties) && Object.keys(merged.properties).length > 0) merged.additionalProperties = false;
    return merged;
  }

  const schema = schemaOf(root, 0);
  for (const pointer of pointers) if (!leads(schema, pointer)) fail(`a reference leads nowhere, ${show(pointer)}`);
  return schema;
}

// Whether a schema allows values of these types alone.
function isOfTypes(schema: unknown, types: readonly unknown[]): boolean {
  if (!isRecord(schema)) return false;
  const isOf = (value: unknown) => {
    if (Number.isInteger(value) && types.includes('integer')) return true;
    return types.includes(value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value);
  };
  if (schema.$ref !== undefined) return false;
  if (schema.const !== undefined) return isOf(schema.const);
  if (Array.isArray(schema.enum)) return schema.enum.every(isOf);
  if (Array.isArray(schema.anyOf)) return schema.anyOf.every((each) => isOfTypes(each, types));
  if (schema.type === undefined) return false;
  const isAmong = (type: unknown) => types.includes(type) || (type === 'integer' && types.includes('number'));
  return [schema.type].flat().every(isAmong);
}

// Whether a pointer within the document leads to a schema.
function leads(root: JsonSchema, pointer: string): boolean {
  let node: unknown = root;
  for (const key of pointer.slice(1).split('/').slice(1)) {
    const name = key.replaceAll('~1', '/').replaceAll('~0', '~');
    if (!isRecord(node) || !Object.hasOwn(node, name)) return false;
    node = node[name];
  }
  return node === true || isRecord(node);
}

// Schemas of which a value has one at most: of different types, or objects with different constants under one name.
function areApart(schemas: unknown): boolean {
  if (!Array.isArray(schemas) || !schemas.every(isRecord)) return false;
  const types = schemas.map(({ type }) => type);
  const isOne = (type: unknown) => typeof type === 'string' && type !== 'number';
  if (types.every(isOne) && new Set(types).size === types.length) return true;
  const constants = schemas.map(({ const: value }) => (value === undefined ? undefined : JSON.stringify(value)));
  if (!constants.includes(undefined) && new Set(constants).size === constants.length) return true;
  const names = Object.keys(isRecord(schemas[0].properties) ? schemas[0].properties : {});
  return names.some((name) => {
    const values = schemas.map(({ properties, required }) => {
      const property = isRecord(properties) ? properties[name] : undefined;
      const isNeeded = Array.isArray(required) && required.includes(name);
      return isNeeded && isRecord(property) && property.const !== undefined
        ? JSON.stringify(property.const)
        : undefined;
    });
    return !values.includes(undefined) && new Set(values).size === values.length;
  });
}

// A pattern whose texts stand in JSON as they are: no quote, no backslash, no control character comes of it. The engine runs it as an
// automaton: no pattern takes long.
function isPlainPattern(pattern: string): boolean {
  if (pattern.length > LIMITS.schemaPattern || !/^\^.*\$$/s.test(pattern)) return false;
  const inner = pattern.slice(1, -1);
  const counts = [...inner.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].flatMap(([, low, high]) => [
    Number(low),
    Number(high || 0),
  ]);
  // Counts within counts multiply.
  if (counts.reduce((product, count) => product * Math.max(1, count), 1) > LIMITS.schemaCount) return false;
  // Letters, escapes of what is special, \d and \w, classes of these, groups, counts.
  const element =
    /\\[dw.*+?()[\]{}|^$/-]|[A-Za-z0-9 _@#%&=:;,!~<>/'`-]|\[(?:\\[dw.*+?()[\]{}|^$/-]|[A-Za-z0-9 _@#%&=:;,!~<>/'`.+*?()$|-])+\]|\((?!\?)|\(\?:|\)|\||[*+?]|\{\d+(?:,\d*)?\}/y;
  for (let at = 0; at < inner.length; at = element.lastIndex) {
    element.lastIndex = at;
    if (!element.test(inner)) return false;
  }
  try {
    new RegExp(pattern, 'u');
    return true;
  } catch {
    return false;
  }
}
