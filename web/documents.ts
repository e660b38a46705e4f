// What the page links to: documents by their places in the site that `npm run docs:site` builds.

/** The site's address, with a slash at the end: a build writes package.json's homepage here, or the environment's DOCS. */
declare const DOCS: string;

/** Documents, in the order of the footer. */
export const documents: readonly { readonly title: string; readonly place: string }[] = [
  { title: 'How to use it', place: 'docs/page.html' },
  { title: 'Which models run', place: 'docs/families.html' },
  { title: 'How large they may be', place: 'docs/browsers.html' },
  { title: 'What the slider chooses', place: 'docs/mixed-bits.html' },
  { title: 'About higgs-wasm', place: '' },
];

/** The address of a document. */
export const addressOf = (place: string): string => DOCS + place;
