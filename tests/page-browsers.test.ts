// The page in browsers of other makers: two clicks lead to the same text as in Chromium, and what a browser lacks is said.

import { resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openFirefox, openPage, until } from './browser.ts';
import { findProgram, testWith } from './installed.ts';
import { serveFolder } from './static.ts';
import { openWebKit } from './webdriver.ts';

const test = suite('page in other browsers');

const IS_OPEN = `crossOriginIsolated && document.querySelector('#demo')`;
const IS_SAID = `/a second/.test(document.querySelector('.figures-line')?.textContent ?? '') || document.querySelector('.failure')`;
const SAID = `document.querySelector('.failure')?.textContent ?? document.querySelector('.said')?.textContent`;
const TEXT = `document.querySelector('main').textContent`;
const click = (id: string) => `document.querySelector('#${id}').click()`;

/** What a browser of any kind can do here. */
interface Any {
  goTo(url: string): Promise<unknown>;
  evaluate(expression: string): Promise<unknown>;
  until(expression: string): Promise<unknown>;
}

type Opened = Awaited<ReturnType<typeof openPage>>;
const anyOf = ({ page }: Opened): Any => ({
  goTo: (url) => page.goto(url, { waitUntil: 'domcontentloaded' }),
  evaluate: (expression) => page.evaluate(expression),
  until: (expression) => until((what) => page.evaluate(what), expression),
});

/** Two clicks. @returns what the model says */
async function firstWords(browser: Any, base: string): Promise<string> {
  await browser.goTo(`${base}/`);
  await browser.until(IS_OPEN);
  await browser.evaluate(click('demo'));
  await browser.until(`document.querySelector('#shrink')`);
  await browser.evaluate(click('shrink'));
  await browser.until(IS_SAID);
  return (await browser.evaluate(SAID)) as string;
}

async function inChromium(base: string): Promise<string> {
  const chromium = findProgram('chromium');
  if (!chromium) return '';
  const opened = await openPage(chromium);
  try {
    return await firstWords(anyOf(opened), base);
  } finally {
    await opened.close();
  }
}

testWith(test, 'firefox', 'Firefox says what Chromium says, and keeps the model', async (firefox) => {
  const served = await serveFolder(resolve('build/web'));
  const opened = await openFirefox(firefox);
  try {
    const any = anyOf(opened);
    const said = await firstWords(any, served.base);
    assert.match(said, /^PATIENCE, n\. .*\w{3}/);
    assert.is(said, (await inChromium(served.base)) || said);
    await any.goTo(`${served.base}/`);
    await any.until(`document.querySelector('.kept')`);
    assert.match(String(await any.evaluate(TEXT)), /books-llama-4bit.*Talk.*Delete/);
    assert.equal(opened.errors, []);
  } finally {
    await opened.close();
    await served.close();
  }
});

testWith(test, 'webkit', 'WebKit says what Chromium says, and that it keeps nothing', async (driver) => {
  const served = await serveFolder(resolve('build/web'));
  const page = await openWebKit(driver);
  try {
    await page.goTo(`${served.base}/`);
    await page.until(`/lasts as long as the tab/.test(${TEXT})`);
    const said = await firstWords(page, served.base);
    assert.match(said, /^PATIENCE, n\. .*\w{3}/);
    assert.is(said, (await inChromium(served.base)) || said);
  } finally {
    await page.close();
    await served.close();
  }
});

test.run();
