// Tables whose rows are measured when they are printed: Markdown as they come, or JSON at the end.

import { measure, type Work } from './measure.ts';

export type Cells = Readonly<Record<string, number | string | undefined>>;

export interface Row {
  name: string;
  measure(): Cells | Promise<Cells>;
}

export interface Column {
  title: string;
  /** Which cell, and how it is written. */
  key: string;
  text(value: number): string;
}

export interface Table {
  title: string;
  columns: readonly Column[];
  rows: readonly Row[];
}

/** A column of numbers with so many significant digits, after division. */
export function column(title: string, key: string, digits: number, unit = 1): Column {
  return { title, key, text: (value) => digitsOf(value / unit, digits) };
}

export const speedColumns: readonly Column[] = [
  { title: 'M weights/s (best)', key: 'weightsPerSecond', text: millions },
  { title: '(median)', key: 'medianWeightsPerSecond', text: millions },
  column('GB/s', 'gigabytesPerSecond', 3),
  column('× copy', 'timesCopy', 2),
];

/** A row that is timed; `more` adds cells. */
export function timed(work: Work, more: () => Cells = () => ({})): Row {
  return { name: work.name, measure: () => ({ ...measure(work), ...more() }) };
}

/** Measures the rows whose names match and prints them. */
export async function printMarkdown(tables: readonly Table[], pattern: RegExp): Promise<void> {
  for (const { title, columns, rows } of matching(tables, pattern)) {
    const titles = ['', ...columns.map((column) => column.title)];
    console.log(`\n### ${title}\n\n| ${titles.join(' | ')} |\n|${titles.map(() => '---|').join('')}`);
    for (const { name, measure } of rows) {
      const cells = await measure();
      const texts = columns.map(({ key, text }) => {
        const value = cells[key];
        return value === undefined ? '' : typeof value === 'string' ? value : text(value);
      });
      console.log(`| ${[name, ...texts].join(' | ')} |`);
    }
  }
}

/** Measures the rows whose names match; numbers are in units of one, not of the columns. */
export async function printJson(tables: readonly Table[], pattern: RegExp, environment: Cells): Promise<void> {
  const results = [];
  for (const { title, rows } of matching(tables, pattern)) {
    const measured = [];
    for (const { name, measure } of rows) measured.push({ name, ...(await measure()) });
    results.push({ title, rows: measured });
  }
  console.log(JSON.stringify({ environment, tables: results }, null, 2));
}

function matching(tables: readonly Table[], pattern: RegExp): Table[] {
  return tables
    .map((table) => ({ ...table, rows: table.rows.filter(({ name }) => pattern.test(name)) }))
    .filter(({ rows }) => rows.length > 0);
}

function millions(value: number): string {
  return digitsOf(value / 1e6, 4);
}

// Without an exponent where there are more digits before the point.
function digitsOf(value: number, digits: number): string {
  return value >= 10 ** digits ? value.toFixed(0) : value.toPrecision(digits);
}
