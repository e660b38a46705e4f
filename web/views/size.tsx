// The second room: one slider, and what it buys. The trade-off curve is its background.

import { TradeOff } from '../charts/curve.tsx';
import { HeatKey, HeatMap } from '../charts/heat.tsx';
import type { SizePoint } from '../engine/protocol.ts';
import { isUniform } from '../engine/recipe.ts';
import { bytes, figure, many, percent } from '../format.ts';
import { isMeasured, machine, measuring, model, planned, recipe, sizes, speeds } from '../state/store.ts';
import { Command } from './command.tsx';
import { actions } from './do.ts';
import { Experts } from './experts.tsx';

export function SizeView() {
  const { name, parameters, bytes: size, family, refusal } = model.value!;
  const { bits } = recipe.value;
  return (
    <>
      <h1 tabIndex={-1}>How small?</h1>
      <p class="lead">
        {name} has {many(parameters)} weights{family ? `, of the ${family} family,` : ''} in {bytes(size)}.
      </p>
      <Slider />
      <Figures />
      {refusal && <p class="aside">The page can shrink this model, and cannot run it: {refusal}</p>}
      <p class="start">
        <button type="button" class="primary" id="shrink" onClick={() => actions((module) => module.shrink())}>
          Shrink it{planned.value ? ` to ${bytes(planned.value.bytes)}` : ''}
        </button>
        <Measure />
      </p>
      <Experts />
      {planned.value && (
        <details>
          <summary>Which matrix gets how many bits</summary>
          <HeatMap tensors={planned.value.tensors} done={planned.value.tensors.length} />
          <HeatKey />
          {!isUniform(recipe.value, isMeasured.value) && (
            <p class="aside">
              {figure(bits)} bits are a mean{isMeasured.value ? ': what matters more gets more' : ''}.
            </p>
          )}
        </details>
      )}
      <Command name={name} recipe={recipe.value} isMeasured={isMeasured.value} />
    </>
  );
}

function Slider() {
  const { bits } = recipe.value;
  return (
    <div class="slider">
      <TradeOff points={sizes.value?.points ?? []} bits={bits} />
      <label>
        <span class="hidden">Bits per weight</span>
        <input
          type="range"
          id="bits"
          min="2"
          max="8"
          step="0.25"
          value={bits}
          aria-valuetext={`${figure(bits)} bits per weight`}
          onInput={({ currentTarget: { valueAsNumber } }) =>
            actions((module) => module.change({ bits: valueAsNumber }))
          }
        />
      </label>
      <p class="ends" aria-hidden="true">
        <span>2 bits: smallest</span>
        <span>8 bits: nearly the original</span>
      </p>
      <p class="chosen">
        <strong>{figure(bits)}</strong> bits per weight
      </p>
    </div>
  );
}

function Figures() {
  const { bits } = recipe.value;
  const here = sizes.value?.points.find((point) => point.bits === bits);
  const original = sizes.value?.points.find((point) => point.bits === undefined);
  const size = planned.value?.bytes ?? here?.bytes;
  const speed = speedAt(bits);
  return (
    <dl class="figures">
      <div>
        <dt>Download</dt>
        <dd>{size ? bytes(size) : '…'}</dd>
        <dd class="aside">{size ? `${percent(size / model.value!.bytes)} of the original` : ''}</dd>
      </div>
      <div>
        <dt>Memory to run</dt>
        <dd>{here?.memory ? bytes(here.memory.bytes) : model.value?.refusal ? 'not known' : '…'}</dd>
        <dd class="aside">{here?.memory && original?.memory ? `the original: ${bytes(original.memory.bytes)}` : ''}</dd>
      </div>
      <div>
        <dt>Speed here</dt>
        <dd>{speed ? `${figure(speed)} tokens/s` : model.value?.refusal ? 'not known' : 'timing …'}</dd>
        <dd class="aside">{threadsText()}</dd>
      </div>
      <div>
        <dt>{isMeasured.value ? 'Perplexity' : 'Rounding error'}</dt>
        <dd>{lossText(here)}</dd>
        <dd class="aside">{isMeasured.value ? 'predicted, as measured here' : 'of the weights, squared'}</dd>
      </div>
    </dl>
  );
}

function threadsText(): string {
  const threads = machine.value?.threads ?? 1;
  return threads > 1 ? `on ${threads} threads` : 'on one thread';
}

// Between two sizes that were timed, in proportion.
function speedAt(bits: number): number | undefined {
  const timed = [...speeds.value].filter(([size]) => size > 0).sort(([a], [b]) => a - b);
  const above = timed.find(([size]) => size >= bits);
  const below = timed.filter(([size]) => size <= bits).at(-1);
  if (!above || !below) return undefined;
  if (above[0] === below[0]) return above[1];
  const share = (bits - below[0]) / (above[0] - below[0]);
  return below[1] + share * (above[1] - below[1]);
}

function lossText(here: SizePoint | undefined): string {
  if (here?.loss === undefined) return '…';
  if (sizes.value?.unit === 'kl') return `× ${Math.exp(here.loss).toFixed(here.loss < 0.02 ? 4 : 2)}`;
  if (sizes.value?.unit === 'perplexity') return `+ ${figure(here.loss)}`;
  return `${Number((100 * here.loss).toPrecision(2))} %`;
}

function Measure() {
  if (isMeasured.value) return <span class="aside">Measured: what matters more gets more bits.</span>;
  if (measuring.value !== undefined)
    return (
      <span class="row">
        <progress max="1" value={measuring.value} aria-label="Measuring" />
        <button type="button" class="quiet" onClick={() => actions((module) => module.stop())}>
          Stop
        </button>
      </span>
    );
  if (model.value?.refusal) return null;
  return (
    <button type="button" class="quiet" id="measure" onClick={() => actions((module) => module.measure())}>
      Measure what matters in this model
    </button>
  );
}
