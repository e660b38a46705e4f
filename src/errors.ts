// The errors this package raises. TypeError: wrong kind of argument. RangeError: wrong value.
// FormatError: the file is malformed. UnsupportedError: the file is fine, we do not handle it.

/** Where in a file something was found wrong. */
export interface Place {
  /** The file's name, as the caller gave it. */
  file?: string;
  /** The tensor's name. */
  tensor?: string;
  /** Offset in bytes from the start of the file. */
  byteOffset?: number;
}

/** A file is malformed. Its message opens with the file and the tensor, where they are known. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  readonly file: string | undefined;
  readonly tensor: string | undefined;
  readonly byteOffset: number | undefined;

  constructor(message: string, place: Place = {}) {
    super(locate(message, place));
    this.file = place.file;
    this.tensor = place.tensor;
    this.byteOffset = place.byteOffset;
  }
}

/** A file or an environment is fine but not handled; `feature` names what is missing. */
export class UnsupportedError extends Error {
  override readonly name = 'UnsupportedError';
  readonly feature: string;

  constructor(feature: string, message: string, place: Place = {}) {
    super(locate(message, place));
    this.feature = feature;
  }
}

function locate(message: string, { file, tensor }: Place): string {
  return [file, tensor === undefined ? undefined : `tensor ${JSON.stringify(tensor)}`, message]
    .filter((part) => part !== undefined)
    .join(': ');
}
