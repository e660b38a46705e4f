// Bytes in and bytes out, in the fewest members that every runtime has.
// An ArrayBuffer is a Source as it stands; a WritableStreamDefaultWriter is a Sink as it stands.

/**
 * Random-access bytes: `slice(start, end)` gives a buffer with exactly the bytes `[start, end)` of `[0, byteLength)`.
 * The buffer becomes the reader's, who may transfer it to a worker. `spare` is a buffer of that size which the reader is done
 * with: it may be filled and given back instead of a new one.
 */
export interface Source {
  /** Size in bytes. */
  readonly byteLength: number;
  /** The bytes from `start` to before `end`. */
  slice(start: number, end: number, spare?: ArrayBuffer): ArrayBuffer | Promise<ArrayBuffer>;
  /** The same at once, for readers that cannot wait: experts that a pass needs. Left out where bytes come later only. */
  sliceSync?(start: number, end: number, spare?: ArrayBuffer): ArrayBuffer;
  /**
   * The same at once, to a place of that size in memory that may be shared: weights, which then are copied once. Left out where bytes come
   * in buffers of their own. Gives the bytes that it put there: all of them.
   */
  sliceInto?(start: number, end: number, to: Uint8Array): number;
  /** As `sliceInto`, later and while other work goes on. Left out where the runtime has no threads that do it. */
  sliceIntoLater?(start: number, end: number, to: Uint8Array): Promise<number>;
  /** Has bytes brought near that `sliceSync` will likely ask for, while other work goes on: gives nothing, and never fails. */
  prefetch?(start: number, end: number): void;
}

/** Ordered bytes out. Nothing may be written after `close` or `abort`. */
export interface Sink {
  /** Writes bytes after those before. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends it: what was written stays. */
  close(): Promise<void>;
  /** Gives it up: what was written may be removed. */
  abort(reason?: unknown): Promise<void>;
}

/** A flat set of named files to read: a checkpoint's directory, a map of buffers, a page's `File`s. */
export interface Folder {
  /** For messages: the path or a word that names the folder. */
  readonly name: string;
  /** File names, sorted by code unit; no directories. */
  list(): Promise<string[]>;
  /** @throws {FormatError} when there is no such file. */
  open(name: string): Promise<Source>;
  /**
   * Asserts that every file that was opened is as it was then: long work asks at its end. Left out where nothing can change.
   * @throws {FileError} names the file
   */
  unchanged?(): Promise<void>;
}

/** A place for named files to write. */
export interface OutputFolder {
  /** Starts a file that is not there yet. */
  create(name: string): Promise<Sink>;
}

/** An output whose files survive an interruption and can be gone on with. */
export interface ResumableFolder extends OutputFolder, Folder {
  /** Cuts a file to its first `byteLength` bytes and goes on writing behind them. */
  extend(name: string, byteLength: number): Promise<Sink>;
  /** Removes a file, if it is there. */
  remove(name: string): Promise<void>;
}
