// Continuous batching: sequences of many callers over one cache, with a fake engine whose logits are a hash of all that the cache
// holds for a token, and of the sequence's state where it keeps any. A wrong row, a wrong state, a wrong position or a copy too short changes them.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadLanguage } from '../src/model/model.ts';
import { type Batcher, type Engine, openBatcher, type Sequence } from '../src/model/sequences/batch.ts';
import { openRows } from '../src/model/sequences/rows.ts';
import { startThreads } from '../src/workers/node.ts';
import { sameBits, uniform } from './bits.ts';
import { configs, modelFolder, randomFile, randomIds } from './models.ts';

const test = suite('batch');
const WIDTH = 5;

interface FakeEngine extends Engine {
  /** Tokens of each pass, and segments. */
  readonly passes: [tokens: number, segments: number][];
}

function fakeEngine(rows: number, batch = 8, slots = 0): FakeEngine {
  const states = new Int32Array(slots).fill(-1);
  const cache = new Int32Array(rows).fill(-1);
  const passes: [number, number][] = [];
  const hash = (start: number, length: number, state: number) => {
    let h = 17 ^ state;
    for (let i = 0; i < length; i++) h = Math.imul(h ^ (cache[start + i] + 1), 0x01000193);
    return Float32Array.from({ length: WIDTH }, (_, i) => Math.imul(h ^ i, 0x85ebca6b) / 2 ** 31);
  };
  return {
    ...{ batch, rows, slots, widths: { logits: WIDTH, hidden: WIDTH }, passes },
    run({ count, segments, logits }, ids, emit) {
      assert.is(ids.length, count);
      assert.ok(count <= batch && segments.every((segment) => segment.count > 0));
      passes.push([count, segments.length]);
      let [token, output] = [0, 0];
      for (const segment of segments) {
        if (slots > 0 && segment.position === 0) states[segment.slot] = 23;
        for (let j = 0; j < segment.count; j++) {
          assert.ok(segment.start + segment.position + j < rows);
          if (slots > 0) states[segment.slot] = Math.imul(states[segment.slot] ^ (ids[token] + 1), 0x2c1b3c6d);
          cache[segment.start + segment.position + j] = ids[token++];
          if (j < segment.count - segment.outputs) continue;
          const row = hash(segment.start, segment.position + j + 1, states[segment.slot] ?? 0);
          emit(output++, logits ? row : row.map((value) => -value));
        }
      }
    },
    copyState: (from, to) => void states.copyWithin(to, from, from + 1),
    copy: (from, to, length) => void cache.copyWithin(to, from, from + length),
    rowsBytes: (count) => count * 4,
    read: (start, count) => new Uint8Array(cache.slice(start, start + count).buffer),
    write: (start, count, given) => cache.set(new Int32Array(given.slice().buffer, 0, count), start),
  };
}

// What a sequence of these ids gives alone.
async function alone(ids: readonly number[], slots = 0): Promise<Float32Array> {
  const sequence = await openBatcher(fakeEngine(ids.length, 8, slots)).open({ capacity: ids.length });
  return sequence.extend(ids, { rows: 'all' });
}

test('extend() gives last, all or no rows, of logits or hidden states, or hands them to `each`', async () => {
  const ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
  const all = await alone(ids);
  const open = async () => (await openBatcher(fakeEngine(11))).open({ capacity: 11 });
  sameBits(await (await open()).extend(ids), all.slice(-WIDTH));
  assert.is((await (await open()).extend(ids, { rows: 'none' })).length, 0);
  sameBits(
    await (await open()).extend(ids, { rows: 'all', of: 'hidden' }),
    all.map((value) => -value),
  );
  const rows = new Float32Array(all.length);
  const each = (index: number, row: Float32Array) => rows.set(row, index * WIDTH);
  assert.is((await (await open()).extend(ids, { rows: 'all', each })).length, 0);
  sameBits(rows, all);
});

test('any schedule of sequences gives each the rows that it has alone, with recurrent states or without', async () => {
  for (let seed = 0; seed < 120; seed++) {
    const random = uniform(seed);
    const below = (n: number) => Math.floor(random() * n);
    const slots = seed % 3 === 0 ? 0 : seed % 3 === 1 ? 2 : 1 + below(20);
    const engine = fakeEngine(40 + below(60), 1 + below(12), slots);
    const batcher = openBatcher(engine);
    const beginnings = [1, 2, 3].map((k) => Array.from({ length: 12 }, (_, i) => (i < 6 ? i : i * k)));
    const texts = Array.from({ length: 12 }, () => {
      const beginning = beginnings[below(3)].slice(0, 1 + below(12));
      return [...beginning, ...Array.from({ length: 1 + below(20) }, () => below(50))];
    });
    const run = async (text: readonly number[]): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, below(4)));
      const wanted = await alone(text, Math.min(slots, 1));
      const sequence = await batcher.open({ capacity: text.length, ids: text.slice(0, 1 + below(text.length)) });
      while (sequence.ids.length < text.length) {
        assert.equal([...sequence.ids], text.slice(0, sequence.ids.length));
        const from = sequence.ids.length;
        const part = text.slice(from, from + (below(3) === 0 ? 1 + below(9) : 1));
        const rows = await sequence.extend(part, { rows: 'all' });
        sameBits(rows, wanted.slice(from * WIDTH, (from + part.length) * WIDTH), `seed ${seed}`);
        if (below(5) === 0) await new Promise((resolve) => setTimeout(resolve));
        if (below(8) === 0) sequence.truncate(below(sequence.ids.length));
      }
      sequence.close();
    };
    await Promise.all(texts.map(run));
  }
});

test('a recurrent state is copied where all of it is shared, and run again from the copy before the prompt else', async () => {
  const engine = fakeEngine(400, 8, 6);
  const batcher = openBatcher(engine);
  const ran = () => engine.passes.reduce((sum, [tokens]) => sum + tokens, 0);
  const prompt = Array.from({ length: 30 }, (_, i) => i);
  const first = await batcher.open({ capacity: 60 });
  await first.extend(prompt);
  for (const id of [7, 8, 9]) await first.extend([id]);
  const text = [...prompt, 7, 8, 9, 40, 41];
  // All that it holds begins the other.
  const second = await batcher.open({ capacity: 60, ids: text });
  assert.is(second.ids.length, 33);
  sameBits(await second.extend([40, 41]), (await alone(text, 1)).slice(-WIDTH));
  // The answer is not shared, nor is all of the prompt's last pass.
  const third = await batcher.open({ capacity: 60, ids: [...prompt, 1] });
  assert.is(third.ids.length, 24);
  sameBits(await third.extend(prompt.slice(24)), (await alone(prompt, 1)).slice(-WIDTH));
  let before = ran();
  first.truncate(31);
  assert.is(first.ids.length, 31);
  sameBits(await first.extend([5]), (await alone([...prompt, 7, 5], 1)).slice(-WIDTH));
  assert.is(ran() - before, 8); // from 24 on
  before = ran();
  first.truncate(3);
  sameBits(await first.extend([5]), (await alone([0, 1, 2, 5], 1)).slice(-WIDTH));
  assert.is(ran() - before, 4);
});

test('where all states are of open sequences, who comes waits', async () => {
  const batcher = openBatcher(fakeEngine(100, 8, 2));
  const [first, second] = [await batcher.open({ capacity: 9 }), await batcher.open({ capacity: 9 })];
  let isThere = false;
  const third = batcher.open({ capacity: 9 });
  third.then(() => (isThere = true));
  await first.extend([1, 2]);
  assert.is(isThere, false);
  second.close();
  sameBits(await (await third).extend([3, 4]), (await alone([3, 4], 1)).slice(-WIDTH));
});

test('generations at once go through the model together', async () => {
  const engine = fakeEngine(400, 16);
  const batcher = openBatcher(engine);
  const steps = 50;
  await Promise.all([1, 2, 3, 4].map((first) => generation(batcher, first, steps)));
  const together = engine.passes.filter(([tokens]) => tokens === 4).length;
  assert.ok(together >= steps - 3, `${together} of ${engine.passes.length}`);
});

test('a long prompt goes in slices beside generations, and does not hold them up', async () => {
  const engine = fakeEngine(2000, 64);
  const batcher = openBatcher(engine);
  let opened = 0;
  const generating = generation(batcher, 1, 200, () => opened++);
  const sequence = await batcher.open({ capacity: 1000 });
  const before = opened;
  await sequence.extend(Array.from({ length: 1000 }, (_, i) => i));
  assert.ok(opened - before >= 1000 / 64, `${opened - before} tokens meanwhile`);
  assert.ok(engine.passes.every(([tokens, segments]) => segments < 2 || tokens <= 17));
  await generating;
});

test('prompts take turns', async () => {
  const batcher = openBatcher(fakeEngine(4000, 8));
  const ends: number[] = [];
  const run = async (length: number) => {
    const sequence = await batcher.open({ capacity: length });
    await sequence.extend(new Array(length).fill(1));
    ends.push(length);
  };
  await Promise.all([run(2000), run(80), run(40)]);
  assert.equal(ends, [40, 80, 2000]);
});

test('open() waits for a place in the order of the calls, and an abort leaves the queue', async () => {
  const batcher = openBatcher(fakeEngine(10));
  const first = await batcher.open({ capacity: 8 });
  const order: string[] = [];
  const second = batcher.open({ capacity: 9 });
  second.then(() => order.push('second'));
  const abort = new AbortController();
  const third = batcher.open({ capacity: 1, signal: abort.signal });
  const fourth = batcher.open({ capacity: 1 });
  fourth.then(() => order.push('fourth'));
  abort.abort(new Error('left'));
  assert.is(await third.catch((error) => error.message), 'left');
  assert.equal(order, []); // the fourth has room, but not its turn
  first.close();
  (await second).close();
  await fourth;
  assert.equal(order, ['second', 'fourth']);
  const error = await batcher.open({ capacity: 11 }).catch((reason) => reason);
  assert.is(error.message, 'capacity must be at most the 10 rows of the cache: got 11');
});

test('open() copies what others hold of its ids, and takes over what has no room beside it', async () => {
  const engine = fakeEngine(30);
  const batcher = openBatcher(engine);
  const text = Array.from({ length: 20 }, (_, i) => i * i);
  const first = await batcher.open({ capacity: 20 });
  await first.extend(text.slice(0, 12));
  const fork = await batcher.open({ capacity: 10, ids: text.slice(0, 10) });
  assert.is(fork.ids.length, 9); // the last is to be computed
  sameBits(await fork.extend(text.slice(9, 10), { rows: 'all' }), (await alone(text)).slice(9 * WIDTH, 10 * WIDTH));
  fork.close();
  await first.extend(text.slice(12));
  first.close();
  const next = await batcher.open({ capacity: 28, ids: [...text, 7] });
  assert.is(next.ids.length, 20);
  sameBits(await next.extend([7]), (await alone([...text, 7])).slice(-WIDTH));
});

test('a sequence that nobody extends any more loses its place to those that wait, and comes back', async () => {
  const clock = performance.now;
  let ahead = 0;
  performance.now = () => clock.call(performance) + ahead;
  try {
    const batcher = openBatcher(fakeEngine(10));
    const left = await batcher.open({ capacity: 10 });
    await left.extend([1, 2, 3]);
    const waiting = batcher.open({ capacity: 6 });
    ahead = 60_000;
    const other = await waiting;
    sameBits(await other.extend([9, 8]), (await alone([9, 8])).slice(-WIDTH));
    const back = left.extend([4]);
    other.close();
    sameBits(await back, (await alone([1, 2, 3, 4])).slice(-WIDTH));
  } finally {
    performance.now = clock;
  }
});

// Runs with a clock that `ahead` moves: sequences lose their places after ten seconds.
async function withClock(work: (ahead: (ms: number) => void) => Promise<void>): Promise<void> {
  const clock = performance.now;
  let ahead = 0;
  performance.now = () => clock.call(performance) + ahead;
  try {
    await work((ms) => {
      ahead += ms;
    });
  } finally {
    performance.now = clock;
  }
}

test('two sequences that lost their places come back one after the other', async () => {
  await withClock(async (ahead) => {
    const batcher = openBatcher(fakeEngine(10));
    const [a, b] = [await batcher.open({ capacity: 5 }), await batcher.open({ capacity: 5 })];
    await Promise.all([a.extend([1, 2]), b.extend([3, 4])]);
    ahead(60_000);
    const other = await batcher.open({ capacity: 10 });
    await other.extend([9]);
    const wide = batcher.open({ capacity: 10 });
    const [backA, backB] = [a.extend([5]), b.extend([6])];
    ahead(60_000);
    other.close();
    (await wide).close();
    sameBits(await backA, (await alone([1, 2, 5])).slice(-WIDTH));
    sameBits(await backB, (await alone([3, 4, 6])).slice(-WIDTH));
  });
});

test('two that lost their places, and room for one of them', async () => {
  await withClock(async (ahead) => {
    const batcher = openBatcher(fakeEngine(10));
    const a = await batcher.open({ capacity: 10 });
    await a.extend([1, 2]);
    ahead(60_000);
    const b = await batcher.open({ capacity: 10 });
    await b.extend([3, 4]);
    ahead(60_000);
    const other = await batcher.open({ capacity: 10 });
    await other.extend([9]);
    const [backA, backB] = [a.extend([5]), b.extend([6])];
    other.close();
    sameBits(await backA, (await alone([1, 2, 5])).slice(-WIDTH));
    a.close();
    sameBits(await backB, (await alone([3, 4, 6])).slice(-WIDTH));
  });
});

test('close() of a sequence that comes back refuses its call, and harms nobody else', async () => {
  await withClock(async (ahead) => {
    const batcher = openBatcher(fakeEngine(10));
    const a = await batcher.open({ capacity: 10 });
    await a.extend([1, 2]);
    ahead(60_000);
    const other = await batcher.open({ capacity: 10 });
    const back = a.extend([5]).catch((reason) => reason);
    await undefined;
    a.close();
    other.close();
    assert.is((await back).message, 'sequence must be open: it is closed');
    const next = await batcher.open({ capacity: 10 });
    sameBits(await next.extend([7, 8]), (await alone([7, 8])).slice(-WIDTH));
  });
});

test('a sequence that comes back keeps its ids when that is aborted', async () => {
  await withClock(async (ahead) => {
    const batcher = openBatcher(fakeEngine(10));
    const a = await batcher.open({ capacity: 10 });
    await a.extend([1, 2, 3]);
    ahead(60_000);
    const other = await batcher.open({ capacity: 10 });
    const abort = new AbortController();
    const back = a.extend([5], { signal: abort.signal }).catch((reason) => reason);
    abort.abort(new Error('enough'));
    assert.is((await back).message, 'enough');
    assert.equal(a.ids, [1, 2, 3]);
    other.close();
    sameBits(await a.extend([5]), (await alone([1, 2, 3, 5])).slice(-WIDTH));
  });
});

test('a pass that fails settles every call, of hidden states too, and ends the model', async () => {
  const engine = fakeEngine(20);
  const batcher = openBatcher({
    ...engine,
    run() {
      throw new Error('trap');
    },
  });
  const [a, b] = [await batcher.open({ capacity: 5 }), await batcher.open({ capacity: 5 })];
  const calls = [a.extend([1]), b.extend([2], { of: 'hidden' })].map((call) => call.catch((reason) => reason.message));
  assert.equal(await Promise.all(calls), ['trap', 'trap']);
  assert.is(await a.extend([3]).catch((reason) => reason.message), 'trap');
});

test('close() within `each` harms nobody else', async () => {
  const batcher = openBatcher(fakeEngine(30));
  const [a, b] = [await batcher.open({ capacity: 9 }), await batcher.open({ capacity: 9 })];
  const closing = a.extend([1, 2], { each: () => a.close() }).catch((reason) => reason.message);
  const [refused, row] = await Promise.all([closing, b.extend([1, 2])]);
  assert.is(refused, 'sequence must be open: it is closed');
  sameBits(row, (await alone([1, 2])).slice(-WIDTH));
  const fork = await batcher.open({ capacity: 9, ids: [1, 2, 3] });
  sameBits(await fork.extend([1, 2, 3].slice(fork.ids.length)), (await alone([1, 2, 3])).slice(-WIDTH));
});

test('extend() ends at an abort with what went through, and an error of `each` harms nobody else', async () => {
  const batcher = openBatcher(fakeEngine(500, 4));
  const abort = new AbortController();
  const sequence = await batcher.open({ capacity: 200 });
  const each = () => abort.abort(new Error('enough'));
  const ids = Array.from({ length: 200 }, (_, i) => i);
  const error = await sequence.extend(ids, { rows: 'all', each, signal: abort.signal }).catch((reason) => reason);
  assert.is(error.message, 'enough');
  const done = sequence.ids.length;
  assert.ok(done > 0 && done < 200);
  sameBits(await sequence.extend(ids.slice(done)), (await alone(ids)).slice(-WIDTH));

  const [bad, good] = [await batcher.open({ capacity: 9 }), await batcher.open({ capacity: 9 })];
  const fault = () => {
    throw new Error('mine');
  };
  const [failed, row] = await Promise.all([
    bad.extend([1, 2], { each: fault }).catch((reason) => reason.message),
    good.extend([1, 2]),
  ]);
  assert.is(failed, 'mine');
  sameBits(row, (await alone([1, 2])).slice(-WIDTH));
});

test('other work of the thread runs between passes', async () => {
  const batcher = openBatcher(fakeEngine(5000));
  let turns = 0;
  const timer = setInterval(() => turns++);
  await generation(batcher, 1, 3000);
  clearInterval(timer);
  assert.ok(turns > 10, `${turns}`);
});

test('openRows() never hands out a row twice, and moves what is in use', () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = uniform(seed);
    const below = (n: number) => Math.floor(random() * n);
    const memory = new Int32Array(50);
    const held = new Map<object, { start: number; size: number; mark: number }>();
    const rows = openRows(50, (holding, to) => {
      memory.copyWithin(to, holding.start, holding.start + Math.min(holding.size, held.get(holding)!.size));
    });
    for (let step = 1; step < 60; step++) {
      const all = [...held];
      const [some] = all[below(all.length)] ?? [];
      const free = rows.free;
      if (below(3) > 0) {
        const size = 1 + below(20);
        const holding = rows.take(size);
        assert.is(holding !== undefined, size <= free);
        if (holding) held.set(holding, Object.assign(holding, { mark: step }));
      } else if (some && below(2) === 0) {
        const sequence = held.get(some)!;
        const size = 1 + below(20);
        assert.is(rows.resize(sequence, size), size - sequence.size <= free || sequence.size === size);
      } else if (some) {
        rows.give(held.get(some)!);
        held.delete(some);
      }
      let used = 0;
      for (const { start, size, mark } of held.values()) {
        assert.ok(start >= 0 && start + size <= 50);
        used += size;
        memory.fill(mark, start, start + size);
      }
      for (const { start, size, mark } of held.values()) {
        assert.ok(
          memory.subarray(start, start + size).every((value) => value === mark),
          `seed ${seed}`,
        );
      }
      assert.is(rows.free, 50 - used);
    }
  }
});

for (const threads of [1, 3]) {
  test(`sequences at once have the bits that each has alone: a model on ${threads} threads`, async () => {
    const config = configs['llama, biases, linear rope, interleaved'];
    const folder = modelFolder(config, randomFile(config));
    const model = await loadLanguage(folder, { context: 90, cacheTokens: 260, threads: await startThreads(threads) });
    const texts = Array.from({ length: 9 }, (_, i) => [...randomIds(20, 361, 1), ...randomIds(5 + 7 * i, 361, 2 + i)]);
    const wanted: Float32Array[] = [];
    for (const text of texts) {
      const sequence = await model.open({ capacity: 90 });
      wanted.push(await sequence.extend(text, { rows: 'all' }));
      sequence.close();
    }
    const actual = await Promise.all(
      texts.map(async (text, i) => {
        const sequence = await model.open({ capacity: text.length, ids: i % 2 ? text : [] });
        const before = sequence.ids.length;
        const rows = [wanted[i].slice(0, before * 361)];
        for (let from = before; from < text.length; from += i % 3 ? 1 : 9) {
          rows.push(await sequence.extend(text.slice(from, from + (i % 3 ? 1 : 9)), { rows: 'all' }));
        }
        sequence.close();
        return Float32Array.from(rows.flatMap((row) => [...row]));
      }),
    );
    for (const [i, rows] of actual.entries()) sameBits(rows, wanted[i], `text ${i}`);
    await model.close();
  });
}

test.run();

// Ids that follow from the logits before them.
async function generation(batcher: Batcher, first: number, steps: number, onEnd?: () => void): Promise<void> {
  const sequence: Sequence = await batcher.open({ capacity: steps });
  let id = first;
  for (let i = 0; i < steps; i++) {
    const row = await sequence.extend([id]);
    id = Math.abs(Math.floor(row[0] * 100));
    onEnd?.();
  }
  sequence.close();
}
