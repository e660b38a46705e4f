// higgs list, higgs remove: what models are on this machine, and less of them.

import { basename, join, sep } from 'node:path';
import type { Command } from 'commander';
import { type LocalModel, localModels, quantizedHome, quantizedModel, repoPath } from '../disk/cache.ts';
import { hubSettings } from '../disk/hub.ts';
import { type Removed, removeCached, removeQuantized } from '../disk/remove.ts';
import { FileError } from '../errors.ts';
import { isRemote, nameText, readName } from '../hub/name.ts';
import { bytesText, counted, table } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { note, print, printJson } from '../terminal/print.ts';

/** Least characters of a commit that name it, as git has them. */
const SHORT = 7;

/** Adds the verb `list`. */
export function addList(program: Command): void {
  const command = program
    .command('list')
    .summary('list the models on this machine')
    .description(
      'Lists the models in the hub’s cache, the quantized models that commands keep, and those in a directory, with their sizes.',
    )
    .argument('[directory]', 'a directory with quantized models in it');
  addPrinting(command, 'print as JSON');
  addExamples(command, [['higgs list'], ['higgs list models']]).action(list);
}

/** Adds the verb `remove`. */
export function addRemove(program: Command): void {
  const command = program
    .command('remove')
    .summary('remove a model from this machine')
    .description(
      'Removes a model from the hub’s cache, or a directory that higgs quantize wrote. With a revision, removes only what no other revision needs.',
    )
    .argument(
      '<name>',
      'hf:org/model, hf:org/model@revision, or a quantized model: its directory, or its name in higgs list',
    )
    .option('--dry-run', 'say what would be removed, remove nothing');
  addPrinting(command, 'print as JSON');
  addExamples(command, [
    ['higgs list'],
    ['higgs remove hf:org/model'],
    ['higgs remove hf:org/model@v1.0 --dry-run'],
  ]).action(remove);
}

async function list(directory: string | undefined, { json }: { json?: boolean }): Promise<void> {
  const { cache } = await hubSettings();
  const models = await localModels(cache, directory);
  const total = models.reduce((sum, { bytes }) => sum + bytes, 0);
  if (json) return printJson({ cache, bytes: total, models });
  if (models.length === 0) return print(`no models, neither in ${cache} nor kept by higgs`);
  const home = quantizedHome() + sep;
  const shortOf = ({ name }: LocalModel) => (name.startsWith(home) ? name.slice(home.length) : name);
  const rows = models.map((model) => [shortOf(model), aboutText(model), bytesText(model.bytes)]);
  print(`${table(['model', 'what', 'size'], rows, [0, 1])}\n\n${counted(models.length, 'model')}, ${bytesText(total)}`);
  if (models.some((model) => shortOf(model) !== model.name)) note(`higgs run keeps models in ${quantizedHome()}`);
}

function aboutText({ kind, bpw, revisions, incomplete }: LocalModel): string {
  if (kind === 'quantized') return bpw === undefined ? 'quantized' : `quantized, ${bpw.toFixed(2)} bits per weight`;
  const named = revisions.map(({ commit, refs }) => (refs.length > 0 ? refs.join(', ') : commit.slice(0, 12)));
  return [...named, ...(incomplete > 0 ? [`${bytesText(incomplete)} incomplete`] : [])].join('; ');
}

async function remove(name: string, { dryRun = false, json }: { dryRun?: boolean; json?: boolean }): Promise<void> {
  const removed = await removeNamed(name, dryRun);
  if (json) return printJson({ name, removed: !dryRun, ...removed });
  print(`${[...removed.paths].join('\n')}\n${bytesText(removed.bytes)} ${dryRun ? 'would be freed' : 'freed'}`);
}

async function removeNamed(name: string, isDry: boolean): Promise<Removed> {
  if (!isRemote(name)) {
    // As it stands, or as `list` shows it.
    const kept = join(quantizedHome(), name);
    const isKept = !(await quantizedModel(name)) && basename(kept) === name && (await quantizedModel(kept));
    if (isKept || (await quantizedModel(name))) return removeQuantized(isKept ? kept : name, isDry);
    throw new FileError(
      'remove',
      name,
      undefined,
      'it is not a quantized model; to remove one from the hub’s cache, give hf:org/model',
    );
  }
  const model = readName(name);
  const { cache } = await hubSettings();
  const local = model && (await localModels(cache)).find(({ path }) => path === repoPath(cache, model));
  if (!model || !local) throw new FileError('remove', name, undefined, 'the cache has no such model');
  const isWhole = !/@|\/(tree|resolve|blob|raw)\//.test(name);
  if (isWhole) return removeCached(local.path, undefined, isDry);
  const { revision } = model;
  const commits = local.revisions.filter(
    ({ commit, refs }) => refs.includes(revision) || (revision.length >= SHORT && commit.startsWith(revision)),
  );
  if (commits.length === 1) return removeCached(local.path, commits[0].commit, isDry);
  throw new FileError('remove', nameText(model), undefined, `the cache has ${commits.length} revisions of that name`);
}
