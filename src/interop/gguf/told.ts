// Whether GGUF tells a reader the model that config.json does: what its header says is read back, and compared. llama.cpp knows some of
// a family by its name; where that is another thing than config.json says, the file would be of another model.

import { configOf, kindOf } from '../../checkpoint/gguf/architectures.ts';
import { parseGgufHeader } from '../../checkpoint/gguf/header.ts';
import { valuesOf } from '../../checkpoint/gguf/values.ts';
import { UnsupportedError } from '../../errors.ts';
import { excerpt, show } from '../../excerpt.ts';
import { fieldsOf } from '../../families/config.ts';
import { architectureOf } from '../../families/family.ts';
import { frequencies, type Rope } from '../../families/rope.ts';
import type { Described } from './model.ts';

/** Metadata is f32. */
const RELATIVE_ERROR = 1e-5;
/** What is told elsewhere, or by tensors, or is only a name. */
const APART = new Set(['family', 'bos', 'eos', 'tied', 'vocabSize', 'alias', 'stack', 'name']);

interface Difference {
  readonly path: string;
  readonly wanted: unknown;
  readonly told: unknown;
}

/**
 * What the file tells otherwise than config.json, in words: positions that a token does not see, which short texts never miss.
 * @param header of the file @param fileBytes of the whole file @param ropes factors by tensor
 * @throws {UnsupportedError} when anything else differs
 */
export function untold(
  { architecture, fields }: Described,
  header: Uint8Array,
  fileBytes: number,
  ropes: ReadonlyMap<string, Float32Array>,
): string[] {
  const { file } = fields;
  const { pairs, tensors } = parseGgufHeader(header, file, fileBytes)!;
  const values = valuesOf(pairs, file);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const told = {
    values,
    layers: architecture.layers.length,
    shapeOf: (name: string) => byName.get(name)?.shape,
    ropes: {
      all: ropes.get('rope_freqs.weight'),
      short: ropes.get('rope_factors_short.weight'),
      long: ropes.get('rope_factors_long.weight'),
    },
  };
  const config = configOf(told, kindOf(told));
  const back = architectureOf(fieldsOf(JSON.stringify(config), file));
  const differing = differences(architecture, back, '');
  const isWindow = ({ path }: Difference) => path.endsWith('.window');
  const other = differing.find((difference) => !isWindow(difference));
  if (other) {
    const { path, wanted, told } = other;
    const message = `config.json must say what llama.cpp knows of the family: it has ${excerpt(path)} ${show(wanted)}, llama.cpp ${show(told)}`;
    throw new UnsupportedError(`GGUF with ${path}`, message, { file });
  }
  const [first] = differing;
  if (!first) return [];
  return [
    `llama.cpp lets a token see all before it; config.json has a window of ${show(first.wanted)}: longer texts differ`,
  ];
}

function differences(wanted: unknown, told: unknown, path: string): Difference[] {
  if (typeof wanted === 'number' && typeof told === 'number') {
    const isNear = Math.abs(wanted - told) <= RELATIVE_ERROR * Math.max(Math.abs(wanted), Math.abs(told));
    return isNear ? [] : [{ path, wanted, told }];
  }
  if (isRope(wanted) && isRope(told)) return differences(turnsOf(wanted), turnsOf(told), path);
  const areObjects = typeof wanted === 'object' && typeof told === 'object' && wanted && told;
  if (!areObjects) return Object.is(wanted, told) ? [] : [{ path, wanted, told }];
  const keys = [...new Set([...Object.keys(wanted), ...Object.keys(told)])].filter((key) => !APART.has(key));
  const member = (value: object, key: string): unknown => (value as Record<string, unknown>)[key];
  return keys.flatMap((key) =>
    differences(member(wanted, key), member(told, key), path === '' ? key : `${path}.${key}`),
  );
}

function isRope(value: unknown): value is Rope {
  return typeof value === 'object' && value !== null && 'theta' in value && 'scaling' in value;
}

// What a rope comes to, however it is told: in short contexts, and in the longest.
function turnsOf(rope: Rope): object {
  const { elements, interleaved, factor } = rope;
  const ofContext = (context: number) => [...frequencies(rope, context)];
  return { elements, interleaved, factor, short: ofContext(1), long: ofContext(2 ** 31) };
}
