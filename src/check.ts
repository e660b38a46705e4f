// What callers give, read once and checked. A `Reader` takes a value and returns it as the type that it must be. Readers compose:
// an options object has one schema, which reads like its specification, and the compiler holds the schema to the interface,
// member by member and type by type. (Interfaces stay written out: they carry the documentation that editors show.)
// A TypeError tells of the wrong kind, a RangeError of the wrong value. Accessors and proxies may throw, arrays may be of another
// realm, lengths may lie: whatever comes, the error is ours and names its subject.

import { EXCERPT_LIMIT, printable, show } from './excerpt.ts';

/** A TypeError of ours. Its `reason` tells it from the engine's, which are bugs, in other bundles, too. */
export function argumentError(message: string, options?: ErrorOptions): TypeError {
  return Object.defineProperty(new TypeError(message, options), 'reason', { value: 'argument' });
}

/** @returns the value, as a T @throws {TypeError} for the wrong kind @throws {RangeError} for the wrong value */
export type Reader<T> = (subject: string, value: unknown) => T;

/** Reads a member that must be there. */
export type Needed<T> = Reader<T> & { readonly isNeeded: true };

/** A reader for each member of a T: a `Needed` one where the interface demands the member. */
export type Schema<T> = {
  readonly [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? Reader<Exclude<T[K], undefined>> : Needed<T[K]>;
};

/** @throws {TypeError} that names the subject, what it must be, and what came */
export function refuseKind(subject: string, requirement: string, value: unknown): never {
  throw argumentError(`${printable(subject)} must be ${requirement}: got ${show(value)}`);
}

/** @throws {RangeError} that names the subject, what it must be, and what came */
export function refuseValue(subject: string, requirement: string, value: unknown): never {
  throw new RangeError(`${printable(subject)} must be ${requirement}: got ${show(value)}`);
}

/** Marks the reader of a member that must be there: it sees undefined, too. */
export function needed<T>(reader: Reader<T>): Needed<T> {
  return Object.assign((subject: string, value: unknown) => reader(subject, value), { isNeeded: true } as const);
}

// --- plain values

/** A string. */
export const text: Reader<string> = (subject, value) =>
  typeof value === 'string' ? value : refuseKind(subject, 'a string', value);

/** True or false. */
export const flag: Reader<boolean> = (subject, value) =>
  typeof value === 'boolean' ? value : refuseKind(subject, 'true or false', value);

/** A function; which one is for the caller's compiler to say. */
export const callback = <F>(subject: string, value: unknown): F =>
  typeof value === 'function' ? (value as F) : refuseKind(subject, 'a function', value);

/** A number whose range is not known yet. */
export const anyNumber: Reader<number> = (subject, value) =>
  typeof value === 'number' ? value : refuseKind(subject, 'a number', value);

const isInteger = (value: number, low: number, high: number) =>
  Number.isInteger(value) && value >= low && value <= high;

/** An integer from `low` to `high`. */
export function integer(low: number, high = Number.MAX_SAFE_INTEGER): Reader<number> {
  const range = high === Number.MAX_SAFE_INTEGER ? `of at least ${low}` : `from ${low} to ${high}`;
  return (subject, value) =>
    isInteger(anyNumber(subject, value), low, high)
      ? (value as number) + 0 // not -0
      : refuseValue(subject, `an integer ${range}`, value);
}

/** A power of two from `low` to `high`. */
export function powerOfTwo(low: number, high: number): Reader<number> {
  return (subject, value) => {
    const n = anyNumber(subject, value);
    if (isInteger(n, low, high) && (n & (n - 1)) === 0) return n;
    return refuseValue(subject, `a power of two from ${low} to ${high}`, n);
  };
}

/** A number from `low` to `high`, which is none if left out; with `isAbove`, not `low` itself. */
export function number(low: number, high = Number.MAX_VALUE, isAbove = false): Reader<number> {
  const upTo = high === Number.MAX_VALUE ? '' : isAbove ? ` and up to ${high}` : ` to ${high}`;
  const range = isAbove ? `above ${low}${upTo}` : upTo ? `from ${low}${upTo}` : `of at least ${low}`;
  return (subject, value) => {
    const x = anyNumber(subject, value);
    return x <= high && (isAbove ? x > low : x >= low) ? x : refuseValue(subject, `a number ${range}`, x);
  };
}

/** A number that is neither NaN nor infinite. */
export const finite: Reader<number> = (subject, value) =>
  Number.isFinite(anyNumber(subject, value)) ? (value as number) : refuseValue(subject, 'a finite number', value);

/** One of some strings or numbers. */
export function oneOf<const T extends string | number>(...accepted: readonly T[]): Reader<T> {
  return (subject, value) =>
    accepted.find((each) => each === value) ?? refuseValue(subject, accepted.map(show).join(' or '), value);
}

/** What `reader` reads, or null. */
export function nullable<T>(reader: Reader<T>): Reader<T | null> {
  return (subject, value) => (value === null ? null : reader(subject, value));
}

// --- objects

/** Runs what may run a caller's code: an accessor, a trap of a proxy, an iterator. @throws {TypeError} when that throws */
export function reading<T>(subject: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    unreadable(subject, cause);
  }
}

function unreadable(subject: string, cause: unknown): never {
  throw argumentError(`${printable(subject)} must be readable: reading it throws`, { cause });
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** A member of an object that is not ours. */
export function member(subject: string, value: object, key: PropertyKey): unknown {
  try {
    return (value as Record<PropertyKey, unknown>)[key];
  } catch (cause) {
    return unreadable(subject, cause);
  }
}

/** The kind that JavaScript itself sees: `Object`, `Date`, `URL`; the same in every realm. */
export function classOf(subject: string, value: unknown): string {
  return reading(subject, () => Object.prototype.toString.call(value).slice(8, -1));
}

// Members by a schema. @param path stands before their names
function readMembers<T>(schema: Schema<T>, path: string, get: (key: string) => unknown): T {
  const members: Record<string, unknown> = {};
  for (const key in schema) {
    const reader: Reader<unknown> & { isNeeded?: true } = schema[key];
    const given = get(key);
    if (given !== undefined || reader.isNeeded) members[key] = reader(path + key, given);
  }
  return members as T;
}

/**
 * An options object: no member but the schema's, misspelt ones are refused by name. Undefined is an empty one. Its members are
 * subjects by their own names.
 */
export function optionsOf<T extends object>(schema: Schema<T>): Reader<T> {
  return (subject, value = {}) => {
    if (!isObject(value) || classOf(subject, value) !== 'Object') refuseKind(subject, 'a plain object', value);
    for (const key of reading(subject, () => Object.keys(value))) {
      if (Object.hasOwn(schema, key)) continue;
      const allowed = Object.keys(schema);
      const meant = allowed.find((name) => lettersOf(name) === lettersOf(key));
      const names = meant === undefined ? allowed.join(', ') : `such as ${meant}`;
      throw argumentError(`${subject} must have only known members, ${names}: got ${show(key)}`);
    }
    return readMembers(schema, '', (key) => member(subject, value, key));
  };
}

const lettersOf = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/**
 * An object of data: what the schema does not name is left out. A Map, as JSON of files is parsed to, must have no other members, and
 * those are subjects by their own names.
 */
export function object<T extends object>(description: string, schema: Schema<T>): Reader<T> {
  return (subject, value) => {
    if (!isObject(value)) refuseKind(subject, description, value);
    if (!reading(subject, () => value instanceof Map)) {
      return readMembers(schema, `${subject}.`, (key) => member(subject, value, key));
    }
    const map = reading(subject, () => new Map(value as Map<string, unknown>));
    for (const key of map.keys()) {
      if (!Object.hasOwn(schema, key)) throw argumentError(`${subject} must have only known members: got ${show(key)}`);
    }
    return readMembers(schema, '', (key) => map.get(key));
  };
}

/** An object known by its methods. @param advice where such objects come from */
export function having<T extends object>(
  description: string,
  methods: readonly (keyof T & string)[],
  advice = '',
): Reader<T> {
  const requirement = `${description}, an object with ${methods.map((name) => `${name}()`).join(', ')}${advice}`;
  return (subject, value) => {
    const has = (name: string) => typeof member(subject, value as object, name) === 'function';
    return isObject(value) && methods.every(has) ? (value as T) : refuseKind(subject, requirement, value);
  };
}

/** An AbortSignal. */
export const signalOf: Reader<AbortSignal> = having('an AbortSignal', ['throwIfAborted', 'addEventListener']);

/** A regular expression; a copy, whose state is its own. */
export const pattern: Reader<RegExp> = (subject, value) => {
  if (classOf(subject, value) !== 'RegExp') refuseKind(subject, 'a regular expression', value);
  return reading(subject, () => new RegExp((value as RegExp).source, (value as RegExp).flags));
};

// --- lists

/** Elements of an iterable that is no string, at most `limit` of them; as an array. @throws {RangeError} when there are more */
export function list<T>(reader: Reader<T>, limit: number, description = 'a list'): Reader<T[]> {
  return (subject, value) => {
    if (!isObject(value) || typeof member(subject, value, Symbol.iterator) !== 'function')
      refuseKind(subject, description, value);
    const elements: unknown[] = [];
    reading(subject, () => {
      for (const element of value as Iterable<unknown>) if (elements.push(element) > limit) break;
    });
    if (elements.length > limit) throw new RangeError(`${subject} must have at most ${limit} elements: got more`);
    return elements.map((element, i) => reader(`${subject}[${i}]`, element));
  };
}

/** Two elements. */
export function pair<A, B>(first: Reader<A>, second: Reader<B>): Reader<[A, B]> {
  const both = list<unknown>((_, value) => value, 2, 'a pair');
  return (subject, value) => {
    const pair = both(subject, value);
    return [first(`${subject}[0]`, pair[0]), second(`${subject}[1]`, pair[1])];
  };
}

/** A Map, or other pairs, by strings. */
export function mapOf<T>(reader: Reader<T>, limit: number): Reader<Map<string, T>> {
  const entries = list<unknown>((_, value) => value, limit, 'a Map');
  return (subject, value) => {
    const entriesRead = new Map<string, T>();
    for (const entry of entries(subject, value)) {
      if (!isObject(entry)) refuseKind(subject, 'a Map', value);
      const key = text(`key of ${subject}`, member(subject, entry, 0));
      entriesRead.set(key, reader(`${subject}["${key.slice(0, EXCERPT_LIMIT)}"]`, member(subject, entry, 1)));
    }
    return entriesRead;
  };
}

/** The members of an object, by name, or a Map. */
export function recordOf<T>(reader: Reader<T>, limit: number): Reader<Map<string, T>> {
  const map = mapOf(reader, limit);
  return (subject, value) => {
    if (!isObject(value) || typeof member(subject, value, Symbol.iterator) === 'function') return map(subject, value);
    return map(
      subject,
      reading(subject, () => Object.entries(value)),
    );
  };
}

/** Most token ids of a call: a text of some 300 MB. */
const IDS_LIMIT = 1 << 26;

/** How many token ids a list has: an array, a typed array, or whatever else has a length. */
function idCount(subject: string, value: unknown, description = 'a list of token ids'): number {
  const length = isObject(value) ? member(subject, value, 'length') : undefined;
  if (typeof length !== 'number') refuseKind(subject, description, value);
  return integer(0, IDS_LIMIT)(`length of ${subject}`, length);
}

/** Token ids, integers from `low` to `high`, as an array. */
export function givenIds(
  subject: string,
  value: unknown,
  { what: description = 'a list of token ids', low = 0, high = Number.MAX_SAFE_INTEGER } = {},
): number[] {
  const length = idCount(subject, value, description);
  const ids: number[] = [];
  for (let i = 0; i < length; i++) {
    const id = member(subject, value as object, i) as number;
    if (!isInteger(id, low, high)) integer(low, high)(`${subject}[${i}]`, id);
    ids.push(id);
  }
  return ids;
}

/** An id of a vocabulary. */
export const tokenId: Reader<number> = integer(0);

// --- bytes

type TypedArray = Float32Array | Uint8Array | Uint16Array;

// Accessors that see the array itself, of whatever realm, whatever its own members say.
const accessor = (key: PropertyKey) =>
  Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), key)!.get!;
const kindOf = accessor(Symbol.toStringTag);
const bufferOf = accessor('buffer');
const offsetOf = accessor('byteOffset');
const lengthOf = accessor('length');

/** Whether a value is a typed array, of any realm. */
export const isTypedArray = (value: unknown): boolean => kindOf.call(value) !== undefined;

/**
 * A typed array as one of this realm, over the same memory.
 * @param count of elements, if it is known
 * @throws {RangeError} when it has another number of elements
 */
export function typedArray<T extends TypedArray>(
  type: { readonly name: string; new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): T },
  count?: number,
  unit = 'elements',
): Reader<T> {
  return (subject, value) => {
    if (kindOf.call(value) !== type.name) refuseKind(subject, `a ${type.name}`, value);
    const length: number = lengthOf.call(value);
    if (count !== undefined && length !== count)
      throw new RangeError(`${subject} must have ${count} ${unit}: got ${length}`);
    // Of a buffer that was given away there is nothing left to view.
    return length === 0 ? new type(new ArrayBuffer(0)) : new type(bufferOf.call(value), offsetOf.call(value), length);
  };
}

/** A Uint8Array. */
export const bytesOf: Reader<Uint8Array> = typedArray(Uint8Array);

/** Text, or bytes of UTF-8; what is shared with other threads is copied, as decoders do not take it. */
export const textOrBytes: Reader<string | Uint8Array> = (subject, value) => {
  if (typeof value === 'string') return value;
  if (!isTypedArray(value)) refuseKind(subject, 'a string or a Uint8Array', value);
  const view = bytesOf(subject, value);
  return view.buffer instanceof ArrayBuffer ? view : new Uint8Array(view);
};

/** An ArrayBuffer, of any realm; of shared memory a copy. Undefined for anything else. */
export function bufferFrom(subject: string, value: unknown): ArrayBuffer | undefined {
  const tag = classOf(subject, value);
  if (tag === 'ArrayBuffer') return value as ArrayBuffer;
  return tag === 'SharedArrayBuffer' ? new Uint8Array(new Uint8Array(value as SharedArrayBuffer)).buffer : undefined;
}
