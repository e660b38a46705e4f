// The small files beside the weights: configuration, tokenizer, licence. They go along unchanged but for config.json's note, and the
// model's card, which says in front that it is of the original.

import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { foreignText } from '../source/foreign.ts';
import type { Folder, OutputFolder } from '../source/source.ts';
import { writeWhole } from './writer.ts';

type Content = Record<string, unknown>;

/** Largest file that is carried over; tokenizers have some tens of megabytes. */
const CARRY_LIMIT = 256 << 20;
/** The file with a model's configuration. */
export const CONFIG_NAME = 'config.json';
const CARDS = /^(readme|model_card)\.md$/i;
const CARD_NOTE =
  'These weights were quantized by higgs-wasm. What follows is the card of the original: its dtypes, sizes and results are not those of these files.';
/** Stands in front of the cards that are written here. */
export const OWN_CARD = 'quantized_by: higgs-wasm';
/** The file by which transformers loads a quantized checkpoint; it means nothing to a plain one. */
export const PYTHON_NAME = 'higgs_wasm.py';
/** What `auto_map` has for it. */
export const PYTHON_CONFIG = 'higgs_wasm.Config';
/**
 * Stands in config.json where transformers looks for the name of the weights' file, and so for its error: without a note it would go on
 * with random weights after a warning.
 */
const TRANSFORMERS_NOTE = `higgs-wasm quantized these weights: give trust_remote_code=True, with ${PYTHON_NAME} here, which \`higgs export --transformers\` writes`;
/** Sensitivities that the command line keeps beside a model. They are of its own weights, and so of no copy's. */
export const SENSITIVITIES_NAME = 'higgs-alphas.json';

// What Hugging Face checkpoints have beside their weights: configurations, tokenizers, templates, custom code, papers.
const CARRIED =
  /^((?!.*\.index\.json$)[^.].*\.json|(merges|vocab|added_tokens)\.txt|[^.].*\.(model|tiktoken|jinja|py|md)|(LICEN[CS]E|NOTICE|USE_POLICY)[^/]*)$/i;

/**
 * Reads what `carryOver` will edit, so that its faults show before hours of work.
 * @returns the method by which config.json says that the weights are quantized already, if it does
 * @throws {FormatError} when config.json is no JSON object
 */
export async function checkCarried(input: Folder): Promise<string | undefined> {
  const about = (await readConfig(input))?.quantization_config as { quant_method?: unknown } | null | undefined;
  return typeof about?.quant_method === 'string' ? about.quant_method : undefined;
}

/**
 * How many layers of the checkpoint run, by config.json, if it says so.
 * @throws {FormatError} when config.json is no JSON object
 */
export async function runningLayers(input: Folder): Promise<number | undefined> {
  const content = await readConfig(input);
  const text = content?.text_config as { num_hidden_layers?: unknown } | null | undefined;
  const layers = content?.num_hidden_layers ?? text?.num_hidden_layers;
  return Number.isSafeInteger(layers) && Number(layers) > 0 ? Number(layers) : undefined;
}

/** config.json of a quantized checkpoint. @param about what it says of the quantization */
export function quantizedConfig(content: Content, about: Content): Content {
  const { text_config: text } = content;
  const note = { transformers_weights: TRANSFORMERS_NOTE };
  const inner = typeof text === 'object' && text !== null && { text_config: { ...text, ...note } }; // the text model may be loaded alone
  return { ...content, ...inner, ...note, quantization_config: { quant_method: 'higgs-wasm', ...about } };
}

/** config.json of the plain checkpoint that comes of it. */
export function plainConfig({ quantization_config: about, ...content }: Content): Content {
  const { auto_config: autoConfig } = (about ?? {}) as { auto_config?: unknown };
  const { text_config: text, auto_map: map } = content as Record<string, Content | null | undefined>;
  const config = without(content, 'transformers_weights', TRANSFORMERS_NOTE);
  if (text) config.text_config = without(text, 'transformers_weights', TRANSFORMERS_NOTE);
  if (map?.AutoConfig !== PYTHON_CONFIG) return config;
  const rest = {
    ...without(map, 'AutoConfig', PYTHON_CONFIG),
    ...(autoConfig !== undefined && { AutoConfig: autoConfig }),
  };
  return Object.keys(rest).length > 0 ? { ...config, auto_map: rest } : without(config, 'auto_map', map);
}

function without(content: Content, key: string, value: unknown): Content {
  const { [key]: removed, ...rest } = content;
  return removed === value ? rest : content;
}

async function readConfig(input: Folder): Promise<Content | undefined> {
  if (!(await input.list()).includes(CONFIG_NAME)) return undefined;
  const source = await input.open(CONFIG_NAME);
  if (source.byteLength > CARRY_LIMIT) return undefined;
  return parseConfig(new Uint8Array(await source.slice(0, source.byteLength)), `${input.name}/${CONFIG_NAME}`);
}

/**
 * Copies the files that are not weights.
 * @param config what to make of config.json's content; it must be an object
 * @returns the names of the files copied
 */
export async function carryOver(
  input: Folder,
  output: OutputFolder,
  config: (content: Content) => Content,
): Promise<string[]> {
  const carried: string[] = [];
  for (const name of await input.list()) {
    if (!CARRIED.test(name) || name === SENSITIVITIES_NAME || name === PYTHON_NAME) continue;
    const source = await input.open(name);
    if (source.byteLength > CARRY_LIMIT) continue;
    let bytes = new Uint8Array(await source.slice(0, source.byteLength));
    if (name === CONFIG_NAME) bytes = new TextEncoder().encode(edited(bytes, `${input.name}/${name}`, config));
    if (CARDS.test(name)) bytes = markedCard(bytes);
    await writeWhole(output, name, bytes);
    carried.push(name);
  }
  return carried;
}

// A quoted text, or a number.
const LITERAL = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const NUMBER = '\ue000';

/**
 * Edits a configuration. Numbers stay as they are written, 0.0.0: transformers takes no integer for a float. To `edit` those that
 * JavaScript would write otherwise are texts.
 * @throws {FormatError} when it is no JSON object
 */
export function edited(bytes: Uint8Array, file: string, edit: (content: Content) => Content): string {
  parseConfig(bytes, file);
  const numbers: string[] = [];
  const marked = new TextDecoder().decode(bytes).replace(LITERAL, (token) => {
    if (token.startsWith('"') || String(Number(token)) === token) return token;
    return `"${NUMBER}${numbers.push(token) - 1}"`;
  });
  const text = JSON.stringify(edit(JSON.parse(marked)), null, 2);
  const exact = text.replace(new RegExp(`"${NUMBER}(\\d+)"`, 'g'), (whole, index) => numbers[index] ?? whole);
  return `${exact}\n`;
}

// Cards say what the original weights are. YAML between --- may stand in front, and has to stay there.
function markedCard(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const text = new TextDecoder().decode(bytes);
  if (text.includes(CARD_NOTE) || text.includes(OWN_CARD)) return bytes;
  const [front = ''] = /^---\r?\n[\s\S]*?\n---[ \t]*(\r?\n|$)/.exec(text) ?? [];
  const frontMatter = front.includes('base_model_relation:')
    ? front
    : front.replace(/\n---[ \t]*(\r?\n|$)$/, '\nbase_model_relation: quantized\n---\n');
  return new TextEncoder().encode(`${frontMatter}\n> ${CARD_NOTE}\n\n${text.slice(front.length)}`);
}

function parseConfig(bytes: Uint8Array, file: string): Content {
  let content: unknown;
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    content = JSON.parse(text);
  } catch (cause) {
    const other = foreignText(text);
    if (other) throw new FormatError(`configuration must be JSON: it is ${other}`, { file });
    throw new FormatError(`configuration must be JSON: ${(cause as Error).message}`, { file });
  }
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new FormatError(`configuration must be a JSON object: got ${show(content)}`, { file });
  }
  return content as Content;
}
