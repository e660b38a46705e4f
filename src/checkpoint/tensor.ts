// A tensor of a checkpoint, whatever container has it: who reads weights knows nothing else. Another container, or weights in
// another code that are decoded as they are read, is another `read`.

import type { Place } from '../errors.ts';
import type { Source } from '../source/source.ts';

/** A tensor, and the way to its bytes. */
export interface CheckpointTensor {
  /** As the checkpoint has it. */
  readonly name: string;
  /** As safetensors names it; perhaps one that `bitsOf` does not know. */
  readonly dtype: string;
  /** Its sizes, the last one that of a row. */
  readonly shape: readonly number[];
  /** Size of the data in bytes, as `read` gives it. */
  readonly byteLength: number;
  /** The name of the file that holds it, for messages. */
  readonly file: string;
  /** Of weights that are scaled by blocks, the factors: a tensor of the checkpoint too, not checked. */
  readonly factors?: CheckpointTensor | undefined;
  /** Of weights that are F8 in the file and decoded as they are read: the tensor as it stands there, which its checksum is of. */
  readonly stored?: CheckpointTensor;
  /** Of weights that GGUF has in blocks, how they stand in the file: as `read` gives them they are F32. */
  readonly encoded?: { readonly dtype: string; readonly byteLength: number };
  /**
   * Reads the data or a part of it, of a file with one slice of the source (none if the part is empty).
   * @param start first byte, counted from the start of the tensor; 0 if left out
   * @param end byte after the last, counted from the start of the tensor; `byteLength` if left out
   * @param spare a buffer that may be given back, filled
   * @throws {RangeError} when the part does not lie within the tensor
   * @throws {FormatError} when the source gives another number of bytes than asked
   */
  read(start?: number, end?: number, spare?: ArrayBuffer): Promise<ArrayBuffer>;
  /** Reads a part that lies within it at once; left out where the source cannot, or bytes are made as they are read. */
  readSync?(start: number, end: number, spare?: ArrayBuffer): ArrayBuffer;
  /** The same, to a place of that size; left out where the source cannot, or bytes are made as they are read. */
  readInto?(start: number, end: number, to: Uint8Array): void;
  /** As `readInto`, later and while other work goes on; left out where the source cannot, or bytes are made as they are read. */
  readIntoLater?(start: number, end: number, to: Uint8Array): Promise<unknown>;
  /** Has a part brought near that `readSync` will likely ask for; left out where the source cannot. */
  prefetch?(start: number, end: number): void;
}

/** A file of a checkpoint. */
export interface CheckpointFile {
  /** Its name; messages open with it. */
  readonly file: string;
  /** Its bytes. */
  readonly source: Source;
  /** Bytes of the header: the data starts behind it. */
  readonly dataStart: number;
  /** In the order of their data. */
  readonly tensors: readonly CheckpointTensor[];
  /** `__metadata__` of its header. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** What stands where another tensor should, as messages say it. */
export function formText(tensor: Pick<CheckpointTensor, 'dtype' | 'shape'> | undefined): string {
  return tensor ? `it is ${tensor.dtype} [${tensor.shape.join(', ')}]` : 'it is missing';
}

/** Where a tensor is, for messages. */
export function placeOf({ file, name }: { readonly file: string; readonly name: string }): Place {
  return { file, tensor: name };
}
