// The pairs of a GGUF file, each checked as it is asked for. Those of its architecture go without that name in front.

import { FormatError, UnsupportedError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { MetadataValue } from './header.ts';

/** An object of JSON, as config.json and tokenizer.json have them. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** What the pairs say. */
export interface Values {
  /** The file's name, for messages. */
  readonly file: string;
  /** `general.architecture`. */
  readonly architecture: string;
  /** Throw a FormatError that names the pair if it is of another kind; `otherwise` where it is not there. */
  number(key: string): number;
  /** A number, or `otherwise` where there is none. */
  number<T>(key: string, otherwise: T): number | T;
  /** An integer. */
  integer(key: string): number;
  /** An integer, or `otherwise` where there is none. */
  integer<T>(key: string, otherwise: T): number | T;
  /** True or false. */
  flag(key: string): boolean | undefined;
  /** A text. */
  text(key: string): string | undefined;
  /** A list of texts. */
  texts(key: string): readonly string[] | undefined;
  /** Numbers or flags. */
  numbers(key: string): Float64Array | undefined;
  /** One for all layers, or one each. */
  perLayer(key: string, layers: number): number[] | undefined;
  /** All pairs by their whole names. */
  readonly all: ReadonlyMap<string, MetadataValue>;
  /** @throws {FormatError} that names the file */
  fail(message: string): never;
  /** @throws {UnsupportedError} that names the file and the feature */
  unsupported(feature: string, message: string): never;
}

/** @throws {FormatError} when no architecture is named */
export function valuesOf(pairs: ReadonlyMap<string, MetadataValue>, file: string): Values {
  const architecture = pairs.get('general.architecture');
  const fail = (message: string): never => {
    throw new FormatError(message, { file });
  };
  if (typeof architecture !== 'string') return fail(`general.architecture must be a text: got ${show(architecture)}`);
  const nameOf = (key: string) => (/^(general|tokenizer|split)\./.test(key) ? key : `${architecture}.${key}`);
  const read = <T extends MetadataValue>(
    key: string,
    must: string,
    holds: (value: MetadataValue) => boolean,
  ): T | undefined => {
    const value = pairs.get(nameOf(key));
    if (value === undefined || holds(value)) return value as T | undefined;
    return fail(`${nameOf(key)} must be ${must}: got ${show(value)}`);
  };
  const needed = <T>(key: string, value: number | undefined, rest: readonly T[]): number | T =>
    value ?? (rest.length > 0 ? rest[0] : fail(`metadata must have ${nameOf(key)}: it is missing`));
  const number = (key: string) => read<number>(key, 'a number', (value) => Number.isFinite(value));
  const integer = (key: string) => read<number>(key, 'an integer', (value) => Number.isSafeInteger(value));
  const numbers = (key: string) =>
    read<Float64Array>(key, 'a list of numbers', (value) => value instanceof Float64Array);
  return {
    ...{ file, architecture, all: pairs, fail, numbers },
    number: <T>(key: string, ...rest: readonly T[]) => needed(key, number(key), rest),
    integer: <T>(key: string, ...rest: readonly T[]) => needed(key, integer(key), rest),
    flag: (key) => read(key, 'true or false', (value) => typeof value === 'boolean'),
    text: (key) => read(key, 'a text', (value) => typeof value === 'string'),
    texts: (key) => read(key, 'a list of texts', (value) => Array.isArray(value)),
    perLayer(key, layers) {
      const value = pairs.get(nameOf(key));
      if (!(value instanceof Float64Array)) {
        const one = integer(key);
        return one === undefined ? undefined : Array<number>(layers).fill(one);
      }
      if (value.length >= layers) return [...value.subarray(0, layers)];
      return fail(`${nameOf(key)} must have a value for each of ${layers} layers: it has ${value.length}`);
    },
    unsupported(feature, message) {
      throw new UnsupportedError(feature, message, { file });
    },
  };
}
