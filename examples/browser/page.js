// Quantizes a checkpoint in the page: reads files or addresses piece by piece, works in Web Workers, and writes to the origin's
// private file system, so that neither the checkpoint nor the result is ever in memory whole. Then the result can be run.

import { blobSource, directoryFolder, folderOf, load, memorySink, urlFolder, urlSource } from 'higgs-wasm';
import { openHub } from 'higgs-wasm/hub';
import { startPool } from 'higgs-wasm/workers';

/** Fetched when chosen: their points are larger than all the rest of the library. */
const LARGE = ['p2n1024', 'p3n512', 'p3n4096', 'p4n256', 'p4n1024', 'p4n4096'];
/** Where results go in the private file system; the next run replaces them. */
const DIRECTORY = 'quantized';

const element = (id) => document.getElementById(id);
const form = element('form');
const higgs = await load();
let running;
/** The last result. */
let quantized;

for (const name of [...higgs.grids.keys(), ...LARGE]) {
  const [p, n] = name.slice(1).split('n');
  const bits = name.startsWith('t') ? name[1] : Number((Math.log2(n) / p).toFixed(2));
  element('grid').append(new Option(`${name} · ${bits} bits`, name, false, name === 't4'));
}
element('workers').value = Math.min(navigator.hardwareConcurrency ?? 1, 64);

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  running = new AbortController();
  show({ start: false, stop: true, run: true, result: false });
  try {
    await run(running.signal);
  } catch (error) {
    say(running.signal.aborted ? 'Stopped.' : error.message, true);
  } finally {
    show({ start: true, stop: false });
  }
});
element('stop').addEventListener('click', () => running.abort());
element('writer').addEventListener('submit', async (event) => {
  event.preventDefault();
  element('write').disabled = true;
  const [text, prompt] = [element('text'), element('prompt').value];
  try {
    text.textContent = 'Loading …';
    const model = await higgs.loadModel(quantized);
    text.textContent = prompt;
    for await (const piece of model.generate(prompt, { maxTokens: 64 })) text.textContent += piece;
    await model.close();
  } catch (error) {
    text.textContent = error.message;
  } finally {
    element('write').disabled = false;
  }
});

async function run(signal) {
  say('Reading headers …');
  const grid = await chosenGrid();
  const input = await chosenInput(signal);
  const output = await newOutput();
  const pool = await startPool(element('workers').valueAsNumber);
  const began = performance.now();
  try {
    const report = await higgs.quantizeCheckpoint(input, output.folder, {
      grid,
      ...(element('embeddings').checked && { embeddings: grid }),
      pool,
      signal,
      onProgress: ({ tensor, bytesRead, bytesIn }) => {
        element('progress').value = bytesIn ? bytesRead / bytesIn : 1;
        say(`${megabytes(bytesRead)} of ${megabytes(bytesIn)}: ${tensor}`);
      },
    });
    const seconds = (performance.now() - began) / 1000;
    element('progress').value = 1;
    say(`Done in ${seconds.toFixed(1)} s on ${pool.size} workers.`);
    await showResult(report, output);
  } finally {
    await pool.close();
  }
}

async function chosenGrid() {
  const name = element('grid').value;
  if (!LARGE.includes(name)) return name;
  const { largeGrids } = await import('higgs-wasm/grids');
  return largeGrids.find((grid) => grid.name === name);
}

/** The files that were picked, or else what lies at the address, or has the name. */
async function chosenInput(signal) {
  const files = [...element('files').files];
  if (files.length > 0) return folderOf('picked files', new Map(files.map((file) => [file.name, blobSource(file)])));
  const typed = element('address').value;
  const address = new URL(typed, location.href).href;
  if (/^(hf|https?):/.test(typed) && !typed.endsWith('.safetensors')) return openHub(typed, { signal });
  if (!address.endsWith('.safetensors')) return urlFolder(address, { signal });
  return folderOf(address, { 'model.safetensors': await urlSource(address, { signal }) });
}

/** A new folder in the private file system; where pages cannot write to one, in memory. */
async function newOutput() {
  if (typeof FileSystemFileHandle === 'undefined' || !('createWritable' in FileSystemFileHandle.prototype)) {
    const sinks = new Map();
    const create = async (name) => {
      sinks.set(name, memorySink());
      return sinks.get(name);
    };
    const file = (name) => new Blob([sinks.get(name).bytes()]);
    const names = () => [...sinks.keys()];
    const result = () => folderOf('memory', new Map(names().map((name) => [name, blobSource(file(name))])));
    return { folder: { create }, names, file, result };
  }
  const root = await navigator.storage.getDirectory();
  await root.removeEntry(DIRECTORY, { recursive: true }).catch(() => {}); // there is none before the first run
  const directory = await root.getDirectoryHandle(DIRECTORY, { create: true });
  const folder = directoryFolder(directory);
  return {
    folder,
    names: () => folder.list(),
    result: () => folder,
    file: async (name) => (await directory.getFileHandle(name)).getFile(),
  };
}

async function showResult(report, output) {
  const { bytesIn, bytesOut, bpw, relativeError, tensors, passed } = report;
  element('summary').textContent =
    `${megabytes(bytesIn)} → ${megabytes(bytesOut)} · ${bpw.toFixed(2)} bits per weight · relative error ` +
    `${relativeError.toFixed(5)} · ${tensors.length} tensors quantized, ${passed.length} passed through`;
  element('tensors').replaceChildren(
    ...tensors.map(({ name, shape, grid, bpw, relativeError }) =>
      row([name, shape.join(' × '), grid, bpw.toFixed(2), relativeError.toFixed(5)]),
    ),
  );
  const links = await Promise.all(
    (await output.names()).map(async (name) => {
      const file = await output.file(name);
      const link = document.createElement('a');
      Object.assign(link, { href: URL.createObjectURL(file), download: name, textContent: name });
      const item = document.createElement('li');
      item.append(link, ` ${file.size < 1e5 ? `${(file.size / 1e3).toFixed(1)} kB` : megabytes(file.size)}`);
      return item;
    }),
  );
  for (const old of element('downloads').querySelectorAll('a')) URL.revokeObjectURL(old.href);
  element('downloads').replaceChildren(...links);
  quantized = output.result();
  element('text').textContent = '';
  show({ result: true });
}

function row(cells) {
  const line = document.createElement('tr');
  for (const text of cells) line.append(Object.assign(document.createElement('td'), { textContent: text }));
  return line;
}

function say(text, failed = false) {
  element('status').textContent = text;
  element('status').classList.toggle('failed', failed);
}

function show(parts) {
  for (const [id, visible] of Object.entries(parts)) element(id).hidden = !visible;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}
