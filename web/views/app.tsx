// The page as a whole: the way through its rooms, what goes wrong, and the room that is open.

import { useEffect, useRef } from 'preact/hooks';
import { addressOf, documents } from '../documents.ts';
import { failure, isRunning, loading, model, outcome, ready, STEPS, type Step, step, waiting } from '../state/store.ts';
import { actions } from './do.ts';
import { ModelView } from './model.tsx';
import { ReportView } from './report.tsx';
import { ShrinkView } from './shrink.tsx';
import { SizeView } from './size.tsx';
import { TalkView } from './talk.tsx';
import { Theme } from './theme.tsx';

const TITLES: Readonly<Record<Step, string>> = {
  model: 'Model',
  size: 'Size',
  shrink: 'Shrink',
  talk: 'Talk',
  report: 'Keep',
};

function isOpen(which: Step): boolean {
  if (which === 'model') return true;
  if (which === 'size') return model.value !== undefined && !model.value.isQuantized;
  if (which === 'shrink') return isRunning.value || outcome.value !== undefined;
  if (which === 'talk') return ready.value.left !== undefined;
  return outcome.value !== undefined;
}

function Steps() {
  return (
    <nav aria-label="Steps">
      <ol class="steps">
        {STEPS.map((each) => (
          <li key={each}>
            <button
              type="button"
              class="step"
              aria-current={step.value === each ? 'step' : undefined}
              disabled={!isOpen(each)}
              onClick={() => actions((module) => module.goTo(each))}
            >
              {TITLES[each]}
            </button>
          </li>
        ))}
      </ol>
    </nav>
  );
}

function News() {
  return (
    <div aria-live="polite" class="news">
      {waiting.value && (
        <p class="waiting">
          {waiting.value}{' '}
          {loading.value !== undefined && <progress max="1" value={loading.value} aria-label="Loading" />}
        </p>
      )}
      {failure.value && (
        <p class="failure" role="alert">
          {failure.value}
        </p>
      )}
    </div>
  );
}

const ROOMS = { model: ModelView, size: SizeView, shrink: ShrinkView, talk: TalkView, report: ReportView } as const;

export function App() {
  const Room = ROOMS[step.value];
  const main = useRef<HTMLElement>(null);
  const { value: current } = step;
  const isFirst = useRef(true);
  // Who listens to the page is led to the new room.
  useEffect(() => {
    if (isFirst.current) isFirst.current = false;
    else main.current?.querySelector('h1')?.focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }, [current]);
  return (
    <>
      <header class="top">
        <a class="wordmark" href="./" aria-label="higgs, to the beginning">
          higgs
        </a>
        <Steps />
        <Theme />
      </header>
      <main ref={main} class={current}>
        <News />
        <Room />
      </main>
      <footer>
        <p>
          HIGGS quantization (<a href="https://arxiv.org/abs/2411.17525">Malinovskii et al., NAACL 2025</a>) in
          WebAssembly. All work is done on this machine.
        </p>
        <nav class="documents" aria-label="Documents">
          {documents.map(({ title, place }) => (
            <a key={place} href={addressOf(place)}>
              {title}
            </a>
          ))}
        </nav>
      </footer>
    </>
  );
}
