// Values that no function expects, by name. Each is made anew, since some are spent by use: buffers that are given away, iterators.

import { runInNewContext } from 'node:vm';

/** What hostile functions throw; it may come through, for a caller's own errors do. */
export const THROWN = 'thrown by a hostile value';

const fail = (): never => {
  throw new Error(THROWN);
};

// What is read, called or asked of these throws.
const throwing = () => new Proxy({}, { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail });
const revoked = (target: object) => {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
};
const detached = () => {
  const array = new Float32Array(64);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
};
function* endless() {
  for (;;) yield 1;
}
const cyclic = () => {
  const array: unknown[] = [1];
  array.push(array);
  return array;
};

/** Ways to make a hostile value, by what it is. */
export const HOSTILE: Readonly<Record<string, () => unknown>> = {
  null: () => null,
  undefined: () => undefined,
  true: () => true,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  'minus zero': () => -0,
  'minus one': () => -1,
  half: () => 0.5,
  '2^31': () => 2 ** 31,
  '2^53': () => 2 ** 53,
  '1e9': () => 1e9,
  '1e308': () => 1e308,
  'a bigint': () => 1n,
  'a large bigint': () => 10n ** 400n,
  'a symbol': () => Symbol('hostile'),
  'an empty string': () => '',
  'a string': () => 'hostile',
  'a digit': () => '7',
  'a NUL': () => 'a\0b',
  __proto__: () => '__proto__',
  constructor: () => 'constructor',
  'an escape sequence': () => '\u001b[2J\u009b31m\u202e',
  'a lone surrogate': () => '\ud800',
  'a long string': () => 'x'.repeat(10_000),
  'a function': () => () => undefined,
  'a function that throws': () => fail,
  'a function of nonsense': () => () => ({ length: -1, byteLength: 'x' }),
  'a class': () => class Hostile {},
  'an object': () => ({}),
  'an object without a prototype': () => Object.create(null),
  'a frozen object': () => Object.freeze({ hostile: true }),
  'an unknown member': () => ({ hostil_e: 1 }),
  'a length of 1e9': () => ({ length: 1e9 }),
  'a length of -1': () => ({ length: -1 }),
  'a length of NaN': () => ({ length: Number.NaN }),
  'a length of 3': () => ({ length: 3 }),
  'a thenable': () => Object.fromEntries([['then', () => {}]]),
  'a getter that throws': () => Object.defineProperty({}, 'length', { get: fail, enumerable: true }),
  'a conversion that throws': () => ({ toString: fail, valueOf: fail, [Symbol.toPrimitive]: fail }),
  'a tag that throws': () => Object.defineProperty({}, Symbol.toStringTag, { get: fail }),
  'a proxy that throws': throwing,
  'a revoked proxy': () => revoked({}),
  'a revoked proxy of an array': () => revoked([]),
  'a proxy of endless ones': () => new Proxy([], { get: (_, key) => (key === 'length' ? 1e9 : 1) }),
  'an empty array': () => [],
  'a hole': () => new Array(1),
  'an array of 1e9 holes': () => new Array(1e9),
  'an array of NaN': () => [Number.NaN],
  'an array of -1': () => [-1],
  'an array of strings': () => ['x', 'y'],
  'an array of null': () => [null],
  'an array of proxies': () => [throwing()],
  'an array in itself': cyclic,
  'no floats': () => new Float32Array(0),
  doubles: () => new Float64Array(3).fill(Number.NaN),
  words: () => new Uint16Array(64),
  bigints: () => new BigInt64Array(2),
  'floats of another realm': () => runInNewContext('new Float32Array(64)'),
  'floats that are gone': detached,
  'floats that lie': () => Object.defineProperty(new Float32Array(64), 'length', { value: 1e9 }),
  'shared floats': () => new Float32Array(new SharedArrayBuffer(256)),
  'shared memory': () => new SharedArrayBuffer(64),
  'an ArrayBuffer': () => new ArrayBuffer(64),
  'a DataView': () => new DataView(new ArrayBuffer(8)),
  'a Buffer': () => Buffer.from('hostile'),
  'a Map': () => new Map<unknown, unknown>([[1, 2]]),
  'a Map of another realm': () => runInNewContext('new Map([["x", 1]])'),
  'a Set': () => new Set(['x']),
  'a Date of no time': () => new Date(Number.NaN),
  'a regular expression': () => /x/gy,
  'an Error': () => new Error('hostile'),
  'a Promise': () => Promise.resolve({}),
  'a URL': () => new URL('http://127.0.0.1:9/'),
  'an aborted signal': () => AbortSignal.abort(),
  'an endless iterator': endless,
  'an iterator that throws': () => ({ [Symbol.iterator]: () => ({ next: fail }) }),
  'an iterator of nothing': () => ({ [Symbol.iterator]: () => ({ next: () => undefined }) }),
  'a folder of nonsense': () => ({ name: 'hostile', list: () => [1, null], open: () => ({}), create: () => 5 }),
  'a folder of shorter files': () => ({
    name: 'hostile',
    list: async () => ['model.safetensors', 'config.json', 'tokenizer.json'],
    open: async () => ({ byteLength: 1e6, slice: () => 'x' }),
  }),
  'a pool of nonsense': () => ({ size: 2, run: () => 5, close: () => {} }),
  'threads of nonsense': () => ({ size: 2, take: () => {}, start: () => {}, close: () => {} }),
  'a grid of nonsense': () => ({
    name: 'p1n4',
    p: 1,
    n: 4,
    bits: 2,
    mse: 'x',
    points: { length: 4, every: () => true },
  }),
  'half a class': () => new (class Half { list() {} slice() {} encode() {} })(), // biome-ignore format: one thing
};
