// Linear memory as a stack: where regions lie, and what is said when there is no more of it.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { arena } from '../src/kernels/arena.ts';

const PAGE = 65536;

test('alloc() grows the memory as far as it goes, and says so where it ends', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 3 });
  const regions = arena(memory, 1024);
  assert.is(regions.alloc(PAGE), 1024);
  assert.is(memory.buffer.byteLength, 2 * PAGE);
  assert.throws(
    () => regions.alloc(2 * PAGE),
    (error: Error) =>
      error instanceof RangeError &&
      error.message === 'linear memory must hold 197760 bytes: it cannot grow beyond 131072',
  );
});

test('alloc() after a refusal and a reset goes on', () => {
  const regions = arena(new WebAssembly.Memory({ initial: 1, maximum: 2 }), 0);
  assert.throws(() => regions.alloc(2 ** 33), RangeError);
  regions.reset();
  assert.is(regions.alloc(64), 0);
  assert.is(regions.alloc(64) % 16, 0);
});

test.run();
