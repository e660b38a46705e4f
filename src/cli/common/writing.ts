// Writing one part of a quantized checkpoint.

import { checkMade, type PartAttempt, stagePart } from '../../disk/parts.ts';
import { FormatError, UnsupportedError } from '../../errors.ts';
import type { OpenCheckpoint } from '../../open.ts';
import { partIdentity } from '../../parts/note.ts';
import type { Part } from '../../parts/shares.ts';
import type { Plan } from '../../quantize/plan.ts';
import type { Report } from '../../quantize/report.ts';
import { print, printJson, say } from '../../terminal/print.ts';
import { reportText } from '../../terminal/report.ts';
import { UsageError } from '../../terminal/usage.ts';
import type { PartOptions } from './part.ts';
import { type RefiningChoice, refiningOf } from './refining.ts';
import { type Equipment, Interrupted, showsWriting, withSession } from './session.ts';

interface Writing {
  part: Part;
  out: string;
  /** Whether the whole is there. */
  isMade: boolean;
  workers: number;
  scaleSearch?: boolean;
  resume?: boolean;
  force?: boolean;
  all?: boolean;
  json?: boolean;
}

/** What a part cannot do. @throws {UsageError} */
export function checkPart(options: PartOptions & RefiningChoice & { text?: string; output?: string }): void {
  if (options.part === undefined) return;
  if (refiningOf(options) !== undefined)
    throw new UsageError('--part must come without --refine: statistics are gathered by one machine');
  if (options.text !== undefined)
    throw new UsageError('--text must come without --part: only the whole can be measured');
  if (options.output?.endsWith('.safetensors'))
    throw new UsageError(`--output must be a directory where there is --part: got ${options.output}`);
}

/** Writes a part, unless it is there; with `resume` what interrupts it leaves what is done. */
export async function writePart(checkpoint: OpenCheckpoint, planned: Plan, options: Writing): Promise<void> {
  const { part, out, isMade, workers, scaleSearch = false, all, json } = options;
  const name = `part ${part.index} of ${part.count}`;
  const identity = await partIdentity(planned, part, scaleSearch);
  if (isMade) await checkMade(out, identity);
  const staged = isMade ? undefined : await stagePart(out, identity, options);
  if (!staged) {
    if (json) printJson({ part: part.index, parts: part.count, done: true });
    else print(`${isMade ? `${name}: the output` : name} is complete already: ${out}`);
    return;
  }
  const began = performance.now();
  const report = await withSession(name, workers, (session) =>
    runStaged(checkpoint, planned, staged, options, session),
  );
  const seconds = (performance.now() - began) / 1000;
  if (json) printJson({ part: part.index, parts: part.count, ...report, seconds });
  else print(`${name}\n${reportText({ ...report, seconds }, staged.path, all)}`);
}

async function runStaged(
  checkpoint: OpenCheckpoint,
  planned: Plan,
  staged: PartAttempt,
  { part, scaleSearch = false, resume }: Writing,
  session: Equipment,
): Promise<Report> {
  const { pool, signal } = session;
  try {
    const report = await checkpoint.quantize(staged.folder, {
      ...{ planned, part, scaleSearch, pool, signal },
      ...(resume && { resume: { identity: '', keepJournal: true } }),
      onProgress: showsWriting(session),
    });
    await staged.finish();
    return report;
  } catch (error) {
    const isFault = error instanceof FormatError || error instanceof UnsupportedError;
    if ((isFault && staged.isNew) || !resume) await staged.discard();
    else {
      await staged.leave();
      const kept = 'what is done is kept; run again with --resume to continue';
      if (error instanceof Interrupted) error.message = `interrupted; ${kept}`;
      else say(kept);
    }
    throw error;
  }
}
