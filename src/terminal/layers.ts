// What tensors have, as a matrix: layers down, kinds of tensors across. Layers in a row that have the same are one line; a
// matrix that is wider than the terminal is cut into several.

import { family, table } from './figures.ts';

interface Named {
  name: string;
  /** What is shown of it: its grid. */
  value: string;
}

/** Most values that a cell lists: of experts each may have its own. */
const VALUES = 3;

/** @param width columns of the terminal @param title of what is shown */
export function layerTables(tensors: readonly Named[], width: number, title = 'grid'): string {
  const stacks = new Map<string, { layer: number; kind: string; value: string }[]>();
  const others: Named[] = [];
  for (const { name, value } of tensors) {
    const [, stack, layer, kind] = /^((?:\D*\.)?)(\d+)\.(.+)$/.exec(name) ?? [];
    if (layer === undefined) others.push({ name, value });
    else stacks.set(stack, [...(stacks.get(stack) ?? []), { layer: Number(layer), kind: family(kind), value }]);
  }
  const parts = [...stacks].map(([stack, layers]) => {
    const head = stacks.size > 1 ? `${stack.replace(/\.$/, '')}\n` : '';
    return `${head}${stackTable(layers, width)}`;
  });
  const rest = others.map(({ name, value }) => [name, value]);
  return [...parts, ...(rest.length > 0 ? [table(['tensor', title], rest, [0, 1])] : [])].join('\n\n');
}

function stackTable(tensors: readonly { layer: number; kind: string; value: string }[], width: number): string {
  const kinds = [...new Set(tensors.map(({ kind }) => kind))];
  const titles = shortened(kinds);
  const cells = new Map<string, string[]>();
  const layers = new Set<number>();
  for (const { layer, kind, value } of tensors) {
    const key = `${layer} ${kind}`;
    layers.add(layer);
    const values = cells.get(key);
    if (values) values.push(value);
    else cells.set(key, [value]);
  }
  const rows = [...layers]
    .sort((a, b) => a - b)
    .map((layer) => ({ layer, cells: kinds.map((kind) => cellText(cells.get(`${layer} ${kind}`) ?? [])) }));
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map(({ cells }) => cells[i].length)));
  return columnsWithin(widths, width)
    .map((columns) => {
      const narrow = rows.map(({ layer, cells }) => ({ layer, cells: columns.map((i) => cells[i]) }));
      const lines = runsOf(narrow).map(({ first, last, cells }) => [
        first === last ? String(first) : `${first}–${last}`,
        ...cells,
      ]);
      const all = Array.from({ length: columns.length + 1 }, (_, i) => i);
      return table(['layer', ...columns.map((i) => titles[i])], lines, all);
    })
    .join('\n\n');
}

// Equal values as one, with how many there are: `t3`, `t2 ×5, t4 ×3`.
function cellText(values: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  if (counts.size <= 1) return values[0] ?? '';
  if (counts.size > VALUES) return `${counts.size} kinds`;
  return [...counts].map(([value, count]) => `${value} ×${count}`).join(', ');
}

// The last words of each name that tell it from the others.
function shortened(kinds: readonly string[]): string[] {
  const words = kinds.map((kind) => kind.replace(/\.weight$/, '').split('.'));
  return words.map((word) => {
    for (let count = 1; count < word.length; count++) {
      const title = word.slice(-count).join('.');
      if (words.filter((other) => other.slice(-count).join('.') === title).length === 1) return title;
    }
    return word.join('.');
  });
}

function columnsWithin(widths: readonly number[], width: number): number[][] {
  const LAYER = 7;
  const groups: number[][] = [[]];
  let left = width - LAYER;
  for (const [i, columnWidth] of widths.entries()) {
    if (left < columnWidth + 2 && groups.at(-1)!.length > 0) {
      groups.push([]);
      left = width - LAYER;
    }
    groups.at(-1)!.push(i);
    left -= columnWidth + 2;
  }
  return groups;
}

function runsOf(rows: readonly { layer: number; cells: string[] }[]) {
  const runs: { first: number; last: number; cells: string[] }[] = [];
  for (const { layer, cells } of rows) {
    const run = runs.at(-1);
    if (run && run.last === layer - 1 && run.cells.join('\n') === cells.join('\n')) run.last = layer;
    else runs.push({ first: layer, last: layer, cells });
  }
  return runs;
}
