// Loading by all threads: batches are read while others are checked and stored, whoever does it, with the same bits and the same errors.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load } from '../src/index.ts';
import { joinCrc32 } from '../src/model/loading/crc.ts';
import type { Folder, Source } from '../src/source/source.ts';
import { startThreads } from '../src/workers/node.ts';
import { loadAlone } from './alone.ts';
import { sameBits } from './bits.ts';
import { crc32, memoryFolder, memoryOutput, readSafetensors } from './checkpoints.ts';
import { type Config, configs, modelFolder, randomFile, randomIds } from './models.ts';

const test = suite('loading');

const config: Config = {
  ...configs.llama,
  ...{ hidden_size: 512, intermediate_size: 1540, num_hidden_layers: 3, vocab_size: 4096 },
  ...{ num_attention_heads: 8, num_key_value_heads: 4, head_dim: 64 },
};
const ids = randomIds(9, 4096);
const higgs = await load();
const original = modelFolder(config, randomFile(config, ['BF16']));
const output = memoryOutput();
await higgs.quantizeCheckpoint(original, output, { grid: 't4', embeddings: 't3' });
const quantized = output.folder();

/** How bytes come: at once, later, at once after the checksums, which come late, or to their place, at once or also later. */
type How = (typeof HOWS)[number];
const HOWS = ['now', 'later', 'then now', 'in place', 'in place later'] as const;

// A folder whose bytes come so; `reads` counts those of tensors that are under way, and the most at once.
function slowFolder(folder: Folder, how: How, reads = { now: 0, most: 0, seen: 0 }): Folder {
  const late = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  return {
    name: folder.name,
    list: () => folder.list(),
    async open(name): Promise<Source> {
      const source = await folder.open(name);
      const all = new Uint8Array(await source.slice(0, source.byteLength));
      const cut = (start: number, end: number) => all.slice(start, end).buffer;
      return {
        byteLength: source.byteLength,
        async slice(start, end) {
          reads.seen++;
          reads.most = Math.max(reads.most, ++reads.now);
          if (how === 'later' || how === 'then now') await late(how === 'later' ? 5 : 100);
          reads.now--;
          return cut(start, end);
        },
        ...(how !== 'later' && { sliceSync: cut }),
        ...((how === 'in place' || how === 'in place later') && {
          sliceInto(start, end, to) {
            to.set(all.subarray(start, end));
            return end - start;
          },
        }),
        ...(how === 'in place later' && {
          async sliceIntoLater(start, end, to) {
            reads.most = Math.max(reads.most, ++reads.now);
            to.fill(0xa5); // what nobody may take for it
            await late(reads.seen++ % 3);
            reads.now--;
            to.set(all.subarray(start, end));
            return end - start;
          },
        }),
      };
    },
  };
}

test('joinCrc32() joins checksums of parts to that of the whole', () => {
  const bytes = Uint8Array.from({ length: 70001 }, (_, i) => (i * i * 7 + (i >> 3)) & 255);
  for (const length of [0, 1, 3, 255, 256, 4097, 65536, 70001]) {
    for (const split of [0, 1, 2, 1023, length].filter((at) => at <= length)) {
      const [first, second] = [bytes.subarray(0, split), bytes.subarray(split, length)];
      assert.is(joinCrc32(crc32(first), crc32(second), length - split), crc32(bytes.subarray(0, length)));
    }
  }
});

for (const [kind, folder] of Object.entries({ plain: original, quantized })) {
  test(`loadModel() of ${kind} weights gives the same bits however bytes come and whoever stores them`, async () => {
    let wanted: Float32Array | undefined;
    for (const how of HOWS) {
      for (const count of [1, 3]) {
        const reads = { now: 0, most: 0, seen: 0 };
        const fractions: number[] = [];
        const model = await loadAlone(slowFolder(folder, how, reads), {
          ...(count > 1 && { threads: await startThreads(count) }),
          onProgress: ({ bytesDone, bytes }) => fractions.push(bytesDone / bytes),
        });
        const logits = await model.forward(ids, { logits: 'all' });
        wanted ??= logits;
        sameBits(logits, wanted);
        await model.close();
        assert.ok(fractions.length > 5);
        assert.is(fractions.at(-1), 1, 'all was told of');
        assert.ok(fractions.every((share, i) => i === 0 || share >= fractions[i - 1]));
        assert.ok(reads.most <= 48, `${reads.most} reads at once`);
        if (how === 'later' || (how === 'in place later' && count === 1)) assert.ok(reads.most > 1, 'reads overlap');
      }
    }
  });
}

test('loadModel() names the tensor whose checksum does not hold, however bytes come and whoever stores them', async () => {
  for (const name of ['model.norm.weight', 'model.layers.2.mlp.down_proj.weight', 'model.embed_tokens.weight']) {
    const files = new Map([...output.files].map(([name, bytes]) => [name, bytes.slice()]));
    const file = files.get('model.safetensors')!;
    const { tensors } = readSafetensors(file);
    const [, { start, bytes }] = [...tensors].find(([key]) => key.startsWith(name))!;
    const offset = start + bytes.length - 1;
    file[offset] ^= 1;
    for (const how of HOWS) {
      for (const count of [1, 2]) {
        const threads = count > 1 ? { threads: await startThreads(count) } : {};
        const error = await loadAlone(slowFolder(memoryFolder(Object.fromEntries(files)), how), threads).then(
          String,
          String,
        );
        assert.match(error, new RegExp(`^FormatError: .*tensor "${name.replaceAll('.', '\\.')}.*": CRC-32 must be `));
      }
    }
  }
});

test('loadModel() tells of the first part that cannot be read, and reads no more when it has failed', async () => {
  for (const fails of [6, 40]) {
    let reads = 0;
    let now = 0;
    const folder: Folder = {
      ...slowFolder(quantized, 'later'),
      async open(name) {
        const source = await slowFolder(quantized, 'later').open(name);
        return {
          byteLength: source.byteLength,
          async slice(start, end) {
            const read = ++reads;
            now++;
            await new Promise((resolve) => setTimeout(resolve, read % 3));
            now--;
            if (name.endsWith('.safetensors') && read >= fails) throw new RangeError(`read ${fails} failed`);
            return source.slice(start, end);
          },
        };
      },
    };
    for (const count of [1, 2]) {
      [reads, now] = [0, 0];
      const threads = count > 1 ? { threads: await startThreads(count) } : {};
      const message = await loadAlone(folder, threads).then(String, String);
      assert.is(message, `RangeError: read ${fails} failed`);
      assert.is(now, 0, 'reads were under way');
    }
  }
});

test('loadModel() does not leave reads under way to places of a model that it gives up', async () => {
  for (const gives of ['an error', 'too few bytes']) {
    let [reads, now] = [0, 0];
    const complete = slowFolder(quantized, 'in place later');
    const folder: Folder = {
      ...complete,
      async open(name) {
        const source = await complete.open(name);
        return {
          ...source,
          async sliceIntoLater(start, end, to) {
            const read = ++reads;
            now++;
            const count = await source.sliceIntoLater!(start, end, to);
            now--;
            if (read < 5) return count;
            if (gives === 'an error') throw new RangeError('read 5 failed');
            return count - 1;
          },
        };
      },
    };
    const message = await loadAlone(folder, {}).then(String, String);
    assert.match(message, gives === 'an error' ? /^RangeError: read 5 failed$/ : /^FormatError: .*it gave \d+$/);
    assert.ok(reads >= 5);
    assert.is(now, 0, 'reads were under way');
  }
});

test('loadModel() refuses bytes that do not fill their place, or that come there later', async () => {
  for (const [given, wanted] of [
    [(length: number) => length - 1, /^FormatError: .*source must give the \d+ bytes from \d+ to \d+: it gave \d+$/],
    [(length: number) => Promise.resolve(length), /^[A-Za-z]+Error: sliceInto\(\) of .* must be .*Promise/],
    [() => undefined, /^[A-Za-z]+Error: sliceInto\(\) of .* must be a number/],
  ] as const) {
    const complete = slowFolder(original, 'in place');
    const folder: Folder = {
      ...complete,
      async open(name) {
        const source = await complete.open(name);
        return { ...source, sliceInto: (start, end, to) => given(to.length && end - start) as number };
      },
    };
    for (const count of [1, 2]) {
      const threads = count > 1 ? { threads: await startThreads(count) } : {};
      assert.match(await loadAlone(folder, threads).then(String, String), wanted);
    }
  }
});

test('loadModel() rejects when its threads are closed meanwhile', async () => {
  const threads = await startThreads(2);
  const onProgress = () => void threads.close();
  const message = await loadAlone(slowFolder(quantized, 'later'), { threads, onProgress }).then(String, String);
  assert.match(message, /^StateError: threads must be open/);
});

test.run();
