// Parts of which some bytes were changed: the checkpoint of one run, or a refusal. Notes and layouts that another hand has sealed again: no more
// than a sentence that says what is wrong with them.

import { uniformAlphas } from '../../src/index.ts';
import { readSealed, sealLine } from '../../src/source/lines.ts';
import { normals } from '../bits.ts';
import { crc32, memoryFolder, memoryOutput, safetensors, tensorOf } from '../checkpoints.ts';
import { changeBytes } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { changedJson } from './json.ts';
import { expect } from './oracle.ts';
import { type Random, randomOf } from './random.ts';
import { CASE_NAME, caseOf, choicesOf, encode, type Target, type World } from './target.ts';

const matrix = (rows: number, cols: number, seed: number) => tensorOf('F32', [rows, cols], normals(rows * cols, seed));
const input = memoryFolder({
  'model.safetensors': safetensors({
    'l.0.up_proj.weight': matrix(4, 100, 1),
    'norm.weight': tensorOf('F32', [5], [1, 2, 3, 4, 5]),
    'l.1.up_proj.weight': matrix(3, 130, 2),
    'l.2.up_proj.weight': matrix(2, 64, 3),
  }),
  'config.json': encode('{}'),
});
const options = { bpw: 4.5, alphas: uniformAlphas, groupSize: 64, maxShardBytes: 1500 };
const COUNT = 2;
const NOTE = 'higgs.part';
const LAYOUT = 'higgs.layout';

interface Made {
  readonly whole: Files;
  readonly parts: readonly Files[];
}

let original: Promise<Made> | undefined;

async function make({ higgs }: World): Promise<Made> {
  const checkpoint = await higgs.open(input);
  const run = async (part?: { index: number; count: number }) => {
    const output = memoryOutput();
    await checkpoint.quantize(output, { ...options, ...(part && { part }) });
    return Object.fromEntries(output.files);
  };
  const parts = Array.from({ length: COUNT }, (_, i) => run({ index: i + 1, count: COUNT }));
  return { whole: await run(), parts: await Promise.all(parts) };
}

// Changes a note and seals it again; or the layout, with its checksum in the note.
function forge(files: Files, name: string, random: Random): void {
  const note = readSealed(files[NOTE])[0].value as { carried: { name: string; bytes: number; crc: number }[] };
  if (name === NOTE) {
    const bytes = encode(changedJson(note, random));
    const seal = crc32(bytes).toString(16).padStart(8, '0');
    files[NOTE] = encode(`${seal} ${new TextDecoder().decode(bytes)}\n`);
    return;
  }
  const layout = changeBytes(files[LAYOUT], random);
  files[LAYOUT] = layout;
  const carried = note.carried.map((file) =>
    file.name === LAYOUT ? { name: LAYOUT, bytes: layout.length, crc: crc32(layout) } : file,
  );
  files[NOTE] = sealLine({ ...note, carried }).bytes;
}

export const parts: Target = {
  name: 'parts',
  subjects: ['part', 'memory'],
  make(random) {
    return { [CASE_NAME]: caseOf({ forges: random.chance(0.6), share: random.float(), seed: random.below(2 ** 31) }) };
  },
  async run(files, world) {
    const { forges, share, seed } = choicesOf<{ forges: boolean; share: number; seed: number }>(files);
    original ??= make(world);
    const { whole, parts } = await original;
    const random = randomOf(seed, 'parts', 0);
    const changed = parts.map((part) => ({ ...part }));
    const part = random.pick(changed);
    const names = forges ? [NOTE, NOTE, ...(LAYOUT in part ? [LAYOUT, LAYOUT] : [])] : Object.keys(part).sort();
    const name = names[Math.floor(share * names.length)];
    if (forges) forge(part, name, random);
    else part[name] = changeBytes(part[name], random);
    const output = memoryOutput();
    await world.higgs.mergeParts(changed.map(memoryFolder), output);
    if (forges) return 'forged';
    for (const [file, bytes] of Object.entries(whole)) {
      const actual = output.files.get(file);
      expect(
        actual?.length === bytes.length && actual.every((byte, i) => byte === bytes[i]),
        `${file} is that of one run, though ${name} of a part was changed`,
      );
    }
  },
};
