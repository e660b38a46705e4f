// Makes the stored grids: npm run grids -- [names…]; all of them without a name. Writes src/grids/data/; same platform, same bytes.
// With --seeds=1-20 it tries those seeds in place of the recipe's and writes nothing: how the recipes' seeds were found.
// Seconds on one core (Xeon, Node 20): p1 0, p2n16 1, p2n64 1, p2n256 5, p2n1024 32, p3n512 30, p3n4096 105, p4n256 80,
// p4n1024 71, p4n4096 117; the search for the recipes took half an hour.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type Made, make, makeLine } from './make.ts';
import { RECIPES } from './recipes.ts';

const DATA = 'src/grids/data';
const NAMES = [...[4, 8, 16, 32, 64, 256].map((n) => `p1n${n}`), ...Object.keys(RECIPES)];

const chosen: string[] = [];
let seeds: readonly number[] | undefined;
for (const argument of process.argv.slice(2)) {
  if (argument.startsWith('--seeds=')) seeds = argument.slice(8).split('-').map(Number);
  else chosen.push(argument);
}
const unknown = chosen.find((name) => !NAMES.includes(name));
if (unknown !== undefined) throw new RangeError(`name must be one of ${NAMES.join(', ')}: got ${unknown}`);

for (const name of chosen.length > 0 ? chosen : NAMES) {
  if (!seeds) store(name, timed(name));
  else for (let seed = seeds[0]!; seed <= seeds.at(-1)!; seed++) timed(name, seed);
}

/** Makes a grid and prints its name, MSE ± standard error, MSE over the limit 2^(−2 bits), and time. */
function timed(name: string, seed?: number): Made {
  const start = performance.now();
  const [p, n] = name.slice(1).split('n').map(Number) as [number, number];
  const recipe = RECIPES[name];
  const made = recipe ? make({ ...recipe, seed: seed ?? recipe.seed }) : makeLine(n);
  const seconds = (performance.now() - start) / 1000;
  const error = made.error > 0 ? ` ± ${made.error.toExponential(1)}` : '';
  const limit = made.mse * n ** (2 / p);
  const title = seed === undefined ? name : `${name} seed ${seed}`;
  console.log(`${title}  ${made.mse.toPrecision(9)}${error}  × ${limit.toFixed(4)}  ${seconds.toFixed(1)} s`);
  return made;
}

function store(name: string, { points, mse }: Made): void {
  const bytes = new DataView(new ArrayBuffer(points.length * 4));
  points.forEach((v, i) => {
    bytes.setFloat32(4 * i, v, true);
  });
  writeFileSync(`${DATA}/${name}.f32`, bytes);
  const path = `${DATA}/mse.json`;
  const table: Record<string, number> = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {};
  table[name] = Number(mse.toPrecision(12));
  const entries = NAMES.filter((key) => key in table).map((key) => [key, table[key]]);
  writeFileSync(path, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
}
