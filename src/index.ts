// The public face of the package: re-exports only.

export { urlFolder } from './checkpoint/remote.ts';
export { FileError, FormatError, type Place, StateError, UnsupportedError } from './errors.ts';
export type { Dimension, Grid, PointGrid } from './grids/grid.ts';
export type { AnyGridName, GridName } from './grids/name.ts';
export type { Trellis } from './grids/trellis.ts';
export { type Higgs, type LoadOptions, load } from './higgs.ts';
export type { PlainDtype } from './kernels/kernels.ts';
export type { WeightDtype } from './kernels/operands.ts';
export type { PlanTensor, Tradeoff, TradeoffPoint } from './linearity/allocate.ts';
export {
  type Alpha,
  type AlphaLevel,
  type Alphas,
  type LossKind,
  readAlphas,
  writeAlphas,
} from './linearity/alphas.ts';
export type { AlphasOrMaker, BudgetOptions, OfferOptions, TensorOptions } from './linearity/options.ts';
export { type BitPlan, type BitPlanTensor, readBitPlan, writeBitPlan } from './linearity/plan.ts';
export {
  type Prediction,
  predict,
  predictPerplexity,
  type Sensitivities,
  sensitivitiesOf,
} from './linearity/predict.ts';
export { priorAlphas, uniformAlphas } from './linearity/prior.ts';
export type { ModelMemory } from './model/fits.ts';
export type { LoadProgress } from './model/loading/load.ts';
export type { ModelOptions } from './model/model.ts';
export type {
  CheckpointOptions,
  CopyOptions,
  OpenCheckpoint,
  QuantizeReport,
  RunOptions,
  Verification,
} from './open.ts';
export type { MergeOptions } from './parts/merge.ts';
export type { Part } from './parts/shares.ts';
export type { Progress } from './quantize/checkpoint.ts';
export type { InspectedTensor, Inspection } from './quantize/inspect.ts';
export type { Resume } from './quantize/journal.ts';
export type { MakingProgress } from './quantize/made.ts';
export type { MatrixOptions, QuantizedMatrix } from './quantize/matrix.ts';
export type { LayoutOptions, Plan, PlanItem, PlannedShard } from './quantize/plan.ts';
export type { Report, TensorReport } from './quantize/report.ts';
export type { ReadProgress, RestoreOptions, RestoreReport } from './quantize/restore.ts';
export type { Scheme } from './quantize/scheme.ts';
export type { VerifyReport } from './quantize/verify.ts';
export type { RefineOptions } from './refinement/gather.ts';
export type { CostOptions, SensitivityCost } from './sensitivity/cost.ts';
export type { StatisticsOptions, StatisticsOutput } from './sensitivity/growing.ts';
export type { KeptNews, Store } from './sensitivity/kept.ts';
export type { SensitivityOptions } from './sensitivity/measure.ts';
export type { SensitivityProgress } from './sensitivity/progress.ts';
export type { SensitivityPart } from './sensitivity/results/part.ts';
export type { SensitivitySettings } from './sensitivity/settings.ts';
export type { ReplacedFile } from './sensitivity/underway.ts';
export { type DirectoryHandle, directoryFolder, openDirectory } from './source/directory.ts';
export { type HttpOptions, urlSource } from './source/http.ts';
export { blobSource, folderOf, memorySink } from './source/memory.ts';
export type { Folder, OutputFolder, ResumableFolder, Sink, Source } from './source/source.ts';
export type { StatisticsKind } from './statistics/matrices.ts';
export type { ChatOptions, ChatTemplate, Message } from './text/chat.ts';
export type { EmbedOptions } from './text/embed.ts';
export type { FinishReason, GenerateOptions, Generation, GenerationResult } from './text/generate.ts';
export type { Divergence, Perplexity, PerplexityOptions } from './text/perplexity.ts';
export type { SamplingOptions } from './text/sample.ts';
export type { Model, ModelGenerateOptions } from './text/textmodel.ts';
export type { Tokenizer } from './text/tokenizer.ts';
export type { Pool } from './workers/pool.ts';
export type { Threads, ThreadsOrStart } from './workers/threads.ts';
