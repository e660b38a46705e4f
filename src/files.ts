// `higgs-wasm/files`: directories and worker threads, for Node and what is compatible with it.

export { createFolder, FileError, openFile, openFolder } from './source/file.ts';
export { threadPool } from './workers/threads.ts';
