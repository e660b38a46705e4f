// Files into the page: dropped, or picked as files or as a directory.

import type { Origin } from '../engine/protocol.ts';

/** What was dropped: files, or those of a folder. */
export async function droppedOrigin(data: DataTransfer): Promise<Origin | undefined> {
  // Entries must be asked for before anything is waited for: the browser empties the list.
  const entries = [...data.items].flatMap((item) => item.webkitGetAsEntry?.() ?? []);
  const folder = entries.find((entry) => entry.isDirectory) as FileSystemDirectoryEntry | undefined;
  if (folder) return filesOrigin(await filesIn(folder), folder.name);
  return filesOrigin([...data.files]);
}

/** Files as an origin, without those of folders within a folder, which have the same names; undefined where there are none. */
export function filesOrigin(files: readonly File[], folder?: string): Origin | undefined {
  const shown = files.filter(({ name, webkitRelativePath: path }) => !name.startsWith('.') && !/\/.*\//.test(path));
  if (shown.length === 0) return undefined;
  const weights = shown.find(({ name }) => /\.(safetensors|gguf)$/.test(name));
  const [path] = shown[0].webkitRelativePath.split('/');
  return { kind: 'files', files: shown, name: folder ?? (path || weights?.name) ?? shown[0].name };
}

async function filesIn(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return files;
    for (const entry of entries) {
      if (!entry.isFile) continue;
      files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}
