// One part of a plan, carried out: its tensors, of the first part what is not tensors, and the note that says it is complete.

import { runPlan, type WritingOptions } from '../quantize/checkpoint.ts';
import { JOURNAL_NAME } from '../quantize/journal.ts';
import type { LayoutOptions, Plan } from '../quantize/plan.ts';
import type { Report } from '../quantize/report.ts';
import { writeWhole } from '../quantize/writer.ts';
import type { OutputFolder, ResumableFolder } from '../source/source.ts';
import { type CarriedFile, type KnownSensitivities, LAYOUT_NAME, noteBytes, PART_NAME, partIdentity } from './note.ts';
import { type Part, planPart } from './shares.ts';

interface PartRun extends WritingOptions {
  part: Part;
  layout: LayoutOptions;
  /** What the plan was made by. */
  sensitivities: KnownSensitivities | undefined;
  /** Writes the files beside the weights. */
  carry(output: OutputFolder): Promise<unknown>;
  /** Raises a change of the input. */
  unchanged(): Promise<unknown>;
}

/**
 * Carries out one part of a plan. What it writes is a quantized checkpoint of its tensors; `mergeParts` makes one of all.
 * @returns the report of its own tensors
 * @throws what `runPlan` throws
 */
export async function runPart(whole: Plan, output: OutputFolder, options: PartRun): Promise<Report> {
  const {
    part,
    layout,
    sensitivities = null,
    carry,
    unchanged,
    kernels,
    resume,
    scaleSearch = false,
    ...running
  } = options;
  const identity = await partIdentity(whole, part, scaleSearch);
  const plan = planPart(whole, part, layout, scaleSearch);
  // Not the input's dates: a part goes on where another machine left it, which has files of other dates.
  const going = resume && { ...resume, identity: JSON.stringify(identity) };
  const report = await runPlan(plan, output, { ...running, kernels, scaleSearch, resume: going });
  const carried: CarriedFile[] = [];
  if (part.index === 1) {
    const noting = notingFiles(output, kernels, carried);
    const headers = await new Blob(whole.shards.map(({ header }) => header)).arrayBuffer();
    await writeWhole(noting, LAYOUT_NAME, new Uint8Array(headers));
    await carry(noting);
  }
  await unchanged();
  const sizes = ({ shards }: Plan) => shards.map(({ fileName, byteLength }) => [fileName, byteLength] as const);
  const isFirst = part.index === 1;
  const about = isFirst ? { bytesIn: whole.bytesIn, sensitivities, about: part.about ?? null } : null;
  const note = { ...identity, files: sizes(plan), carried, shards: isFirst ? sizes(whole) : [], whole: about };
  await writeWhole(output, PART_NAME, noteBytes(note));
  if (resume && !resume.keepJournal) await (output as ResumableFolder).remove(JOURNAL_NAME);
  return report;
}

// The folder, which notes what is written to it.
function notingFiles(output: OutputFolder, kernels: WritingOptions['kernels'], noted: CarriedFile[]): OutputFolder {
  return {
    async create(name) {
      const sink = await output.create(name);
      let [bytes, crc] = [0, 0];
      return {
        async write(piece) {
          bytes += piece.length;
          crc = kernels.crc32(crc, piece);
          await sink.write(piece);
        },
        async close() {
          await sink.close();
          noted.push({ name, bytes, crc });
        },
        abort: (reason) => sink.abort(reason),
      };
    },
  };
}
