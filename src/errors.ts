// The errors this package raises. TypeError: wrong kind of argument. RangeError: wrong value.
// FormatError: the file is malformed. UnsupportedError: the file is fine, we do not handle it. FileError: it cannot be had.

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

/** A file is malformed. Its message opens with the file and the tensor, where they are known. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  static override [Symbol.hasInstance] = named('FormatError');
  readonly file: string | undefined;
  readonly tensor: string | undefined;
  readonly byteOffset: number | undefined;
  readonly reason: string | undefined;

  constructor(message: string, place: Place = {}) {
    super(locate(message, place));
    this.reason = place.reason;
    this.file = place.file;
    this.tensor = place.tensor;
    this.byteOffset = place.byteOffset;
  }
}

/** A file or an environment is fine but not handled; `feature` names what is missing. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
  static override [Symbol.hasInstance] = named('UnsupportedError');
  readonly feature: string;

  constructor(feature: string, message: string, place: Place = {}) {
    super(locate(message, place));
    this.feature = feature;
  }
}

/** A system or a server refused something about a file: `cannot write out/x.safetensors: no space left on device (ENOSPC)`. */
export class FileError extends Error {
  override readonly name = 'FileError';
  static override [Symbol.hasInstance] = named('FileError');
  /** Path or URL. */
  readonly path: string;
  /** The system's code such as `ENOSPC`, the server's status; undefined where the fault was found here. */
  readonly code: string | undefined;

  /**
   * @param action what was tried: `read`, `write`
   * @param reason why it failed, in words
   */
  constructor(action: string, path: string, code: string | undefined, reason: string) {
    super(oneLine(`cannot ${action} ${path}: ${reason}${code === undefined ? '' : ` (${code})`}`));
    this.path = path;
    this.code = code;
  }
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
