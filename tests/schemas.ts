// Whether a value is what a JSON Schema says: a validator of the keywords that tests use, independent of the engine that follows schemas.

import { isDeepStrictEqual } from 'node:util';

type Schema = boolean | Record<string, unknown>;

const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;

/** @throws {Error} when the schema has a keyword that is not known here */
export function validates(schema: Schema, value: unknown): boolean {
  if (typeof schema === 'boolean') return schema;
  const kind = kindOf(value);
  const checks: Record<string, (given: never) => boolean> = {
    type: (types: string | string[]) =>
      [types].flat().some((type) => type === kind || (type === 'number' && kind === 'integer')),
    enum: (values: unknown[]) => values.some((each) => isDeepStrictEqual(each, value)),
    const: (wanted: unknown) => isDeepStrictEqual(wanted, value),
    anyOf: (schemas: Schema[]) => schemas.some((each) => validates(each, value)),
    minLength: (least: number) => typeof value !== 'string' || [...value].length >= least,
    maxLength: (most: number) => typeof value !== 'string' || [...value].length <= most,
    minimum: (least: number) => typeof value !== 'number' || value >= least,
    maximum: (most: number) => typeof value !== 'number' || value <= most,
    multipleOf: (step: number) => typeof value !== 'number' || Number.isInteger(value / step),
    items: (each: Schema) => !Array.isArray(value) || value.every((element) => validates(each, element)),
    minItems: (least: number) => !Array.isArray(value) || value.length >= least,
    maxItems: (most: number) => !Array.isArray(value) || value.length <= most,
    properties: (schemas: Record<string, Schema>) =>
      kind !== 'object' ||
      Object.entries(value as object).every(
        ([key, each]) => !Object.hasOwn(schemas, key) || validates(schemas[key], each),
      ),
    required: (keys: string[]) => kind !== 'object' || keys.every((key) => Object.hasOwn(value as object, key)),
    additionalProperties: (allowed: false) =>
      allowed ||
      kind !== 'object' ||
      Object.keys(value as object).every((key) => Object.hasOwn((schema.properties ?? {}) as object, key)),
  };
  return Object.entries(schema).every(([key, given]) => {
    if (!checks[key]) throw new Error(`this validator does not know ${key}`);
    return checks[key](given as never);
  });
}
