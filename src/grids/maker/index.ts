// Makes the stored grids: npm run grids -- [names…], all of them without a name.
// With --seeds=1-20 it tries those seeds instead of the recipe's and writes nothing: how the recipes' seeds were found.
// Same platform, same bytes. Run at the top of the repository; writes src/grids/data/.

import { readFileSync, writeFileSync } from 'node:fs';
import { type Made, make, makeLine } from './make.ts';
import { RECIPES } from './recipes.ts';

const DATA = 'src/grids/data';
const LINES = [4, 8, 16, 32, 64, 256];

const names: string[] = [];
let range: readonly number[] | undefined;
for (const argument of process.argv.slice(2)) {
  if (argument.startsWith('--seeds=')) range = argument.slice(8).split('-').map(Number);
  else names.push(argument);
}
if (names.length === 0) names.push(...LINES.map((n) => `p1n${n}`), ...Object.keys(RECIPES));

for (const name of names) {
  const [first, last] = [range?.[0], range?.at(-1)];
  if (first === undefined || last === undefined) store(name, timed(name));
  else for (let seed = first; seed <= last; seed++) timed(name, seed);
}

function timed(name: string, seed?: number): Made {
  const start = performance.now();
  const recipe = RECIPES[name];
  const [p, n] = name.slice(1).split('n').map(Number) as [number, number];
  if (!recipe && !(p === 1 && n % 2 === 0)) throw new RangeError(`name must be a grid with a recipe: got ${name}`);
  const made = recipe ? make(seed === undefined ? recipe : { ...recipe, seed }) : makeLine(n);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const limit = (made.mse * n ** (2 / p)).toFixed(4);
  const error = made.error > 0 ? ` ± ${made.error.toExponential(1)}` : '';
  console.log(
    `${name}${seed === undefined ? '' : ` seed ${seed}`}  ${made.mse.toPrecision(9)}${error}  × ${limit}  ${seconds} s`,
  );
  return made;
}

function store(name: string, { points, mse }: Made): void {
  const bytes = new Uint8Array(points.length * 4);
  const view = new DataView(bytes.buffer);
  points.forEach((v, i) => {
    view.setFloat32(4 * i, v, true);
  });
  writeFileSync(`${DATA}/${name}.f32`, bytes);
  const table: Record<string, number> = JSON.parse(read(`${DATA}/mse.json`));
  table[name] = Number(mse.toPrecision(12));
  const order = (key: string) =>
    key
      .slice(1)
      .split('n')
      .reduce((sum, part) => sum * 1e6 + Number(part), 0);
  const entries = Object.entries(table).sort(([a], [b]) => order(a) - order(b));
  writeFileSync(`${DATA}/mse.json`, `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '{}';
  }
}
