// Values of options, parsed, with messages that name the option.

import { InvalidArgumentError } from 'commander';
import type { Grid } from '../grids/grid.ts';
import { largeGrids } from '../grids/large.ts';
import { smallGrids } from '../grids/small.ts';
import { trellises } from '../grids/trellises.ts';
import { DEFAULT_GRIDS } from '../quantize/scheme.ts';

/** Every grid that can be named, trellises first. */
export const GRIDS: readonly Grid[] = [...trellises, ...smallGrids, ...largeGrids];
/** The names of all grids. */
export const GRID_NAMES: readonly string[] = GRIDS.map(({ name }) => name);

/** The command line asks for something that cannot be: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A parser of whole numbers in a range. @throws {InvalidArgumentError} when it is none */
export function parseInteger(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < low || value > high) {
      throw new InvalidArgumentError(`must be an integer from ${low} to ${high}.`);
    }
    return value;
  };
}

/** A parser of numbers in a range. @throws {InvalidArgumentError} when it is none */
export function decimal(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^(\d+(\.\d*)?|\.\d+)$/.test(text) || value < low || value > high) {
      throw new InvalidArgumentError(`must be a number from ${low} to ${high}.`);
    }
    return value;
  };
}

/** Least size without a unit: a file of fewer bytes holds no tensor, so the unit was forgotten. */
const BARE_SIZE = 1000;

/**
 * Parses a size in bytes: `500MB`, `5GB`, `2GiB`, `5000000`.
 * @throws {InvalidArgumentError} when it is none, or has no unit and is below a kilobyte
 */
export function byteSize(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kKMGT]i?)?B?$/.exec(text) ?? [];
  const power = ' kMGT'.indexOf(unit.charAt(0).replace('K', 'k') || ' ');
  const bytes = Math.floor(Number(number) * (unit.endsWith('i') ? 1024 : 1000) ** power);
  if (!(bytes >= 1) || !Number.isSafeInteger(bytes))
    throw new InvalidArgumentError('must be a size such as 500MB or 5GB.');
  if (bytes < BARE_SIZE && /[\d.]$/.test(text)) {
    throw new InvalidArgumentError(`must have a unit: ${text} would be bytes, ${text}GB or ${text}MB is a size.`);
  }
  return bytes;
}

/** Parses the bits that have a default grid. @throws {InvalidArgumentError} when it is not 2, 3, 4, 5 or 6 */
export function gridBits(text: string): number {
  if (!Object.hasOwn(DEFAULT_GRIDS, text)) {
    throw new InvalidArgumentError(
      'must be 2, 3, 4, 5 or 6. Other widths are those of grids: --grid p1n256 has 8 bits, and --bpw mixes.',
    );
  }
  return Number(text);
}

/** Checks the name of a grid. @throws {InvalidArgumentError} when there is no such grid; names the most similar */
export function gridName(text: string): string {
  if (GRID_NAMES.includes(text)) return text;
  const meant = similarNames(text, GRID_NAMES);
  const bits = Number(/[2-68]/.exec(text)?.[0]);
  const names = meant.length > 0 ? meant : GRIDS.filter((grid) => grid.bits / grid.p === bits).map(({ name }) => name);
  const question =
    names.length > 0 ? `. Did you mean ${names.slice(0, 3).join(' or ')}?` : ' such as t4, t3 or p2n256.';
  throw new InvalidArgumentError(`must be a grid${question} higgs grids lists them.`);
}

/** Of some names those that a misspelt one may stand for: the most alike, and none that differs by more than a third. */
export function similarNames(text: string, names: readonly string[]): string[] {
  const word = text.toLowerCase().slice(0, NAME_LENGTH);
  const limit = Math.max(1, Math.floor(word.length / 3));
  const candidates = names.map((name) => ({ name, distance: editDistance(word, name) }));
  const least = Math.min(...candidates.map(({ distance }) => distance));
  return candidates.filter(({ distance }) => distance <= limit && distance === least).map(({ name }) => name);
}

/** Longest name that is compared. */
const NAME_LENGTH = 32;

// Letters to put in, take out, replace, or exchange with the next.
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  let before = row;
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
      const isExchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isExchanged) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}

/** Parses a regular expression. @throws {InvalidArgumentError} when it is malformed */
export function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text, 'u');
  } catch (error) {
    throw new InvalidArgumentError(`must be a regular expression: ${(error as Error).message}.`);
  }
}

/** Parses the name of a model on a hub, `org/model`. @throws {InvalidArgumentError} when it has another form */
export function repoName(text: string): string {
  if (!/^[\w.-]+\/[\w.-]+$/.test(text)) throw new InvalidArgumentError('must be org/model.');
  return text;
}
