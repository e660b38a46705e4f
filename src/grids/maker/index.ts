// Makes the stored grids: npm run grids -- [names…]; all of them without a name, all trellises by `trellises`. Writes src/grids/data/;
// same platform, same bytes; a trellis only if it errs less than the stored one. With --seeds=1-20 it tries those seeds in place of the
// recipe's and writes nothing: how the recipes' seeds were found. With --improve=8 it looks near the stored trellises, by 8 hops.
// Seconds on one core (Xeon, Node 20): p1 0, p2n16 1, p2n64 1, p2n256 5, p2n1024 32, p3n512 30, p3n4096 105, p4n256 80,
// p4n1024 71, p4n4096 117; the search for the recipes took half an hour. t4q 60, the other
// trellises 20 to 40.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { loadKernels } from '../../kernels/load.ts';
import { type MadeGrid, make, makeLine } from './make.ts';
import { RECIPES } from './recipes.ts';
import { newCoder } from './trellis/coder.ts';
import { improveTrellis, type MadeTrellis, makeTrellis } from './trellis/make.ts';
import { TRELLIS_RECIPES } from './trellis/recipes.ts';

const DATA = 'src/grids/data';
const TRELLIS_PATH = `${DATA}/trellises.json`;
const POINTS = [...[4, 8, 16, 32, 64, 256].map((n) => `p1n${n}`), ...Object.keys(RECIPES)];
const TRELLISES = Object.keys(TRELLIS_RECIPES);
const NAMES = [...POINTS, ...TRELLISES];

const chosen: string[] = [];
let seeds: readonly number[] | undefined;
let hops = 0;
for (const argument of process.argv.slice(2)) {
  if (argument.startsWith('--seeds=')) seeds = argument.slice(8).split('-').map(Number);
  else if (argument.startsWith('--improve=')) hops = Number(argument.slice(10));
  else if (argument === 'trellises') chosen.push(...TRELLISES);
  else chosen.push(argument);
}
const unknown = chosen.find((name) => !NAMES.includes(name));
if (unknown !== undefined) throw new RangeError(`name must be one of ${NAMES.join(', ')}, trellises: got ${unknown}`);

const code = newCoder(await loadKernels());
for (const name of chosen.length > 0 ? chosen : NAMES) {
  if (!seeds) store(name);
  else for (let seed = seeds[0]; seed <= seeds.at(-1)!; seed++) makeSeed(name, seed);
}

function makeSeed(name: string, seed: number): void {
  if (name in TRELLIS_RECIPES) madeTrellis(name, seed);
  else madePoints(name, seed);
}

function store(name: string): void {
  if (name in TRELLIS_RECIPES) storeTrellis(name, madeTrellis(name));
  else storePoints(name, madePoints(name));
}

function madePoints(name: string, seed?: number): MadeGrid {
  const [p, n] = name.slice(1).split('n').map(Number) as [number, number];
  const recipe = RECIPES[name];
  return timed(name, n ** (2 / p), seed, () => (recipe ? make({ ...recipe, seed: seed ?? recipe.seed }) : makeLine(n)));
}

function madeTrellis(name: string, seed?: number): MadeTrellis {
  const recipe = TRELLIS_RECIPES[name];
  const seeded = { ...recipe, seed: seed ?? recipe.seed };
  const stored = hops > 0 ? storedTrellises()[name] : undefined;
  const start = stored && { ...stored, tables: withOffsets(stored.tables.flat(), stored.bits) };
  return timed(name, 4 ** recipe.shape.bits, seed, () =>
    start ? improveTrellis(start, seeded, hops, code) : makeTrellis(seeded, code),
  );
}

/** Runs `make` and prints the name, MSE ± standard error, MSE over the limit 2^(−2 bits) = 1 / `levels`, and time. */
function timed<T extends { mse: number; error: number }>(
  name: string,
  levels: number,
  seed: number | undefined,
  make: () => T,
): T {
  const start = performance.now();
  const grid = make();
  const seconds = (performance.now() - start) / 1000;
  const error = grid.error > 0 ? ` ± ${grid.error.toExponential(1)}` : '';
  const title = seed === undefined ? name : `${name} seed ${seed}`;
  console.log(
    `${title}  ${grid.mse.toPrecision(9)}${error}  × ${(grid.mse * levels).toFixed(4)}  ${seconds.toFixed(1)} s`,
  );
  return grid;
}

function storePoints(name: string, { points, mse }: MadeGrid): void {
  const bytes = new DataView(new ArrayBuffer(points.length * 4));
  points.forEach((v, i) => {
    bytes.setFloat32(4 * i, v, true);
  });
  writeFileSync(`${DATA}/${name}.f32`, bytes);
  const path = `${DATA}/mse.json`;
  const table: Record<string, number> = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  table[name] = Number(mse.toPrecision(12));
  const entries = POINTS.filter((key) => key in table).map((key) => [key, table[key]]);
  writeFileSync(path, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
}

interface StoredTrellis {
  readonly bits: number;
  readonly mse: number;
  readonly step: number;
  readonly zero: number;
  readonly kept?: readonly number[];
  readonly tables: readonly (readonly number[])[];
}

function storedTrellises(): Record<string, StoredTrellis> {
  return existsSync(TRELLIS_PATH) ? JSON.parse(readFileSync(TRELLIS_PATH, 'utf8')) : {};
}

/** Tables of (3, 16); by labels the third are the integers of the bits above the fourth. */
function withOffsets(tables: readonly number[], bits: number): Uint8Array {
  const all = new Uint8Array(3 * 16);
  all.set(tables);
  for (let high = 1; tables.length < all.length && high < 2 ** (bits - 4); high++) all[2 * 16 + high] = 16 * high;
  return all;
}

/** Stores a trellis unless the stored one errs less. */
function storeTrellis(name: string, { trellis, mse }: MadeTrellis): void {
  const stored = storedTrellises();
  if (stored[name] && stored[name].mse <= mse) {
    console.log(`${name}  ${stored[name].mse} is stored: kept`);
    return;
  }
  const { bits, step, zero, kept } = trellis;
  const tables = (kept ? [0, 1] : [0, 1, 2]).map((t) => [...trellis.tables.subarray(16 * t, 16 * (t + 1))]);
  stored[name] = { bits, mse: Number(mse.toPrecision(4)), step, zero, ...(kept && { kept }), tables };
  const entries = TRELLISES.filter((key) => key in stored).map((key) => [key, stored[key]]);
  // A table stands in one line.
  const text = JSON.stringify(Object.fromEntries(entries), null, 2).replace(/\[[\d,\s]+\]/g, (table) =>
    JSON.stringify(JSON.parse(table)).replaceAll(',', ', '),
  );
  writeFileSync(TRELLIS_PATH, `${text}\n`);
}
