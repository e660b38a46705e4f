// The typed door to bench/assembly: other data-free 4-bit encoders on the same SIMD.

import binary from '../build/bench/peers.wasm';
import { type Arena, arena } from '../src/kernels/arena.ts';
import { bordersOf } from './baselines.ts';
import { nf4Levels } from './levels.ts';

/** Addresses and counts in; `bf16` is 1 for weights in bf16, 0 for f32. */
interface PeerExports {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  levelCells(borders: number, table: number): number;
  levels16(
    x: number,
    bf16: number,
    count: number,
    groupSize: number,
    table: number,
    packed: number,
    scales: number,
    scratch: number,
  ): void;
  int4Symmetric(
    x: number,
    bf16: number,
    count: number,
    groupSize: number,
    packed: number,
    scales: number,
    scratch: number,
  ): void;
  int4Asymmetric(
    x: number,
    bf16: number,
    count: number,
    groupSize: number,
    packed: number,
    scales: number,
    zeros: number,
    scratch: number,
  ): void;
}

export interface PeerEncoder {
  /** As in `baselines`. */
  name: string;
  groupSize: number;
  bitsPerWeight: number;
  /** Encodes `count` weights at `x` to the regions of `Peers`. */
  encode(x: number, bf16: boolean, count: number): void;
}

export interface Peers {
  memory: Arena;
  /** Two codes a byte, earlier one lower; an f16 a group; two zeros a byte. */
  packed: number;
  scales: number;
  zeros: number;
  encoders: readonly PeerEncoder[];
}

/** Instantiates the encoders with room for the results of `count` weights. */
export async function loadPeers(count: number): Promise<Peers> {
  const exports = (await WebAssembly.instantiate(await WebAssembly.compile(binary))).exports as unknown as PeerExports;
  const memory = arena(exports.memory, exports.heapBase());
  const [packed, scales, zeros] = [memory.alloc(count / 2), memory.alloc(count / 16), memory.alloc(count / 64 + 1)];
  const scratch = memory.alloc(1024);
  const table = memory.alloc(96);
  if (!exports.levelCells(memory.place(bordersOf(nf4Levels())), table)) throw new RangeError('levels are too close');
  const encoders: PeerEncoder[] = [
    {
      name: 'NF4 g64',
      groupSize: 64,
      bitsPerWeight: 4 + 16 / 64,
      encode: (x, bf16, count) => exports.levels16(x, Number(bf16), count, 64, table, packed, scales, scratch),
    },
  ];
  for (const groupSize of [32, 64]) {
    encoders.push(
      {
        name: `int4 symmetric g${groupSize}`,
        groupSize,
        bitsPerWeight: 4 + 16 / groupSize,
        encode: (x, bf16, count) => exports.int4Symmetric(x, Number(bf16), count, groupSize, packed, scales, scratch),
      },
      {
        name: `int4 asymmetric g${groupSize}`,
        groupSize,
        bitsPerWeight: 4 + 20 / groupSize,
        encode: (x, bf16, count) =>
          exports.int4Asymmetric(x, Number(bf16), count, groupSize, packed, scales, zeros, scratch),
      },
    );
  }
  return { memory, packed, scales, zeros, encoders };
}
