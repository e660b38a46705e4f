// npm run docs: writes the pages that are made from the program.

import { writeFileSync } from 'node:fs';
import { optionsPage } from './options.ts';

writeFileSync('docs/options.md', optionsPage());
