// One page of a Chromium or a Firefox without a window.

import type { LaunchOptions, Page } from 'puppeteer-core';

interface Opened {
  page: Page;
  /** What the page throws. */
  errors: string[];
  close(): Promise<void>;
}

/** Opens a page in Chromium. */
export function openPage(executablePath: string): Promise<Opened> {
  return open({
    executablePath,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
      ...['--disable-background-networking', '--disable-component-update'],
    ],
  });
}

/** Opens a page in Firefox. */
export function openFirefox(executablePath: string): Promise<Opened> {
  return open({ browser: 'firefox', executablePath });
}

/** Milliseconds between two looks at a page, that a look may take, and for which a page is waited for. */
const [BETWEEN, LOOK, LIMIT] = [200, 20_000, 120_000];

/**
 * Waits until an expression of a page is true, while the page may load anew. What never comes fails with what the page says.
 * @param evaluate has an expression's value in the page
 */
export async function until(evaluate: (expression: string) => Promise<unknown>, expression: string): Promise<void> {
  const look = (what: string) => {
    let timer: ReturnType<typeof setTimeout>;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer in ${LOOK} ms`)), LOOK);
    });
    return Promise.race([evaluate(what), late]).finally(() => clearTimeout(timer));
  };
  let failure = '';
  for (const began = performance.now(); performance.now() - began < LIMIT; await pause(BETWEEN)) {
    try {
      if (await look(`Boolean(${expression})`)) return;
      failure = '';
    } catch (error) {
      failure = `, ${error}`; // as between two loads
    }
  }
  const says = await look(
    "[location, navigator.serviceWorker?.controller?.state, document.body.innerText].join(' ')",
  ).catch(String);
  throw new Error(`it never became true${failure}: ${expression}\nThe page: ${says}`);
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function open(options: LaunchOptions): Promise<Opened> {
  const name = 'puppeteer-core'; // not known to the bundler, which would take it in
  const { launch } = (await import(name)) as typeof import('puppeteer-core');
  const browser = await launch(options);
  const page = await browser.newPage();
  page.setDefaultTimeout(LIMIT);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  return { page, errors, close: () => browser.close() };
}
