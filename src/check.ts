// Argument guards. Message: subject, requirement, colon, what it is.

/** @throws {RangeError} unless `value` is an integer from `low` to `high`. */
export function checkInteger(subject: string, value: number, low: number, high = Number.MAX_SAFE_INTEGER): void {
  if (typeof value !== 'number') throw new TypeError(`${subject} must be a number: got ${typeof value}`);
  if (!Number.isInteger(value) || value < low || value > high) {
    const range =
      high === Number.MAX_SAFE_INTEGER ? `an integer of at least ${low}` : `an integer from ${low} to ${high}`;
    throw new RangeError(`${subject} must be ${range}: got ${value}`);
  }
}

/** @throws {RangeError} unless `value` is a power of two from `low` to `high`. */
export function checkPowerOfTwo(subject: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high || (value & (value - 1)) !== 0) {
    throw new RangeError(`${subject} must be a power of two from ${low} to ${high}: got ${value}`);
  }
}

/** @throws {TypeError} unless `value` is a Float32Array; {RangeError} unless it has `length` elements. */
export function checkFloats(subject: string, value: Float32Array, length: number): void {
  if (!(value instanceof Float32Array))
    throw new TypeError(`${subject} must be a Float32Array: got ${describe(value)}`);
  if (value.length !== length) throw new RangeError(`${subject} must have ${length} elements: got ${value.length}`);
}

function describe(value: unknown): string {
  return value === null ? 'null' : typeof value === 'object' ? (value.constructor?.name ?? 'object') : typeof value;
}
