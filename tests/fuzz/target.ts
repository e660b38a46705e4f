// A target: what is fuzzed, how its inputs are made, and what must hold of those that are taken. An input is files and nothing else,
// so that it can be stored, run again and made smaller; choices such as options stand in one of them, `case.json`.

import { smallGrids } from '../../src/grids/small.ts';
import { trellises } from '../../src/grids/trellises.ts';
import { type Folder, type Higgs, load } from '../../src/index.ts';
import { memoryFolder } from '../checkpoints.ts';
import type { Files, randomGrid } from './checkpoint.ts';
import { functionsOf, type PublicFunction } from './functions.ts';
import type { Random } from './random.ts';

/** What all cases share. */
export interface World {
  readonly higgs: Higgs;
  /** Grids as checkpoints store them. */
  readonly grids: Parameters<typeof randomGrid>[1];
  readonly functions: readonly PublicFunction[];
  /** Frees what the functions share. */
  close(): Promise<void>;
}

export interface Target {
  readonly name: string;
  make(random: Random, world: World): Files;
  /**
   * Runs an input. Throws what the library throws, or a Fault where a success is wrong.
   * @returns what kind of a success it was, where there are several
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most have one kind
  run(files: Files, world: World): Promise<string | void>;
  /** Of which messages about malformed files must name one; `memory`, the folder, if left out. */
  readonly subjects?: readonly string[];
  /** Words in messages that look an engine's and are not. */
  readonly theirs?: RegExp;
  /** Makes a smaller input whole again: checksums. */
  repair?(files: Files): Files;
}

export async function openWorld(): Promise<World> {
  const points = smallGrids.map(({ name, p, n, bits, mse, points }) => ({
    ...{ name, p, bits, note: { mse } },
    tensor: { dtype: 'F32', shape: [n, p], bytes: new Uint8Array(points.slice().buffer) },
  }));
  const paths = trellises.map(({ name, p, bits, mse, step, zero, kept, tables }) => ({
    ...{ name, p, bits, note: { mse, step, zero, ...(kept && { kept }) } },
    tensor: { dtype: 'U8', shape: [kept ? 2 : 3, 16], bytes: tables.slice() },
  }));
  const higgs = await load();
  return { higgs, grids: [...points, ...paths], ...(await functionsOf()) };
}

export const CASE_NAME = 'case.json';

/** Choices as a file: numbers that JSON has not are written as text. */
export function caseOf(choices: Readonly<Record<string, unknown>>): Uint8Array {
  const text = JSON.stringify(choices, (_, value) =>
    typeof value === 'number' && (!Number.isFinite(value) || Object.is(value, -0))
      ? { number: Object.is(value, -0) ? '-0' : String(value) }
      : value,
  );
  return new TextEncoder().encode(text);
}

export function choicesOf<T>(files: Files): T {
  return JSON.parse(new TextDecoder().decode(files[CASE_NAME]), (_, value) =>
    typeof value?.number === 'string' ? Number(value.number) : value,
  );
}

/** The files of an input as a folder named `memory`. */
export function folderOfCase(files: Files): Folder {
  const { [CASE_NAME]: _, ...rest } = files;
  return memoryFolder(rest);
}

const utf8 = new TextEncoder();
export const encode = (text: string): Uint8Array<ArrayBuffer> => utf8.encode(text);
