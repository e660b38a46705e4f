// How FLUTE packs codes, for the templates of 32 rows: a pair is the codes of two inputs, 2b bits. A tile of rows goes into 32-bit words, of
// which those of 32 outputs stand one below the other:
//
//   b = 4   word c·32 + q     pairs of rows c·128 + 32t + q, t < 4, 8 bits each
//   b = 2   word c·32 + q     pairs of rows c·256 + 32t + q, t < 8, 4 bits each
//   b = 3   three words       pairs of rows c·512 + 32i + q, i < 16: pair j + 3t has 6 bits of word j, and of pair 15 each word has 2
//           word 0 at row c·32 + q, words 1 and 2 at row N/16 + c·64 + (j − 1)·32 + q

/** Bits of a weight that FLUTE knows. */
export type FluteBits = 2 | 3 | 4;

/** Rows of a tile. */
export const TILE_ROWS: Readonly<Record<FluteBits, number>> = { 2: 256, 3: 512, 4: 128 };

const SPAN = 32;

/** Bits of a pair that stand in a word. */
interface Field {
  readonly pair: number;
  readonly word: number;
  /** The lowest of them in the word, and in the pair. */
  readonly shift: number;
  readonly from: number;
  readonly mask: number;
}

const whole = (bits: number, word: number, pair: number, shift: number): Field => {
  return { pair, word, shift: 2 * bits * shift, from: 0, mask: (1 << (2 * bits)) - 1 };
};
const counted = <T>(length: number, of: (i: number) => T) => Array.from({ length }, (_, i) => of(i));
const FIELDS: Readonly<Record<FluteBits, readonly Field[]>> = {
  2: counted(8, (t) => whole(2, 0, t, t)),
  3: [
    ...counted(15, (i) => whole(3, i % 3, i, Math.floor(i / 3))),
    ...counted(3, (word) => ({ pair: 15, word, shift: 30, from: 2 * word, mask: 3 })),
  ],
  4: counted(4, (t) => whole(4, 0, t, t)),
};

function wordRow(bits: FluteBits, rows: number, tile: number, word: number): number {
  return bits === 3 && word > 0 ? rows / 16 + tile * 2 * SPAN + (word - 1) * SPAN : tile * SPAN;
}

/**
 * Packs pairs.
 * @param pairs (rows, pairCols), 2 · bits each
 * @returns (rows · bits / 16, pairCols)
 */
export function packPairs(
  pairs: Uint8Array,
  rows: number,
  pairCols: number,
  bits: FluteBits,
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(((rows * bits) / 16) * pairCols);
  for (let tile = 0; tile < rows / TILE_ROWS[bits]; tile++) {
    for (const { pair, word, shift, from, mask } of FIELDS[bits]) {
      const to = wordRow(bits, rows, tile, word) * pairCols;
      const index = (tile * TILE_ROWS[bits] + pair * SPAN) * pairCols;
      for (let i = 0; i < SPAN * pairCols; i++) words[to + i] |= ((pairs[index + i] >> from) & mask) << shift;
    }
  }
  return words;
}

/**
 * The pairs of one tile.
 * @param wordsOf gives the words of 32 rows of the packed matrix, (32, pairCols), from a row on
 * @returns (TILE_ROWS, pairCols)
 */
export async function unpackTile(
  wordsOf: (row: number) => Promise<Uint32Array>,
  tile: number,
  rows: number,
  pairCols: number,
  bits: FluteBits,
): Promise<Uint8Array> {
  const pairs = new Uint8Array(TILE_ROWS[bits] * pairCols);
  const places = counted(bits === 3 ? 3 : 1, (word) => wordRow(bits, rows, tile, word));
  const words = await Promise.all(places.map(wordsOf));
  for (const { pair, word, shift, from, mask } of FIELDS[bits]) {
    const index = pair * SPAN * pairCols;
    for (let i = 0; i < SPAN * pairCols; i++) pairs[index + i] |= ((words[word][i] >>> shift) & mask) << from;
  }
  return pairs;
}
