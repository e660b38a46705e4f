// The examples run as they stand, each in its own runtime, and all write the same checkpoint.

import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openPage } from './browser.ts';
import { testWith } from './installed.ts';
import { serveFolder } from './static.ts';

const test = suite('examples');
const run = promisify(execFile);
const scratch = mkdtempSync(join(tmpdir(), 'higgs-examples-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const outputs = new Set<string>();
const LINE = /^4\.\d\d bits per weight, relative error 0\.005\d\d$/;

test('node.mjs', () => quantizes(process.execPath, ['examples/node.mjs']));
test('generate.mjs writes what the command writes', async () => {
  const model = command('--embeddings', 't4');
  const { stdout } = await run(process.execPath, ['examples/generate.mjs', model, 'My lord, I']);
  const args = [
    'build/higgs.js',
    'generate',
    model,
    '-p',
    'My lord, I',
    '-n',
    '64',
    '--stop',
    '\n',
    '--temperature',
    '0',
  ];
  assert.is(stdout, (await run(process.execPath, args)).stdout);
  assert.ok(stdout.length > 20);
});
testWith(test, 'deno', 'deno.ts', (deno) =>
  quantizes(deno, ['run', '--allow-read', '--allow-write', 'examples/deno.ts']),
);
testWith(test, 'bun', 'bun.ts', (bun) => quantizes(bun, ['examples/bun.ts']));

test('bundler/ bundles with its own script and runs', async () => {
  const project = join(scratch, 'bundler');
  cpSync('examples/bundler', project, { recursive: true });
  mkdirSync(join(project, 'node_modules/.bin'), { recursive: true });
  symlinkSync(resolve('.'), join(project, 'node_modules/higgs-wasm'));
  symlinkSync(resolve('node_modules/.bin/esbuild'), join(project, 'node_modules/.bin/esbuild'));
  await run('npm', ['run', 'build'], { cwd: project });
  rmSync(join(project, 'node_modules'), { recursive: true }); // one file is all that is needed
  const { stdout } = await run('npm', ['start', '--silent'], { cwd: project });
  assert.match(stdout.trim(), /^3\.02 bits per weight, relative error 0\.0289$/);
});

testWith(
  test,
  'chromium',
  'browser/ quantizes an address in workers, and what is downloaded is what the command writes',
  async (chromium) => {
    await withPage(chromium, async (page) => {
      await page.click('#embeddings');
      await quantizeIn(page);
      assert.equal(await hashesIn(page, ['model.safetensors', 'config.json']), hashesOf(command('--embeddings', 't4')));
      assert.match(await textOf(page, '#summary'), /^10\.49 MB → 2\.68 MB · 4\.06 bits per weight/);
      assert.match(await textOf(page, '#status'), /^Done in \d+\.\d s on 2 workers\.$/);
      assert.is(await page.$$eval('#tensors tr', (rows) => rows.length), 43);
      assert.match(await textOf(page, '#downloads'), /model\.safetensors 2\.68 MB/);
    });
  },
);

testWith(test, 'chromium', 'browser/ has the result write what the command writes', async (chromium) => {
  const args = ['build/higgs.js', 'generate', command(), '-p', 'PATIENCE, n.', '-n', '64', '--temperature', '0'];
  const { stdout } = await run(process.execPath, args);
  await withPage(chromium, async (page) => {
    await quantizeIn(page);
    await page.click('#write');
    await page.waitForSelector('#write:not(:disabled)');
    assert.is(`${await page.$eval('#text', (element) => element.textContent)}\n`, stdout);
  });
});

testWith(test, 'chromium', 'browser/ quantizes a file that a person picks', async (chromium) => {
  await withPage(chromium, async (page) => {
    const input = await page.$('input#files');
    await input!.uploadFile(resolve('models/books-llama/model.safetensors'));
    await page.select('#grid', 'p3n512');
    await quantizeIn(page);
    assert.equal(await hashesIn(page, ['model.safetensors']), hashesOf(command('--grid', 'p3n512')).slice(0, 1));
  });
});

testWith(test, 'chromium', 'browser/ says what is wrong and can be used again', async (chromium) => {
  await withPage(chromium, async (page) => {
    const input = await page.$('input#files');
    await input!.uploadFile(resolve('models/books-llama/config.json'));
    await page.click('#start');
    await page.waitForSelector('#status.failed');
    assert.match(await textOf(page, '#status'), /^picked files: folder must have model\.safetensors/);
    await input!.uploadFile(resolve('models/books-llama/model.safetensors'));
    await quantizeIn(page);
  });
});

// The same work, on the page's own thread and in workers. A busy machine stretches both, so they are compared.
testWith(
  test,
  'chromium',
  'browser/ stays responsive: its longest task is far shorter than the work',
  async (chromium) => {
    await withPage(chromium, async (page) => {
      await page.select('#grid', 'p4n4096');
      await watch(page);
      await quantizeIn(page);
      const inWorkers = await longestTask(page);
      await watch(page);
      await page.evaluate(`(async () => {
      const { load, memorySink, urlFolder } = await import('higgs-wasm');
      const { p4n4096 } = await import('higgs-wasm/grids');
      const higgs = await load();
      const input = await urlFolder(new URL('../../models/books-llama/', location.href));
      await higgs.quantizeCheckpoint(input, { create: async () => memorySink() }, { grid: p4n4096 });
    })()`);
      const onThread = await longestTask(page);
      assert.ok(inWorkers < onThread / 2, `${inWorkers} ms with workers, ${onThread} ms without`);
    });
  },
);

test.run();

async function quantizes(program: string, args: string[]): Promise<void> {
  const output = join(scratch, program.split('/').at(-1)!);
  const { stdout } = await run(program, [...args, output]);
  assert.match(stdout.trim(), LINE);
  assert.equal(hashesOf(output), hashesOf(command()));
}

/** Output of the command with these options; run once for each. */
function command(...options: string[]): string {
  const output = join(scratch, ['command', ...options].join(''));
  const done = outputs.has(output);
  outputs.add(output);
  if (!done) {
    const args = ['build/higgs.js', 'quantize', 'models/books-llama', '-o', output, ...options];
    execFileSync(process.execPath, args, { stdio: 'pipe' });
  }
  return output;
}

function hashesOf(folder: string): string[] {
  return ['model.safetensors', 'config.json'].map((name) =>
    createHash('sha256')
      .update(readFileSync(join(folder, name)))
      .digest('hex'),
  );
}

/** The example's page, from a server as plain as any. */
async function withPage(chromium: string, use: (page: Page) => Promise<void>): Promise<void> {
  const served = await serveFolder(resolve('.'));
  const { page, errors, close } = await openPage(chromium);
  try {
    await page.goto(`${served.base}/examples/browser/index.html`);
    await page.waitForSelector('#grid option');
    await page.$eval('#workers', (input) => {
      (input as HTMLInputElement).value = '2';
    });
    await use(page);
    assert.equal(errors, []);
  } finally {
    await close();
    await served.close();
  }
}

async function quantizeIn(page: Page): Promise<void> {
  await page.click('#start');
  await page.waitForSelector('#result:not([hidden]), #status.failed');
  assert.is(await page.$('#status.failed'), null, await textOf(page, '#status'));
}

/** SHA-256 of the files that the page offers to download. */
async function hashesIn(page: Page, names: string[]): Promise<string[]> {
  return page.evaluate(async (wanted) => {
    const hashes: string[] = [];
    for (const name of wanted) {
      const link = document.querySelector<HTMLAnchorElement>(`a[download="${name}"]`)!;
      const bytes = await (await fetch(link.href)).arrayBuffer();
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
      hashes.push([...hash].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
    }
    return hashes;
  }, names);
}

async function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, (element) => element.textContent.replace(/\s+/g, ' ').trim());
}

/** Starts to look at the main thread's tasks. */
async function watch(page: Page): Promise<void> {
  await page.evaluate(`
    globalThis.observer?.disconnect();
    globalThis.longest = 0;
    globalThis.observer = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
    });
    observer.observe({ type: 'longtask' });`);
}

/** The longest task since `watch`, in milliseconds; 0 if none took 50. */
async function longestTask(page: Page): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 200)); // entries come after the task
  return page.evaluate(
    `for (const { duration } of observer.takeRecords()) longest = Math.max(longest, duration); longest`,
  ) as Promise<number>;
}
