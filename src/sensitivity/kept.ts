// Sensitivities that are kept, as higgs-alphas.json in a store: measured when they are first wanted, used as long as weights, configuration
// and settings are the same. Its notes hold the digest of what α depends on (digest.ts): copies lose dates, edits keep sizes. They hold
// the SHA-256 of the file itself, too, taken with 64 zeros in its place. A file without the digests is
// somebody's own and never replaced.

import { callback, having, member, type Reader, text } from '../check.ts';
import { FormatError, UnsupportedError } from '../errors.ts';
import { type Alphas, readAlphas, writeAlphas } from '../linearity/alphas.ts';
import type { LoadProgress } from '../model/loading/load.ts';
import { SENSITIVITIES_NAME } from '../quantize/carry.ts';
import type { Folder } from '../source/source.ts';
import { digestOf, sha256Text } from './digest.ts';
import { saving } from './saving.ts';
import { DEFINITIONS, type FullSettings } from './settings.ts';
import { givenReplaced, type ReplacedFile } from './underway.ts';

/** Where sensitivities are kept: the model's directory, a page's private file system, a table of a server. Files are texts by name. */
export interface Store {
  /** For messages: a path, or a word. */
  readonly name: string;
  /**
   * The text of a file; undefined where there is none.
   * @throws when there is one that cannot be read: it is then left as it is
   */
  read(name: string): Promise<string | undefined>;
  /** Writes a file whole or not at all; it may replace one. What it throws is told, and the sensitivities are used all the same. */
  write(name: string, content: string): Promise<void>;
  /** Removes a file, if it is there. */
  remove(name: string): Promise<void>;
  /** A file of bytes that is replaced whole: for the sequence under way. Left out, an interrupted run begins it anew. */
  file?(name: string): ReplacedFile;
}

/** What a measurement goes on from, and what it tells as it goes. */
export interface Begun {
  /** What an earlier run kept, as `onPartial` was given it. */
  readonly partial: string | undefined;
  /** Called after each sequence with all that is needed to resume. */
  readonly onPartial: ((partial: string) => void) | undefined;
  /** The file that keeps the sequence under way. */
  readonly underway: ReplacedFile | undefined;
}

/** What became of sensitivities that are kept. `file` is the store's name and the file's. */
export type KeptNews =
  | { readonly kind: 'used'; readonly file: string; readonly alphas: Alphas }
  | {
      readonly kind: 'not used';
      readonly file: string;
      /** `own` is somebody's own and `unreadable` may be: both are left as they are. The others are replaced. */
      readonly reason: 'own' | 'unreadable' | 'settings' | 'weights' | 'damaged';
      /** The reason as a sentence, with the file. */
      readonly message: string;
    }
  | {
      readonly kind: 'measured';
      readonly file: string;
      readonly alphas: Alphas;
      readonly seconds: number;
      /** Whether they are kept, and why not, if something failed. */
      readonly isKept: boolean;
      readonly fault: string | undefined;
    }
  /** Unfinished work that is of no more use, and could not be removed. */
  | { readonly kind: 'left'; readonly file: string; readonly message: string };

/** What is kept where. */
interface Keeping {
  readonly folder: Folder;
  readonly store: Store;
  readonly settings: FullSettings;
  readonly onCheck?: ((progress: LoadProgress) => void) | undefined;
  readonly onKept?: ((news: KeptNews) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const storing = having<Store>('a store', ['read', 'write', 'remove'], ' and a name');

/** A store as a caller gives it. */
export const givenSensitivityStore: Reader<Store> = (subject, value) => {
  const store = storing(subject, value);
  const given = member(subject, store, 'file');
  const file = given === undefined ? undefined : callback<NonNullable<Store['file']>>(`file of ${subject}`, given);
  return {
    name: text(`name of ${subject}`, member(subject, store, 'name')),
    read: async (name) => store.read(name),
    write: async (name, content) => store.write(name, content),
    remove: async (name) => store.remove(name),
    ...(file !== undefined && {
      file: (name: string) => givenReplaced('result of file() of store', file.call(store, name)),
    }),
  };
};

/**
 * How sensitivities define α: as this release, as another one, or it is not said. Kept ones that name no definition have the first. So may
 * files that the caller named, which had no note of it. Of others' estimators nothing is known that could differ.
 */
export function definitionOf({ estimator, settings }: Alphas): 'this' | 'another' | 'unknown' {
  if (!Object.hasOwn(DEFINITIONS, estimator)) return 'this';
  const { definition = 1, files } = settings;
  if (definition === DEFINITIONS[estimator as keyof typeof DEFINITIONS]) return 'this';
  return settings.definition === undefined && files === undefined ? 'unknown' : 'another';
}

const UNFINISHED = `${SENSITIVITIES_NAME}.partial`;
const UNDERWAY = `${UNFINISHED}.sequence`;
const unfinishedOf = ({ file }: Store): string[] => (file ? [UNDERWAY, UNFINISHED] : [UNFINISHED]);

/** The sensitivities that are kept, if they are current. */
export async function findKept(keeping: Keeping): Promise<Alphas | undefined> {
  return (await look(keeping)).alphas;
}

/**
 * The sensitivities that are kept, or measured now and kept. Unfinished work is kept, too, and gone on with.
 * @param measure goes on from `partial`, unless that is of another run or damaged
 */
export async function keptOrMeasured(keeping: Keeping, measure: (begun: Begun) => Promise<Alphas>): Promise<Alphas> {
  const { store, onKept } = keeping;
  const { alphas: kept, isOurs, digest } = await look(keeping);
  if (kept) {
    for (const name of unfinishedOf(store)) await store.remove(name).catch(() => {}); // of a run that ended as it kept them
    return kept;
  }
  const files = isOurs ? await digest() : '';
  const partial = isOurs ? await store.read(UNFINISHED).catch(() => undefined) : undefined;
  let fault: string | undefined;
  const write = async (name: string, content: string) => {
    if (fault === undefined) await store.write(name, content).catch((error) => (fault = messageOf(error)));
  };
  const began = performance.now();
  const alphas = isOurs
    ? await saving(
        (content) => write(UNFINISHED, content),
        (onPartial) => measure({ partial, onPartial, underway: store.file?.(UNDERWAY) }),
      )
    : await measure({ partial, onPartial: undefined, underway: undefined });
  const seconds = (performance.now() - began) / 1000;
  if (isOurs) await write(SENSITIVITIES_NAME, await sealedFile(alphas, files));
  const isKept = isOurs && fault === undefined;
  if (isKept) {
    for (const name of unfinishedOf(store)) {
      const left = (error: unknown) =>
        onKept?.({ kind: 'left', file: `${store.name}/${name}`, message: messageOf(error) });
      await store.remove(name).catch(left);
    }
  }
  onKept?.({ kind: 'measured', file: `${store.name}/${SENSITIVITIES_NAME}`, alphas, seconds, isKept, fault });
  return alphas;
}

/** What is kept, and whether it may be replaced: not if it is somebody's own. Tells of what is there. */
async function look(keeping: Keeping): Promise<{ alphas?: Alphas; isOurs: boolean; digest: () => Promise<string> }> {
  const { store, folder, settings, onKept } = keeping;
  const file = `${store.name}/${SENSITIVITIES_NAME}`;
  let hash: Promise<string> | undefined;
  const digest = () => (hash ??= digestOf(folder, keeping).then((digits) => `sha256 ${digits}`));
  const refuse = (reason: (KeptNews & { kind: 'not used' })['reason'], message: string, isOurs: boolean) => {
    onKept?.({ kind: 'not used', file, reason, message });
    return { isOurs, digest };
  };
  let content: string | undefined;
  try {
    content = await store.read(SENSITIVITIES_NAME);
  } catch (error) {
    return refuse('unreadable', messageOf(error), false);
  }
  if (content === undefined) return { isOurs: true, digest };
  text('result of read() of store', content);
  let alphas: Alphas;
  try {
    alphas = readAlphas(content, file);
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof UnsupportedError)) throw error;
    // What cannot be understood may be somebody's own; what begins as ours, and ends too early, is ours.
    const isOurs = /"files":"sha256 /.test(content);
    return refuse(isOurs ? 'damaged' : 'unreadable', error.message, isOurs);
  }
  const { files, content: seal, ...noted } = alphas.settings;
  if (typeof files !== 'string' && typeof seal !== 'string') {
    return refuse('own', `${file}: it does not say what it was measured on, so it stays as it is`, false);
  }
  const { estimator, source, tokens, draws, seed, sequences } = settings;
  const wanted = Object.entries({ source, tokens, draws, seed, sequences });
  if (alphas.estimator !== estimator || wanted.some(([key, value]) => noted[key] !== value)) {
    return refuse('settings', `${file}: it was measured with other settings`, true);
  }
  if (definitionOf(alphas) !== 'this') {
    return refuse(
      'settings',
      `${file}: it was measured by another release, which defines sensitivity differently`,
      true,
    );
  }
  if (files !== (await digest())) {
    return refuse('weights', `${file}: it was measured on other weights or another configuration`, true);
  }
  if (content !== (await sealed(content))) {
    return refuse('damaged', `${file}: its checksum is wrong, so it was damaged or changed`, true);
  }
  onKept?.({ kind: 'used', file, alphas });
  return { alphas, isOurs: true, digest };
}

function sealedFile(alphas: Alphas, files: string): Promise<string> {
  const settings = { ...alphas.settings, files, content: `sha256 ${'0'.repeat(64)}` };
  return sealed(writeAlphas({ ...alphas, settings }));
}

// The content with its own SHA-256 among its notes; nothing of a content that has no place for it.
async function sealed(content: string): Promise<string> {
  const note = /("content":"sha256 )[0-9a-f]{64}"/;
  if (!note.test(content)) return '';
  const blank = content.replace(note, `$1${'0'.repeat(64)}"`);
  return blank.replace(note, `$1${await sha256Text(blank)}"`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
