// higgs merge: parts that several tasks wrote, put together to what one run would have written.

import type { Command } from 'commander';
import { isDirectory } from '../disk/cache.ts';
import { checkWritable, isThere, LOCK_NAME, writeAtomically } from '../disk/commit.ts';
import { readTextFile } from '../disk/files.ts';
import { stageOutput } from '../disk/output.ts';
import { completeParts, partFiles, partsPath } from '../disk/parts.ts';
import { FormatError } from '../errors.ts';
import { writeAlphas } from '../linearity/alphas.ts';
import type { QuantizeReport } from '../open.ts';
import { isMergeOf } from '../parts/merge.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import { mergeSensitivities } from '../sensitivity/results/part.ts';
import { openFolder } from '../source/file.ts';
import { folderOf } from '../source/memory.ts';
import type { Folder } from '../source/source.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { print, printJson, printJsonText, say, warn } from '../terminal/print.ts';
import { alphasText, reportText } from '../terminal/report.ts';
import { notedAdditions, writeAdditions } from './common/additions.ts';
import { Interrupted, showsWriting, withSession } from './common/session.ts';

/** Rows of the table of sensitivities that is printed: the file has all. */
const ROWS = 10;

interface Options {
  resume?: boolean;
  force?: boolean;
  all?: boolean;
  json?: boolean;
}

/** Adds the verb `merge`. */
export function addMerge(program: Command): void {
  const command = program
    .command('merge')
    .summary('put together the parts that several tasks wrote')
    .description(
      'Puts together the parts that `higgs quantize --part` or `higgs sensitivity --part` wrote. The files are, byte by byte, those of one run. Checks every part before and while it reads it. Names parts that are missing, damaged, or of another plan or release. The parts stay: remove <out>.parts when you no longer need them.',
    )
    .argument('<out>', 'what --output named; the parts are in <out>.parts')
    .optionsGroup(GROUPS.output)
    .option('--resume', 'continue an interrupted run')
    .option('--force', 'replace an existing output, or what an interrupted run left');
  addPrinting(command, 'print the report as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs quantize DeepSeek-V3 -o v3-higgs --part 1/2', 'on one machine'],
    ['higgs quantize DeepSeek-V3 -o v3-higgs --part 2/2', 'on another'],
    ['higgs merge v3-higgs', 'then, on any'],
    ['higgs merge alphas.json', 'the parts of higgs sensitivity -o alphas.json --part'],
  ]).action(merge);
}

type Merged = QuantizeReport & { about?: string };

async function merge(out: string, options: Options): Promise<void> {
  const began = performance.now();
  const files = await partFiles(out);
  if (files.length > 0) return mergeFiles(out, files, options);
  const report = await mergeCheckpoint(out, options);
  if (!report) return tellDone(out, options);
  const { about: _, ...figures } = report;
  const timed = { ...figures, seconds: (performance.now() - began) / 1000 };
  for (const warning of report.warnings) warn(warning);
  if (options.json) printJson(timed);
  else print(reportText(timed, out, options.all));
}

// Sensitivities: small files, which are written at once.
async function mergeFiles(out: string, files: readonly string[], options: Options): Promise<void> {
  const { force = false, all, json } = options;
  const began = performance.now();
  const isOld = !force && (await isThere(out));
  if (!isOld) await checkWritable(out, { force });
  const parts = await Promise.all(files.map(async (name) => ({ name, content: await readTextFile(name) })));
  const alphas = mergeSensitivities(parts);
  if (isOld && (await readTextFile(out)) === writeAlphas(alphas)) return tellDone(out, options);
  await writeAtomically(out, writeAlphas(alphas), { force });
  if (json) printJsonText(writeAlphas(alphas));
  else print(alphasText(alphas, out, (performance.now() - began) / 1000, all ? alphas.tensors.size : ROWS));
}

// A scheduler may run a merge again that is done.
function tellDone(out: string, { json }: Options): void {
  if (json) printJson({ done: true });
  else print(`the output is complete already: ${out}`);
}

// @returns undefined if the output is there, of these parts
async function mergeCheckpoint(out: string, { resume = false, force }: Options): Promise<Merged | undefined> {
  const parts = await completeParts(out);
  try {
    if (!force && (await isMade(out, parts))) return undefined;
    return await withSession('merge', 1, async (session) => {
      const { higgs, signal } = session;
      const directory = partsPath(out);
      const folder = Object.assign(folderOf(directory, {}), { close: async () => {} });
      const input = { folder, path: directory, directory, isFile: false, files: async () => [] };
      const staging = await stageOutput(out, input, { force, resume });
      let report: Merged;
      try {
        report = await higgs.mergeParts(parts, staging.folder, {
          ...{ signal, resume: { identity: 'merge', keepJournal: true } },
          onProgress: showsWriting(session),
        });
        await writeAdditions(staging.folder, report, notedAdditions(report.about));
      } catch (error) {
        if (error instanceof FormatError && staging.isNew) await staging.discard();
        else await staging.leave();
        const kept = `what is done is kept in ${out}.partial; run again with --resume to continue`;
        if (error instanceof Interrupted) error.message = `interrupted; ${kept}`;
        else if (!(error instanceof FormatError)) say(kept);
        throw error;
      }
      await staging.commit();
      return report;
    });
  } finally {
    for (const part of parts) await part.close();
  }
}

// Whether a run that put these parts together has ended.
async function isMade(out: string, parts: readonly Folder[]): Promise<boolean> {
  if (!(await isDirectory(out))) return false;
  const folder = await openFolder(out);
  try {
    const names = await folder.list();
    return !names.includes(JOURNAL_NAME) && !names.includes(LOCK_NAME) && (await isMergeOf(parts, folder));
  } finally {
    await folder.close();
  }
}
