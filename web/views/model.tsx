// The first room: a model comes in. The demo is one click away.

import { useSignal } from '@preact/signals';
import { droppedOrigin, filesOrigin } from '../files/drop.ts';
import { bytes } from '../format.ts';
import { demo, kept, machine, typed, waiting } from '../state/store.ts';
import { actions } from './do.ts';
import { Hero } from './hero.tsx';

/** Small models that hold a conversation, for who knows no name: nothing is asked for before a person opens one. */
const EXAMPLES = [
  ['HuggingFaceTB/SmolLM2-135M-Instruct', '270 MB'],
  ['Qwen/Qwen3-0.6B', '1.5 GB'],
] as const;

interface DirectoryPicker {
  showDirectoryPicker?(): Promise<FileSystemDirectoryHandle>;
}

export function ModelView() {
  return (
    <>
      <div class="opening">
        <div>
          <h1 tabIndex={-1}>A language model, a quarter of its size, in this tab</h1>
          <p class="lead">Choose a model, choose a size, watch it shrink, talk to it. Nothing leaves your machine.</p>
        </div>
        <Hero />
      </div>
      {demo.value && <Demo />}
      <Drop />
      <Named />
      <Kept />
    </>
  );
}

function Demo() {
  return (
    <p class="start">
      <button
        type="button"
        class="primary"
        id="demo"
        disabled={waiting.value !== undefined}
        onClick={() => actions((module) => module.openDemo())}
      >
        Try the demo model
      </button>
      <span class="aside">{demo.value === 'demo' ? '10 MB' : '2.7 MB, shrunk from 10 MB'}, trained on old books</span>
    </p>
  );
}

function Drop() {
  const isOver = useSignal(false);
  const open = (list: FileList | null) => {
    const origin = filesOrigin([...(list ?? [])]);
    if (origin) actions((module) => module.openModel(origin));
  };
  const pick = async () => {
    const { showDirectoryPicker } = globalThis as DirectoryPicker;
    const handle = await showDirectoryPicker!().catch(() => undefined); // closed: nothing was chosen
    if (handle) actions((module) => module.openModel({ kind: 'directory', handle }));
  };
  const canPick = 'showDirectoryPicker' in globalThis;
  return (
    <section
      class={isOver.value ? 'drop over' : 'drop'}
      aria-label="Your own model"
      onDragOver={(event) => {
        event.preventDefault();
        isOver.value = true;
      }}
      onDragLeave={() => {
        isOver.value = false;
      }}
      onDrop={async (event) => {
        event.preventDefault();
        isOver.value = false;
        const origin = event.dataTransfer && (await droppedOrigin(event.dataTransfer));
        if (origin) actions((module) => module.openModel(origin));
      }}
    >
      <h2>Your own</h2>
      <p>Drop a model’s folder here, or its files: safetensors or GGUF, with configuration and tokenizer.</p>
      <p class="row">
        {canPick ? (
          <button type="button" onClick={pick}>
            Choose a folder
          </button>
        ) : (
          <label class="button">
            Choose a folder
            <input
              type="file"
              {...{ webkitdirectory: true }}
              onChange={({ currentTarget }) => open(currentTarget.files)}
            />
          </label>
        )}
        <label class="button">
          Choose files
          <input type="file" id="files" multiple onChange={({ currentTarget }) => open(currentTarget.files)} />
        </label>
      </p>
    </section>
  );
}

function Named() {
  const token = useSignal('');
  return (
    <section class="named" aria-label="A model on a hub">
      <h2>On a hub</h2>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          const name = typed.value.trim().replace(/^(?=[\w.-]+\/[\w.-]+$)/, 'hf:');
          if (name) actions((module) => module.openModel({ kind: 'name', name, token: token.value.trim() }));
        }}
      >
        <label class="grow">
          <span class="hidden">Name or address</span>
          <input
            type="text"
            id="name"
            placeholder="org/model, or an address"
            spellcheck={false}
            autocapitalize="off"
            value={typed.value}
            onInput={({ currentTarget: { value } }) => {
              typed.value = value;
            }}
          />
        </label>
        <button type="submit">Open</button>
      </form>
      <p class="aside examples">
        For example{' '}
        {EXAMPLES.map(([name, size], i) => (
          <span key={name}>
            {i > 0 && ', or '}
            <button
              type="button"
              class="link"
              onClick={() => {
                typed.value = name;
              }}
            >
              {name}
            </button>{' '}
            ({size})
          </span>
        ))}
      </p>
      <details>
        <summary>It needs a token</summary>
        <label>
          Token
          <input
            type="text"
            class="secret"
            autocomplete="off"
            spellcheck={false}
            value={token.value}
            onInput={({ currentTarget: { value } }) => {
              token.value = value;
            }}
          />
        </label>
        <p class="aside">The token goes to that hub alone, and is forgotten with this tab.</p>
      </details>
    </section>
  );
}

function Kept() {
  const isKeeping = machine.value?.isKeeping ?? true;
  if (!isKeeping)
    return (
      <p class="aside">This browser gives the page no storage here: a result lasts as long as the tab, so save it.</p>
    );
  if (kept.value.length === 0) return null;
  return (
    <section aria-label="Kept models">
      <h2>Kept in this browser</h2>
      <ul class="kept">
        {kept.value.map(({ id, bytes: size, outcome }) => (
          <li key={id}>
            <button type="button" class="link" onClick={() => actions((module) => module.openKept(id))}>
              {id}
            </button>
            <span class="aside">
              {bytes(size)}
              {outcome ? '' : ', unfinished'}
            </span>
            <button type="button" class="quiet" onClick={() => actions((module) => module.openKept(id))}>
              {outcome ? 'Talk' : 'Resume'}
            </button>
            <button
              type="button"
              class="quiet"
              aria-label={`Delete ${id}`}
              onClick={() => actions((module) => module.removeKept(id))}
            >
              Delete
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
