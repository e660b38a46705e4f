// The third room: the heat map fills as tensors finish.

import { HeatKey, HeatMap } from '../charts/heat.tsx';
import { bytes, duration, figure, percent } from '../format.ts';
import { isRunning, machine, outcome, planned, progress } from '../state/store.ts';
import { actions } from './do.ts';

export function ShrinkView() {
  const tensors = planned.value?.tensors ?? [];
  const isDone = outcome.value !== undefined;
  return (
    <>
      <h1 tabIndex={-1}>{isDone ? 'Done' : isRunning.value ? 'Shrinking' : 'Stopped'}</h1>
      <Line />
      <HeatMap tensors={tensors} done={isDone ? tensors.length : (progress.value?.finished ?? 0)} />
      <HeatKey />
      <p class="start">
        {isRunning.value && (
          <button type="button" onClick={() => actions((module) => module.stop())}>
            Stop
          </button>
        )}
        {!isRunning.value && !isDone && (
          <button type="button" class="primary" onClick={() => actions((module) => module.shrink())}>
            Continue
          </button>
        )}
      </p>
      {!isDone && (
        <p class="aside">
          {machine.value?.isKeeping
            ? 'What is done is kept: you may close the tab and resume later.'
            : 'This browser gives the page no storage here: leave the tab open.'}
        </p>
      )}
    </>
  );
}

function Line() {
  const { value: now } = progress;
  if (outcome.value) {
    const { bytesIn, bytesOut, seconds } = outcome.value;
    return (
      <p class="lead">
        {bytes(bytesIn)} became {bytes(bytesOut)} in {duration(seconds)}.
      </p>
    );
  }
  if (!now) return <p class="lead">Starting …</p>;
  const { phase, done, total, resumed, seconds } = now;
  const rate = (done - resumed) / Math.max(seconds, 1e-3);
  const left = rate > 0 ? duration((total - done) / rate) : '…';
  const doing =
    phase === 'gather'
      ? `Learning what matters, to refine: ${percent(done / total)}`
      : `${bytes(done)} of ${bytes(total)}, ${figure(rate / 1e6)} MB/s`;
  return (
    <>
      <p class="lead">
        {doing}
        {isRunning.value && `, ${left} left`}
      </p>
      <progress class="wide" max={total || 1} value={done} aria-label="How much is done" />
    </>
  );
}
