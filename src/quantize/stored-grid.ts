// Grids as a checkpoint stores them (FORMAT.md): a tensor each, and numbers in the metadata.
//   higgs.grid.p2n256   F32 [n, p]      {"mse"}                      points
//   higgs.grid.t4       U8 [3, 16]      {"mse", "step", "zero"}           tables of a trellis
//   higgs.grid.t5       U8 [2, 16]      {"mse", "step", "zero", "kept"}   of one by labels

import type { Json } from '../checkpoint/safetensors/json.ts';
import type { TensorSpec } from '../checkpoint/safetensors/layout.ts';
import { type CheckpointFile, formText } from '../checkpoint/tensor.ts';
import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { type Dimension, type Grid, givenGrid, isTrellis } from '../grids/grid.ts';
import { NAME_RULE, parsePointGridName, parseTrellisName } from '../grids/name.ts';
import { givenKept, TABLE_ENTRIES, tableCount } from '../grids/trellis.ts';

/** Spec of a grid. */
export function gridSpec(grid: Grid): TensorSpec {
  const { dtype, shape } = isTrellis(grid)
    ? { dtype: 'U8', shape: [tableCount(grid), TABLE_ENTRIES] }
    : { dtype: 'F32', shape: [grid.n, grid.p] };
  return { name: nameOf(grid.name), dtype, shape, byteLength: contentOf(grid).byteLength };
}

/** Bytes of a grid's tensor. */
export function gridBytes(grid: Grid): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = contentOf(grid);
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}

/** What the metadata says of a grid. */
export function gridNote(grid: Grid): Readonly<Record<string, number | readonly number[]>> {
  const { mse } = grid;
  if (!isTrellis(grid)) return { mse };
  const { step, zero, kept } = grid;
  return { mse, step, zero, ...(kept && { kept }) };
}

/**
 * Reads a grid.
 * @param note what the metadata says of it
 * @throws {FormatError} when name, numbers and tensor do not agree, or no kernel handles such a grid
 */
export async function readGrid(file: CheckpointFile, name: string, note: Json): Promise<Grid> {
  const place = { file: file.file, tensor: nameOf(name) };

  function number(key: string): number {
    const value = note instanceof Map ? note.get(key) : undefined;
    if (typeof value !== 'number')
      throw new FormatError(`${key} of a grid must be a number: got ${show(value)}`, place);
    return value;
  }

  function labels(): { kept?: readonly number[] } {
    const kept = note instanceof Map ? note.get('kept') : undefined;
    if (kept === undefined) return {};
    try {
      return { kept: givenKept('kept of a grid', kept) };
    } catch (error) {
      throw new FormatError((error as Error).message, place);
    }
  }

  async function content(dtype: string, shape: readonly number[]): Promise<ArrayBuffer> {
    const tensor = file.tensors.find((some) => some.name === nameOf(name));
    if (tensor?.dtype !== dtype || String(tensor.shape) !== String(shape)) {
      throw new FormatError(`grid must be stored as ${dtype} [${shape.join(', ')}]: ${formText(tensor)}`, place);
    }
    return tensor.read();
  }

  const trellis = parseTrellisName(name);
  const size = parsePointGridName(name);
  let grid: Grid;
  if (trellis) {
    const kept = labels();
    const tables = new Uint8Array(await content('U8', [tableCount(kept), TABLE_ENTRIES]));
    const [mse, step, zero] = [number('mse'), number('step'), number('zero')];
    grid = { name, p: 1, bits: trellis.bits, mse, step, zero, ...kept, tables };
  } else if (size) {
    const { p, n, bits } = size;
    const points = new Float32Array(await content('F32', [n, p]));
    grid = { name, p: p as Dimension, n, bits, mse: number('mse'), points };
  } else {
    throw new FormatError(`grid must be named ${NAME_RULE}: got ${show(name)}`, place);
  }
  try {
    givenGrid('grid', grid);
  } catch (error) {
    throw new FormatError((error as Error).message, place);
  }
  return grid;
}

function nameOf(grid: string): string {
  return `higgs.grid.${grid}`;
}

function contentOf(grid: Grid): Float32Array | Uint8Array {
  return isTrellis(grid) ? grid.tables : grid.points;
}
