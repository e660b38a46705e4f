// The page's start: paints at once, and asks for the worker and the library when there is something to see.

import { render } from 'preact';
import { keepOffline } from './files/offline.ts';
import { App } from './views/app.tsx';

const place = document.getElementById('page')!;
place.replaceChildren();
render(<App />, place);
void keepOffline();
requestAnimationFrame(() => setTimeout(async () => (await import('./state/actions.ts')).begin()));
