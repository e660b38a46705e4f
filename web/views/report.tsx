// The last room: save the result, and see what was lost where.

import { useSignal } from '@preact/signals';
import { pngFile, svgFile } from '../charts/export.ts';
import { HeatKey, HeatMap } from '../charts/heat.tsx';
import { Bars, Errors } from '../charts/report.tsx';
import { canPickFolders, saveBlob, saveFolder, saveZip } from '../files/save.ts';
import { bytes, duration, figure } from '../format.ts';
import { outcome, scored, scoring } from '../state/store.ts';
import { Command } from './command.tsx';
import { actions } from './do.ts';

export function ReportView() {
  const { id, bytesIn, bytesOut, bpw, relativeError, seconds, tensors, warnings } = outcome.value!;
  const { model, recipe, isMeasured } = outcome.value!;
  const cells = tensors.map(({ name, grid, bpw, shape }) => ({
    ...{ name, grid, bits: bpw },
    weights: shape.reduce((product, size) => product * size, 1),
  }));
  return (
    <>
      <h1 tabIndex={-1}>{id}</h1>
      <p class="lead">
        {bytes(bytesIn)} became {bytes(bytesOut)} in {duration(seconds)}: {bpw.toFixed(2)} bits a weight, relative error{' '}
        {figure(relativeError)}.
      </p>
      <Save id={id} />
      {warnings.map((warning) => (
        <p key={warning} class="failure">
          {warning}
        </p>
      ))}
      <Perplexities />
      <Chart title="Bits by layer" name="bits">
        <HeatMap tensors={cells} done={cells.length} />
        <HeatKey />
      </Chart>
      <Chart title="Error by tensor" name="errors">
        <Errors outcome={outcome.value!} />
        <p class="aside">
          A dot is t², the relative squared error. The dash is its grid’s own error, which t² should equal.
        </p>
      </Chart>
      <Table />
      <Command name={model} recipe={recipe} isMeasured={isMeasured} />
    </>
  );
}

function Save({ id }: { id: string }) {
  const news = useSignal('');
  const names = useSignal<readonly File[]>([]);
  const save = (how: (files: File[]) => Promise<boolean>) => () =>
    actions(async (module) => {
      try {
        news.value = (await how(await module.filesOf(id))) ? 'Saved.' : '';
      } catch (error) {
        news.value = `It could not be saved: ${(error as Error).message}`;
      }
    });
  return (
    <section aria-label="Save" class="save">
      <p class="row">
        {canPickFolders && (
          <button type="button" onClick={save((files) => saveFolder(files, id))}>
            Save as a folder
          </button>
        )}
        <button type="button" class="primary" id="zip" onClick={save((files) => saveZip(files, id))}>
          Save as one zip
        </button>
        <button
          type="button"
          onClick={() =>
            actions(async (module) => {
              names.value = await module.filesOf(id);
            })
          }
        >
          File by file
        </button>
        <button
          type="button"
          class="quiet"
          onClick={() => saveBlob(new Blob([JSON.stringify(outcome.value, null, 2)]), `${id}-report.json`)}
        >
          Report as JSON
        </button>
      </p>
      {!canPickFolders && <p class="aside">This browser cannot write folders: take the zip.</p>}
      <p aria-live="polite" class="aside">
        {news.value}
      </p>
      {names.value.length > 0 && (
        <ul class="kept">
          {names.value.map((file) => (
            <li key={file.name}>
              <button type="button" class="link" onClick={() => saveBlob(file, file.name)}>
                {file.name}
              </button>
              <span class="aside">{bytes(file.size)}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Perplexities() {
  const open = (file: File | undefined) => {
    if (file) actions((module) => module.score(file));
  };
  const { value: result } = scored;
  const against = result?.measured.against;
  const bits = outcome.value!.bpw;
  const bars = result && [
    ...(against ? [{ name: 'the original', value: against.perplexity, bits: 8 }] : []),
    ...(result.predicted === null ? [] : [{ name: 'predicted', value: result.predicted, bits }]),
    { name: 'measured', value: result.measured.perplexity, bits },
  ];
  return (
    <section
      class="drop"
      aria-label="Perplexity"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        open(event.dataTransfer?.files[0]);
      }}
    >
      <h2>Perplexity</h2>
      <p>Drop a text here. Lower is better: how many words the model hesitates between.</p>
      <p class="row">
        <label class="button">
          Choose a text
          <input
            type="file"
            id="text"
            accept=".txt,.md,text/*"
            onChange={({ currentTarget }) => open(currentTarget.files?.[0])}
          />
        </label>
        {scoring.value !== undefined && <progress max="1" value={scoring.value} aria-label="Scoring" />}
      </p>
      {bars && (
        <>
          <Bars bars={bars} />
          <p class="aside">
            {result.measured.tokensScored} tokens
            {against &&
              `; KL divergence ${figure(against.meanKl)} nats, the same first choice for ${Math.round(100 * against.top1Agreement)} %`}
            {result.predicted === null && '. Measure the model before you shrink it, and a prediction stands here too'}.
          </p>
        </>
      )}
    </section>
  );
}

function Chart({ title, name, children }: { title: string; name: string; children: preact.ComponentChildren }) {
  const chart = (event: Event) =>
    (event.currentTarget as Element).closest('section')!.querySelector<SVGSVGElement>('svg.heat, svg.chart')!;
  const file = `${outcome.value!.id}-${name}`;
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      {children}
      <p class="row">
        <button type="button" class="quiet" onClick={(event) => saveBlob(svgFile(chart(event)), `${file}.svg`)}>
          SVG
        </button>
        <button
          type="button"
          class="quiet"
          onClick={async (event) => saveBlob(await pngFile(chart(event)), `${file}.png`)}
        >
          PNG
        </button>
      </p>
    </section>
  );
}

function Table() {
  const { tensors, passed } = outcome.value!;
  return (
    <details>
      <summary>All {tensors.length + passed.length} tensors</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and keys scroll what has the focus */}
      <section class="scroll" tabIndex={0} aria-label="Tensors">
        <table>
          <thead>
            <tr>
              <th scope="col">Tensor</th>
              <th scope="col" class="shape">
                Shape
              </th>
              <th scope="col">Grid</th>
              <th scope="col">Bits</th>
              <th scope="col">t²</th>
            </tr>
          </thead>
          <tbody>
            {tensors.map(({ name, shape, grid, bpw, relativeError }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="shape">{shape.join(' × ')}</td>
                <td>{grid}</td>
                <td>{bpw.toFixed(2)}</td>
                <td>{figure(relativeError)}</td>
              </tr>
            ))}
            {passed.map(({ name, reason }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td colSpan={4}>as it is: {reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </details>
  );
}
