// The page in a Chromium, and a person's hands: from a plain static server, without any header of its own.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ElementHandle, Page } from 'puppeteer-core';
import * as assert from 'uvu/assert';
import { openPage } from './browser.ts';
import { serveFolder } from './static.ts';

export const BUILT = resolve('build/web');
export const MODEL = resolve('models/books-llama');
export const FILES = [
  ...['model.safetensors', 'config.json', 'tokenizer.json', 'tokenizer_config.json'],
  'generation_config.json',
];

interface Around {
  readonly base: string;
  readonly downloads: string;
  closeServer(): Promise<void>;
}

/** The page, in a browser and from a server of its own. @param folder where it lies */
export async function withPage(
  chromium: string,
  use: (page: Page, around: Around) => Promise<void>,
  folder = BUILT,
): Promise<void> {
  const served = await serveFolder(folder);
  const { page, errors, close } = await openPage(chromium);
  const downloads = mkdtempSync(join(tmpdir(), 'higgs-downloads-'));
  let isClosed = false;
  const closeServer = async () => {
    if (!isClosed) await served.close();
    isClosed = true;
  };
  try {
    const session = await page.createCDPSession();
    await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
    // A picker waits for a person.
    await page.evaluateOnNewDocument('delete globalThis.showSaveFilePicker');
    await page.goto(`${served.base}/`);
    await page.waitForFunction('crossOriginIsolated'); // the second load, with the service worker's headers
    await page.waitForSelector('#demo');
    await use(page, { base: served.base, downloads, closeServer });
    assert.equal(errors, []);
  } catch (error) {
    const says = await page.evaluate('document.body.innerText').catch(String);
    (error as Error).message += `\nThe page says: ${says}\nIts errors: ${errors}`;
    throw error;
  } finally {
    await close();
    await closeServer();
    rmSync(downloads, { recursive: true, force: true });
  }
}

export async function spoken(page: Page): Promise<void> {
  await page.waitForFunction(
    () =>
      document.querySelector('.failure') || /a second/.test(document.querySelector('.figures-line')?.textContent ?? ''),
  );
  assert.is(await page.$('.failure'), null, await textOf(page, 'main'));
}

export async function textOf(page: Page, selector: string): Promise<string> {
  return page.$eval(selector, (element) => element.textContent.replace(/\s+/g, ' ').trim());
}

export async function clickButton(page: Page, name: string, within = 'body'): Promise<void> {
  const handle = await page.waitForFunction(
    (text, inside) =>
      [...document.querySelectorAll(`${inside} button`)].find(
        (button) => button.textContent === text && !(button as HTMLButtonElement).disabled,
      ),
    {},
    name,
    within,
  );
  await (handle.asElement() as ElementHandle<HTMLElement>).evaluate((button) => button.click());
}

/** Clicks an element where it is: one that moves as the page grows would be missed by a pointer. */
export async function click(page: Page, selector: string): Promise<void> {
  await page.$eval(selector, (element) => (element as HTMLElement).click());
}

/** As a person does: the browser's own protocol forgets what the page has written into its address. */
export async function reload(page: Page): Promise<void> {
  await Promise.all([page.waitForNavigation(), page.evaluate(() => location.reload())]);
}

export async function pick(page: Page, selector: string, ...paths: string[]): Promise<void> {
  await ((await page.$(selector)) as ElementHandle<HTMLInputElement>).uploadFile(...paths);
}

export async function drop(page: Page, files: Record<string, Uint8Array>): Promise<void> {
  const given = Object.entries(files).map(([name, bytes]) => [name, Buffer.from(bytes).toString('base64')]);
  await page.evaluate((pairs) => {
    const data = new DataTransfer();
    for (const [name, base64] of pairs)
      data.items.add(new File([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))], name));
    const event = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector('.drop')!.dispatchEvent(event);
  }, given);
}

/** A file that was downloaded, whole. */
export async function downloaded(folder: string, name: RegExp): Promise<Buffer> {
  for (;;) {
    const actual = readdirSync(folder).find((file) => name.test(file));
    if (actual) {
      const bytes = readFileSync(join(folder, actual));
      rmSync(join(folder, actual));
      return bytes;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
