// A model's config.json, read strictly: each member checked as a family asks for it. Which family reads it is told by its names.

import { sliceExactly } from '../checkpoint/safetensors/file.ts';
import { decodeText, type Json, parseStrict } from '../checkpoint/safetensors/json.ts';
import { FormatError, type Place, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { foreignText } from '../source/foreign.ts';
import type { Folder } from '../source/source.ts';

const CONFIG_NAME = 'config.json';
const GENERATION_NAME = 'generation_config.json';

/** Largest sizes that are believed: several times those of any model of the family, and products of two stay exact. */
export const CONFIG_LIMITS = {
  dim: 1 << 16,
  hidden: 1 << 18,
  layers: 1 << 10,
  heads: 1 << 10,
  headDim: 1 << 10,
  taps: 1 << 6,
  experts: 1 << 12,
  vocabulary: 1 << 22,
  positions: 1 << 24,
  configBytes: 1 << 20,
} as const;

/** The members of config.json. @throws {FormatError} when it is missing or no JSON object */
export async function readConfig(folder: Folder): Promise<Fields> {
  return fieldsOf(await readText(folder, CONFIG_NAME), `${folder.name}/${CONFIG_NAME}`);
}

/** The members of generation_config.json, where it is there. */
export async function readGenerationConfig(folder: Folder): Promise<Fields | undefined> {
  if (!(await folder.list()).includes(GENERATION_NAME)) return undefined;
  return fieldsOf(await readText(folder, GENERATION_NAME), `${folder.name}/${GENERATION_NAME}`);
}

async function readText(folder: Folder, name: string): Promise<string> {
  const file = `${folder.name}/${name}`;
  const source = await folder.open(name);
  if (source.byteLength > CONFIG_LIMITS.configBytes) {
    throw new FormatError(`config must have at most ${CONFIG_LIMITS.configBytes} bytes: it has ${source.byteLength}`, {
      file,
    });
  }
  return decodeText(new Uint8Array(await sliceExactly(source, file, 0, source.byteLength)), file, 'config');
}

/** @param file its name, for messages @throws {FormatError} when it is not a JSON object */
export function fieldsOf(text: string, file: string): Fields {
  const other = foreignText(text);
  if (other) throw new FormatError(`config must be JSON: it is ${other}`, { file });
  const json = parseStrict(text, file, { subject: 'config' });
  if (!(json instanceof Map)) throw new FormatError(`config must be a JSON object: got ${show(json)}`, { file });
  return new Fields(json, file);
}

/** The members of a JSON object, each checked as it is read. null counts as missing. */
export class Fields {
  readonly #members: Map<string, Json>;
  /** The file's name, for messages. */
  readonly file: string;

  constructor(members: Map<string, Json>, file: string) {
    this.#members = members;
    this.file = file;
  }

  /** A member as it stands; undefined if there is none. */
  get(key: string): Json | undefined {
    return this.#members.get(key);
  }

  /** Whether there is a member other than null. */
  has(key: string): boolean {
    return (this.get(key) ?? null) !== null;
  }

  /** A member as a message shows it. */
  shown(key: string): string {
    return show(this.get(key));
  }

  /** @throws {FormatError} that names the file */
  fail(message: string): never {
    throw new FormatError(message, { file: this.file } satisfies Place);
  }

  /** @throws {UnsupportedError} that names the file and the member */
  unsupported(key: string, supported: string, got: Json): never {
    const feature = `${key} ${typeof got === 'string' ? got : show(got)}`;
    throw new UnsupportedError(feature, `${key} must be one of ${supported}: got ${show(got)}`, { file: this.file });
  }

  /** A number from `low` to `high`, or `otherwise` where there is none. */
  number(key: string, low: number, high: number, otherwise?: number): number {
    const value = this.has(key) ? this.get(key) : otherwise;
    if (typeof value === 'number' && value >= low && value <= high) return value;
    return this.fail(`${key} must be a number from ${low} to ${high}: got ${show(value)}`);
  }

  /** An integer from `low` to `high`, or `otherwise` where there is none. */
  integer(key: string, low: number, high: number, otherwise?: number): number {
    const value = this.has(key) ? this.get(key) : otherwise;
    if (Number.isInteger(value) && Number(value) >= low && Number(value) <= high) return value as number;
    return this.fail(`${key} must be an integer from ${low} to ${high}: got ${show(value)}`);
  }

  /** The members of an object; undefined if there is none. */
  object(key: string): Fields | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    if (value instanceof Map) return new Fields(value, this.file);
    return this.fail(`${key} must be an object or null: got ${show(value)}`);
  }

  /** An array of `count` numbers. */
  numbers(key: string, count: number, low: number, high: number): number[] {
    const value = this.get(key);
    const valid = (x: Json) => typeof x === 'number' && x >= low && x <= high;
    if (Array.isArray(value) && value.length === count && value.every(valid)) return value as number[];
    return this.fail(`${key} must be ${count} numbers from ${low} to ${high}: got ${show(value)}`);
  }

  /** An array of integers. */
  integers(key: string, low: number, high: number): number[] {
    const value = this.get(key);
    const valid = (x: Json) => Number.isInteger(x) && Number(x) >= low && Number(x) <= high;
    if (Array.isArray(value) && value.every(valid)) return value as number[];
    return this.fail(`${key} must be integers from ${low} to ${high}: got ${show(value)}`);
  }

  /** True or false; undefined where there is none. */
  flag(key: string): boolean | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    return typeof value === 'boolean' ? value : this.fail(`${key} must be true or false: got ${show(value)}`);
  }

  /** One id or an array of ids, each below `vocabSize`; undefined if there is none. */
  ids(key: string, vocabSize: number): number[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.get(key);
    const ids = Array.isArray(value) ? value : [value];
    const valid = ids.every((id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < vocabSize);
    return valid ? (ids as number[]) : this.fail(`${key} must be ids below ${vocabSize}: got ${show(value)}`);
  }
}
