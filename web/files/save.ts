// Files out of the page: a folder where the browser can write one, a zip that streams, or one file after the other.

import { downloadZip } from 'client-zip';

/** What browsers with a file picker have besides. */
interface Pickers {
  showDirectoryPicker?(options: { mode: 'readwrite' }): Promise<FileSystemDirectoryHandle>;
  showSaveFilePicker?(options: { suggestedName: string }): Promise<FileSystemFileHandle>;
}

const pickers = globalThis as unknown as Pickers;
export const canPickFolders = typeof pickers.showDirectoryPicker === 'function';

/** Saves one file by the browser's own download. */
export function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Writes files into a new folder within one that a person picks. @returns whether they picked one */
export async function saveFolder(files: readonly File[], name: string): Promise<boolean> {
  const parent = await picked(pickers.showDirectoryPicker!({ mode: 'readwrite' }));
  if (!parent) return false;
  const isThere = await parent.getDirectoryHandle(name).then(
    () => true,
    ({ name }: DOMException) => name !== 'NotFoundError',
  );
  if (isThere) throw new Error(`${name} must be a new folder: it already exists`);
  const directory = await parent.getDirectoryHandle(name, { create: true });
  for (const file of files) {
    const handle = await directory.getFileHandle(file.name, { create: true });
    await file.stream().pipeTo(await handle.createWritable());
  }
  return true;
}

/** The earliest date that a zip can have. */
const DATE = new Date(1980, 0, 1);

/** One zip, without compression: codes do not compress. It streams to the disk where a file can be picked. */
export async function saveZip(files: readonly File[], name: string): Promise<boolean> {
  const entries = files.map((file) => ({ name: `${name}/${file.name}`, input: file, lastModified: DATE }));
  const response = downloadZip(entries);
  if (!pickers.showSaveFilePicker) {
    saveBlob(await response.blob(), `${name}.zip`);
    return true;
  }
  const handle = await picked(pickers.showSaveFilePicker({ suggestedName: `${name}.zip` }));
  if (!handle) return false;
  await response.body!.pipeTo(await handle.createWritable());
  return true;
}

// Who closes a picker has changed their mind: no error.
async function picked<T>(choice: Promise<T>): Promise<T | undefined> {
  try {
    return await choice;
  } catch (error) {
    if ((error as Error).name === 'AbortError') return undefined;
    throw error;
  }
}
