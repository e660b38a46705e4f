// The errors this package raises. TypeError: wrong kind of argument. RangeError: wrong value.
// FormatError: the file is malformed. UnsupportedError: the file is fine, we do not handle it. FileError: it cannot be had.
// StateError: an object cannot do this now, closed or in use as it is.

import { integer, object, type Reader, text } from './check.ts';
import { oneLine, show } from './excerpt.ts';

/** Where in a file something was found wrong. */
export interface Place {
  /** The file's name, as the caller gave it. */
  file?: string;
  /** The tensor's name. */
  tensor?: string;
  /** Offset in bytes from the start of the file. */
  byteOffset?: number;
  /** A word for the kind of fault, where a caller may want to go on from it. */
  reason?: string;
}

const placeOf: Reader<Place> = object<Place>('an object', {
  file: text,
  tensor: text,
  byteOffset: integer(0),
  reason: text,
});

/** A file is malformed. Its message opens with the file and the tensor, where they are known. */
export class FormatError extends Error {
  /** The class's name. */
  override readonly name = 'FormatError';
  /** Tells errors of this kind by name: those of another bundle count, too. */
  static override [Symbol.hasInstance] = named('FormatError');
  /** The file's name, where it is known. */
  readonly file: string | undefined;
  /** The tensor's name, where it is known. */
  readonly tensor: string | undefined;
  /** Bytes from the start of the file to the fault, where that is known. */
  readonly byteOffset: number | undefined;
  /** A word for the kind of fault, where a caller may want to continue. */
  readonly reason: string | undefined;

  /** @throws {TypeError} when message or place is of another kind */
  constructor(message: string, place: Place = {}) {
    super(locate(text('message', message), placeOf('place', place)));
    this.reason = place.reason;
    this.file = place.file;
    this.tensor = place.tensor;
    this.byteOffset = place.byteOffset;
  }
}

/** A file or an environment is fine but not handled; `feature` names what is missing. */
export class UnsupportedError extends Error {
  /** The class's name. */
  override readonly name = 'UnsupportedError';
  /** Tells errors of this kind by name: those of another bundle count, too. */
  static override [Symbol.hasInstance] = named('UnsupportedError');
  /** What is not handled, in a few words, such as `GGUF weights Q2_K`. */
  readonly feature: string;

  /** @throws {TypeError} when feature, message or place is of another kind */
  constructor(feature: string, message: string, place: Place = {}) {
    super(locate(text('message', message), placeOf('place', place)));
    this.feature = text('feature', feature);
  }
}

/** A system or a server refused something about a file: `cannot write out/x.safetensors: no space left on device (ENOSPC)`. */
export class FileError extends Error {
  /** The class's name. */
  override readonly name = 'FileError';
  /** Tells errors of this kind by name: those of another bundle count, too. */
  static override [Symbol.hasInstance] = named('FileError');
  /** Path or URL. */
  readonly path: string;
  /** The system's code such as `ENOSPC`, the server's status; undefined where the fault was found here. */
  readonly code: string | undefined;

  /**
   * @param action what was tried: `read`, `write`
   * @param reason why it failed, in words
   * @throws {TypeError} when one of them is of another kind
   */
  constructor(action: string, path: string, code: string | undefined, reason: string) {
    const suffix = code === undefined ? '' : ` (${text('code', code)})`;
    super(oneLine(`cannot ${text('action', action)} ${text('path', path)}: ${text('reason', reason)}${suffix}`));
    this.path = path;
    this.code = code;
  }
}

/** An object cannot do what is asked of it now: it is closed, or in use. `model must be open: it is closed`. */
export class StateError extends Error {
  /** The class's name. */
  override readonly name = 'StateError';
  /** Tells errors of this kind by name: those of another bundle count, too. */
  static override [Symbol.hasInstance] = named('StateError');

  /** @throws {TypeError} when the message is of another kind */
  constructor(message: string) {
    super(oneLine(text('message', message)));
  }
}

/** @returns the error of what is closed for good */
export function closed(subject: string): StateError {
  return new StateError(`${subject} must be open: it is closed`);
}

// Each bundle of the package has classes of its own: an error is known by its name.
function named(name: string): (value: unknown) => boolean {
  return (value) => value instanceof Error && value.name === name;
}

// Whatever a file or its name holds, the message is one printable line.
function locate(message: string, { file, tensor }: Place): string {
  const parts = [file, tensor === undefined ? undefined : `tensor ${show(tensor)}`, message];
  return oneLine(parts.filter((part) => part !== undefined).join(': '));
}
