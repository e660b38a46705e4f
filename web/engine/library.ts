// The library as the page sees it: one door, so that its types and its bundle have one place.

export type {
  Alphas,
  FinishReason,
  Folder,
  Higgs,
  LossKind,
  Model,
  ModelMemory,
  OpenCheckpoint,
  Perplexity,
  QuantizeReport,
  ResumableFolder,
  Sink,
  Source,
  Store,
} from '../../src/index.ts';
export {
  blobSource,
  directoryFolder,
  folderOf,
  load,
  memorySink,
  predict,
  predictPerplexity,
  sensitivitiesOf,
  uniformAlphas,
  urlSource,
} from '../../src/index.ts';
export type { TensorReport } from '../../src/quantize/report.ts';
export { turnsWithin } from '../../src/text/context.ts';
export { hasSpecialMarks, thoughtsOf } from '../../src/text/thinking.ts';
export { startPool, startThreads } from '../../src/workers/web.ts';
