// Names of models on a hub, as people type and paste them:
//   hf:org/model[@revision][/folder]
//   https://host/org/model[/tree|blob|resolve|raw/revision[/folder or file]]
// A file of weights is meant alone; of any other file, the folder that it is in.

import { show } from '../excerpt.ts';

/** A model on a hub. */
export interface HubName {
  /** `org/model`. */
  readonly repo: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** The folder within it, `` or `a/b`. */
  readonly folder: string;
  /** Set if one file of weights is meant: its name in the folder. */
  readonly file?: string;
  /** Set if the address names a server: its origin. */
  readonly origin?: string;
}

const PREFIX = 'hf:';
const DEFAULT_REVISION = 'main';
/** Longest part of a path on a hub: servers take no more. */
const PART_LIMIT = 255;
/** Longest name or address: browsers take no more. */
const ADDRESS_LIMIT = 2048;

/** Whether a text is a name of the hub or an address, not a path. */
export const isRemote = (text: string): boolean => text.startsWith(PREFIX) || /^https?:\/\//i.test(text);

/** Whether a part of a path names something in a folder: it leads nowhere else on any system, and has a UTF-8 form. */
export function isPlainPart(part: string): boolean {
  return part.length > 0 && part.length <= PART_LIMIT && !/^\.{1,2}$|[/\\:\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(part);
}

/** How a name is written. */
export function nameText({ repo, revision, folder, file }: HubName): string {
  const suffix = revision === DEFAULT_REVISION ? '' : `@${encodeRevision(revision)}`;
  return `${PREFIX}${[`${repo}${suffix}`, folder, file].filter(Boolean).join('/')}`;
}

// A slash would end it, but for the hub's own requests of changes.
const encodeRevision = (revision: string) => (isPullRequest(revision) ? revision : revision.replaceAll('/', '%2F'));
const isPullRequest = (revision: string) => /^refs\/pr\/\d+$/.test(revision);

/**
 * Reads a name, or a model's address on a hub.
 * @returns undefined for the address of something else
 * @throws {RangeError} when it is neither
 */
export function readName(text: string): HubName | undefined {
  if (text.length > ADDRESS_LIMIT)
    throw new RangeError(`name must have at most ${ADDRESS_LIMIT} characters: it has ${text.length}`);
  return text.startsWith(PREFIX) ? readShort(text) : readAddress(text);
}

function readShort(text: string): HubName {
  const rest = text.slice(PREFIX.length).replace(/^\/\//, '').replace(/\/+$/, '');
  const [, repo, revision, path = ''] =
    /^([^/@]+(?:\/[^/@]+)?)(?:@(refs\/(?:pr|convert)\/[^/]+|[^/]+))?(?:\/(.*))?$/.exec(rest) ?? [];
  const named = repo === undefined ? undefined : nameOf(repo, revision ?? DEFAULT_REVISION, path);
  if (named) return named;
  throw new RangeError(`name must be hf:org/model, with @revision and /folder where wanted: got ${show(text)}`);
}

function readAddress(text: string): HubName | undefined {
  if (!URL.canParse(text)) throw new RangeError(`address must be a whole URL: got ${show(text)}`);
  const { origin, pathname } = new URL(text);
  const parts = pathname.split('/').filter(Boolean);
  const kind = parts[2];
  if (parts.length < 2 || (kind !== undefined && !/^(tree|blob|resolve|raw)$/.test(kind))) return undefined;
  if (/^(datasets|spaces|api)$/.test(parts[0])) return undefined;
  const [revision = DEFAULT_REVISION, ...path] = revisionFirst(parts.slice(3));
  const named = nameOf(parts.slice(0, 2).join('/'), revision, path.join('/'));
  return named && { ...named, origin };
}

// refs/pr/1 is one revision, whether its slashes are written as such or not.
function revisionFirst(parts: readonly string[]): readonly string[] {
  return parts[0] === 'refs' && parts.length > 2 ? [parts.slice(0, 3).join('/'), ...parts.slice(3)] : parts;
}

function nameOf(repo: string, revision: string, path: string): HubName | undefined {
  const decoded = [repo, revision, path].map(decode);
  if (decoded.includes(undefined)) return undefined;
  const [name, encoded, within] = decoded as string[];
  const parts = within.split('/').filter(Boolean);
  // The characters that hubs let names have; a revision is what git lets a reference have, nearly.
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(name) || !name.split('/').every(isPlainPart)) return undefined;
  if (!/^[\w.+/=@-]+$/.test(encoded) || !encoded.split('/').every(isPlainPart) || !parts.every(isPlainPart))
    return undefined;
  const last = parts.at(-1) ?? '';
  const isWeights = /\.(safetensors|gguf)$/i.test(last);
  if (isWeights || /\.(json|jinja|md|txt|model|py|bin)$/i.test(last)) parts.pop();
  return { repo: name, revision: encoded, folder: parts.join('/'), ...(isWeights && { file: last }) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
