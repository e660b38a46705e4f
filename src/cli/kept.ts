// Sensitivities kept beside a model, as higgs-alphas.json in its directory: measured when they are first wanted, used as long as
// weights, configuration and settings are the same. Its notes hold the SHA-256 of what α depends on: copies lose dates, edits keep sizes.
// A file without that note is somebody's own and is never replaced.

import { createHash } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeWhole } from '../disk/commit.ts';
import { readText } from '../disk/files.ts';
import { checkModel, type Input } from '../disk/input.ts';
import { FileError, FormatError, UnsupportedError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { readArchitecture } from '../families/family.ts';
import type { PlanTensor } from '../linearity/allocate.ts';
import { type Alphas, readAlphas, writeAlphas } from '../linearity/alphas.ts';
import { SENSITIVITIES_NAME } from '../quantize/carry.ts';
import { measuredNames } from '../sensitivity/measured.ts';
import { PARTIAL_REASON } from '../sensitivity/partial.ts';
import { settingsOf } from '../sensitivity/settings.ts';
import type { Folder } from '../source/source.ts';
import { progressDisplay } from '../terminal/figures.ts';
import { say } from '../terminal/print.ts';
import { type Measurement, measureModel } from './measurement.ts';
import { Interrupted } from './run.ts';

/** The options that name sensitivities. */
export const WAYS = '--alphas FILE, --prior or --uniform';
const READ_BYTES = 8 << 20;

/** Sensitivities of a model by the default settings: those that are kept, or measured now and kept. A line on standard error tells. */
export function modelSensitivities(input: Input, tensors: readonly PlanTensor[], threads: number): Promise<Alphas> {
  return namingWays(async () => {
    const settings = await settingsFor(input);
    checkMeasured(tensors, settings.measured);
    const { alphas, isOurs } = await findKept(input, settings);
    if (alphas) await rm(`${pathOf(input)}.partial`, { force: true }).catch(() => {}); // of a run that ended as it kept them
    return alphas ?? measureAndKeep(input, threads, isOurs ? pathOf(input) : undefined);
  });
}

/** The sensitivities that are kept of a model, if they are current. A line on standard error tells. */
export function keptSensitivities(input: Input): Promise<Alphas | undefined> {
  return namingWays(async () => {
    if (input.isFile) return undefined;
    return (await findKept(input, await settingsFor(input))).alphas;
  });
}

async function namingWays<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UnsupportedError || error instanceof FormatError || error instanceof RangeError) {
      error.message += `; sensitivities can be given instead: ${WAYS}`;
    }
    throw error;
  }
}

// What a measurement without options is, of this model.
async function settingsFor(input: Input) {
  checkModel(input);
  const architecture = await readArchitecture(input.folder);
  const { estimator, source, tokens, sequences, draws, seed } = settingsOf({}, architecture.contextLength);
  return {
    measured: new Set(measuredNames(architecture, estimator)),
    estimator,
    noted: { source, tokens, draws, seed, sequences },
  };
}

type Settings = Awaited<ReturnType<typeof settingsFor>>;

function pathOf({ path }: Input): string {
  return join(path, SENSITIVITIES_NAME);
}

// Before minutes of measuring: a plan needs the sensitivity of every tensor whose grid is free.
function checkMeasured(tensors: readonly PlanTensor[], measured: ReadonlySet<string>): void {
  const other = tensors.find(({ name, keep }) => !keep && !measured.has(name));
  if (!other) return;
  throw new RangeError(`tensors whose sensitivity is not measured must have a grid: ${show(other.name)} has none`);
}

// What is kept, and whether it may be replaced: not if it is somebody's own. Tells of what is there.
async function findKept(input: Input, { estimator, noted }: Settings): Promise<{ alphas?: Alphas; isOurs: boolean }> {
  const path = pathOf(input);
  let alphas: Alphas;
  let content = '';
  try {
    content = await readText(path);
    alphas = readAlphas(content, path);
  } catch (error) {
    if (error instanceof FormatError || error instanceof UnsupportedError) say(`not used: ${error.message}`);
    else if (!(error instanceof FileError)) throw error;
    // What cannot be understood may be somebody's own; what begins as ours, and ends too early, is ours.
    const isFile =
      error instanceof FileError &&
      (await stat(path).then(
        (found) => found.isFile(),
        () => false,
      ));
    return { isOurs: error instanceof FileError ? !isFile : /"files":"sha256 /.test(content) };
  }
  const { files, content: seal, ...own } = alphas.settings;
  if (typeof files !== 'string' && typeof seal !== 'string') {
    say(`not used: ${path}: no command kept it, so it is left as it is; --alphas takes it`);
    return { isOurs: false };
  }
  const isSame = alphas.estimator === estimator && Object.entries(noted).every(([key, value]) => own[key] === value);
  if (!isSame || files !== (await digestOf(input.folder))) {
    say(`not used: ${path}: it is of other ${isSame ? 'weights or another configuration' : 'settings'}`);
    return { isOurs: true };
  }
  if (content !== sealed(content)) {
    say(`not used: ${path}: it is not as it was kept, so it is damaged or was changed`);
    return { isOurs: true };
  }
  say(`sensitivities of ${path} (${described(alphas)})`);
  return { alphas, isOurs: true };
}

// The content with its own SHA-256 among its notes, taken where that is 64 zeros.
function sealed(content: string): string {
  const note = /("content":"sha256 )[0-9a-f]{64}"/;
  const blank = content.replace(note, `$1${'0'.repeat(64)}"`);
  const digest = createHash('sha256').update(blank).digest('hex');
  return note.test(content) ? blank.replace(note, `$1${digest}"`) : '';
}

// SHA-256 of all that α depends on: configuration and weights.
async function digestOf(folder: Folder): Promise<string> {
  const names = (await folder.list()).filter((name) => name === 'config.json' || name.endsWith('.safetensors'));
  const sources = await Promise.all(names.map((name) => folder.open(name)));
  const total = sources.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const hash = createHash('sha256');
  const progress = progressDisplay('check');
  try {
    let done = 0;
    for (const [i, source] of sources.entries()) {
      hash.update(`${names[i]} ${source.byteLength}\n`);
      for (let at = 0; at < source.byteLength; at += READ_BYTES) {
        const bytes = await source.slice(at, Math.min(source.byteLength, at + READ_BYTES));
        hash.update(new Uint8Array(bytes));
        done += bytes.byteLength;
        progress.update({ done, total, unit: 'bytes', bytes: done, tensor: '' });
      }
    }
  } finally {
    progress.stop();
  }
  return `sha256 ${hash.digest('hex')}`;
}

// @param path where to keep them, if they are to be kept
async function measureAndKeep(input: Input, threads: number, path: string | undefined): Promise<Alphas> {
  const { folder } = input;
  const files = path === undefined ? '' : await digestOf(folder);
  const unfinished = `${path}.partial`;
  let fault = path === undefined ? 'not kept' : undefined;
  let isSaved = false;
  const keep = async (to: string, content: string) => {
    if (fault !== undefined) return;
    try {
      await writeWhole(to, content, { force: true });
      isSaved = true;
    } catch (error) {
      fault = `not kept: ${(error as Error).message}`;
    }
  };
  const began = performance.now();
  const measurement = {
    ...{ folder, name: basename(input.path), settings: {}, threads },
    save: (content: string) => keep(unfinished, content),
  };
  let alphas: Alphas;
  try {
    const partial = path === undefined ? undefined : await readText(unfinished).catch(() => undefined);
    alphas = await measureFrom({ ...measurement, partial });
  } catch (error) {
    if (error instanceof Interrupted && isSaved) {
      error.message = `interrupted; what is measured is kept in ${unfinished}, the same command goes on with it`;
    }
    throw error;
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  if (path !== undefined) {
    const settings = { ...alphas.settings, files, content: `sha256 ${'0'.repeat(64)}` };
    await keep(path, sealed(writeAlphas({ ...alphas, settings })));
    if (fault === undefined)
      await rm(unfinished, { force: true }).catch((error) => say(`${unfinished} is left: ${error.message}`));
  }
  say(`sensitivities measured in ${seconds} s (${described(alphas)}), ${fault ?? `kept in ${path}`}`);
  return alphas;
}

// Goes on with what was saved, unless that is of another model or damaged.
async function measureFrom(measurement: Measurement): Promise<Alphas> {
  try {
    return await measureModel(measurement);
  } catch (error) {
    const isOther = error instanceof FormatError && error.reason === PARTIAL_REASON;
    if (measurement.partial === undefined || !isOther) throw error;
    return measureModel({ ...measurement, partial: undefined });
  }
}

function described({ estimator, settings }: Alphas): string {
  const { sequences, tokens, draws, seed } = settings;
  return `${estimator}, ${sequences} sequences of ${tokens} tokens from the model, ${draws} draws, seed ${seed}`;
}
