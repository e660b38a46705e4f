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

async function open(options: LaunchOptions): Promise<Opened> {
  const name = 'puppeteer-core'; // not known to the bundler, which would take it in
  const { launch } = (await import(name)) as typeof import('puppeteer-core');
  const browser = await launch(options);
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  return { page, errors, close: () => browser.close() };
}
