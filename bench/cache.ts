// What codes of the cache cost and gain: how far predictions are from those of a cache of f16, turned by the Hadamard transform and not,
// beside what activations in integers cost; and the time of attention alone.
//   node build/bench/cache.js quality <directory of a model> <text> [tokens]
//   node build/bench/cache.js attention [heads] [kvHeads] [headDim]

import { readFileSync } from 'node:fs';
import { openCheckpoint } from '../src/checkpoint/checkpoint.ts';
import { readArchitecture } from '../src/families/family.ts';
import { largeGrids } from '../src/grids/large.ts';
import { load } from '../src/higgs.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { decoderBinary } from '../src/kernels/decoder/load.ts';
import { attendCodesScratchBytes, attendScratchBytes, cacheCodesBytes } from '../src/kernels/decoder/sizes.ts';
import { loadMemories } from '../src/model/loading/load.ts';
import { type LanguageModel, type ModelOptions, planArchitecture, startModel } from '../src/model/model.ts';
import { openWeights } from '../src/model/weights.ts';
import { openFolder } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { perplexity } from '../src/text/perplexity.ts';
import { readTokenizer } from '../src/text/tokenizer.ts';
import { normals } from '../tests/bits.ts';
import { memoryOutput } from '../tests/checkpoints.ts';

const CONTEXT = 256;
const [command, ...rest] = process.argv.slice(2);
if (command === 'quality') await quality(rest[0], rest[1], Number(rest[2] ?? 4096));
else if (command === 'attention') await attention(...rest.map(Number));
else throw new RangeError(`first argument must be quality or attention: got ${command}`);

type Options = Pick<ModelOptions, 'activations' | 'cache'> & { turnsCache?: boolean };

async function open(folder: Folder, given: Options): Promise<LanguageModel> {
  const options = { context: CONTEXT, activations: 'f32', ...given } as const;
  const weights = await openWeights(await openCheckpoint(folder));
  const planned = planArchitecture(await readArchitecture(folder), weights, options, 1);
  return startModel(planned, options, (places, crew) => loadMemories(places, weights, {}, crew));
}

async function quality(path: string, file: string, count: number): Promise<void> {
  const folder = await openFolder(path);
  const { encode } = await readTokenizer(folder);
  const ids = encode(readFileSync(file, 'utf8').replaceAll('<|endoftext|>', ''), { special: false }).slice(0, count);
  const higgs = await load(undefined, { grids: largeGrids });
  const output = memoryOutput();
  await higgs.quantizeCheckpoint(folder, output, { grid: 't4' });
  const quantized = output.folder();
  console.log(`${path}, ${ids.length} tokens in windows of ${CONTEXT}\n`);
  console.log('| | mean KL | ± | same top token, % | perplexity |\n|---|---|---|---|---|');
  const rows: [string, Folder, Options, Options][] = [
    ['activations in integers, t4', quantized, { activations: 'int8' }, {}],
    ...(['f32', 'q8', 'q4'] as const).flatMap((cache): [string, Folder, Options, Options][] => [
      [`cache ${cache}`, folder, { cache }, {}],
      ...(cache === 'f32' ? [] : [[`cache ${cache}, not turned`, folder, { cache, turnsCache: false }, {}] as never]),
    ]),
  ];
  for (const [name, from, options, other] of rows) {
    const [model, against] = [await open(from, options), await open(from, other)];
    const measured = await perplexity(model, ids, { context: CONTEXT, against });
    const { meanKl, standardError, top1Agreement } = measured.against!;
    const cells = [meanKl.toPrecision(3), standardError.toPrecision(2), (100 * top1Agreement).toFixed(2)];
    console.log(`| ${[name, ...cells, measured.perplexity.toFixed(4)].join(' | ')} |`);
    await Promise.all([model.close(), against.close()]);
  }
  await folder.close();
}

// A token of one layer: heads share keys and values as they do in models.
async function attention(heads = 16, kvHeads = 16, headDim = 64): Promise<void> {
  console.log('| positions | cache | bytes | ms a token and layer, best of 40 | × f16 |\n|---|---|---|---|---|');
  for (const positions of [4096, 32768]) {
    const group = heads / kvHeads;
    const memory = createMemory(kvHeads * positions * headDim * 9 + (64 << 20), false);
    const kernels = await instantiateDecoder(decoderBinary, memory);
    let next = 1 << 16;
    const reserve = (bytes: number) => {
      const address = next;
      next = Math.ceil((next + bytes + 64) / 64) * 64;
      return address;
    };
    const put = (count: number) => {
      const address = reserve(count * 4);
      new Float32Array(memory.buffer, address, count).set(normals(count, count));
      return address;
    };
    const [q, y, masks] = [put(heads * headDim), reserve(heads * headDim * 4), reserve(4096 * 4)];
    kernels.signs(0, masks, 4096);
    const span = positions + 4;
    const scratch = reserve(
      Math.max(attendScratchBytes(1, span, headDim), attendCodesScratchBytes(64, span, headDim, 0)) + 64,
    );
    const vectors = put(64 * headDim); // of which the cache is full, in turns
    const works = (['f16', 'q8', 'q4'] as const).map((cache) => {
      const bits = cache === 'q8' ? 8 : 4;
      const row = cache === 'f16' ? headDim * 2 : cacheCodesBytes(headDim, bits);
      const [keys, values] = [reserve(kvHeads * positions * row), reserve(kvHeads * positions * row)];
      const [keyScales, valueScales] = [reserve(kvHeads * positions * 2), reserve(kvHeads * positions * 2)];
      for (let i = 0; i < kvHeads * positions; i++) {
        for (const [address, scales, x] of [
          [keys, keyScales, vectors + (i % 64) * headDim * 4],
          [values, valueScales, vectors + ((i * 7) % 64) * headDim * 4],
        ] as const) {
          if (cache === 'f16') kernels.f32ToF16(x, address + i * row, headDim);
          else kernels.keepCodes(x, headDim, bits, masks, address + i * row, scales + i * 2, scratch);
        }
      }
      const run = () => {
        for (let kv = 0; kv < kvHeads; kv++) {
          const from = kv * group * headDim * 4;
          const [k, v] = [keys + kv * positions * row, values + kv * positions * row];
          const how = [positions - 1, 0, 0.125, 0, 0, 1, span, scratch] as const;
          if (cache === 'f16') {
            kernels.attend(q + from, y + from, 1, group, heads * headDim, headDim, headDim, k, v, 1, ...how);
            continue;
          }
          const scales = kv * positions * 2;
          kernels.attendCodes(
            ...([q + from, y + from, 1, group, heads * headDim, headDim, 0, k, row, keyScales + scales, 0] as const),
            ...([v, row, valueScales + scales, bits, masks] as const),
            ...how,
          );
        }
      };
      const bytes = 2 * kvHeads * positions * (row + (cache === 'f16' ? 0 : 2));
      return { cache, run, bytes, times: [] as number[] };
    });
    for (let round = 0; round < 40; round++) {
      for (const { run, times } of works) {
        const began = performance.now();
        run();
        times.push(performance.now() - began);
      }
    }
    const best = works.map(({ times }) => Math.min(...times));
    for (const [i, { cache, bytes }] of works.entries()) {
      const cells = [positions, cache, bytes, best[i].toPrecision(3), (best[0] / best[i]).toFixed(2)];
      console.log(`| ${cells.join(' | ')} |`);
    }
  }
}
