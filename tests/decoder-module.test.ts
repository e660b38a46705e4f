// The decoder's compiled module: what it imports, and how its memory becomes a shared one.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import releaseBytes from '../build/decoder.wasm';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import { withSharedMemory } from '../src/kernels/decoder/shared.ts';

const test = suite('decoder module');

test('decoder.wasm imports a memory and nothing else, and has no data of its own', () => {
  const module = new WebAssembly.Module(releaseBytes);
  assert.equal(WebAssembly.Module.imports(module), [{ module: 'env', name: 'memory', kind: 'memory' }]);
  const names = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'global');
  assert.equal(names, []);
  // 16 kB are attention over f16 in registers and over codes, of one row and of two.
  // 10 kB are trellises by labels: loops of three and four bits, panels, wide products of five and six.
  // 1.6 kB are plain weights times several activations, 2.1 kB products of eight activations and folded checksums,
  // 0.4 kB eight steps a round of grids of 16 values.
  assert.ok(releaseBytes.length < 109_400, `${releaseBytes.length} bytes`);
});

test('withSharedMemory() changes one byte, and the module takes a shared memory then', async () => {
  const shared = withSharedMemory(releaseBytes);
  const changed = [...shared.keys()].filter((i) => shared[i] !== releaseBytes[i]);
  assert.is(changed.length, 1);
  assert.equal([releaseBytes[changed[0]], shared[changed[0]]], [1, 3]);
  const memory = createMemory(65536, true);
  const kernels = await instantiateDecoder(shared, memory);
  const x = new Float32Array(memory.buffer, 1024, 2);
  x.set([1, 2]);
  kernels.add(1024, 1028, 1);
  assert.is(x[0], 3);
});

test('withSharedMemory() refuses a module without such an import', () => {
  const magic = [0, 97, 115, 109, 1, 0, 0, 0];
  assert.throws(() => withSharedMemory(Uint8Array.of(...magic)), /must import a memory with a maximum/);
  const unbounded = [2, 9, 1, 1, 101, 1, 109, 2, 0, 1]; // (import "e" "m" (memory 1))
  assert.throws(() => withSharedMemory(Uint8Array.of(...magic, ...unbounded)), /must import a memory with a maximum/);
});

test.run();
