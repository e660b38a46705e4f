// The page's start: paints at once, and asks for the worker and the library when there is something to see.

import { render } from 'preact';
import { keepOffline } from './files/offline.ts';
import { App } from './views/app.tsx';
import { actions } from './views/do.ts';

const place = document.getElementById('page')!;
place.replaceChildren();
render(<App />, place);
void keepOffline();
requestAnimationFrame(() => setTimeout(() => actions((module) => module.begin())));
