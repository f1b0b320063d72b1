export * from './errors.ts';
export { type Checkpoint, type CheckpointOptions, type OpaqueWeight, openCheckpoint } from './files/checkpoint.ts';
export { fileSystemSink } from './files/file-system-sink.ts';
export { ggufFormats } from './files/gguf/checkpoint.ts';
export type { GgufEntry } from './files/gguf/entries.ts';
export { type GgmlType, ggmlTypeByName, ggmlTypes } from './files/gguf/ggml-types.ts';
export type { Imatrix, ImatrixTarget } from './files/gguf/imatrix.ts';
export { readImatrix } from './files/gguf/imatrix-read.ts';
export { writeImatrix } from './files/gguf/imatrix-write.ts';
export { type GgufFile, type GgufScalar, type GgufTensor, readGguf } from './files/gguf/read.ts';
export type { ArraySpan } from './files/gguf/scan.ts';
export type { ValueType } from './files/gguf/value-types.ts';
export { type GgufTensorSpec, writeGguf } from './files/gguf/write.ts';
export { type HttpOptions, urlExists, urlSource } from './files/http-source.ts';
export { httpFolder, type ModelFiles, memoryFolder } from './files/model-files.ts';
export { opfsFolder } from './files/opfs-folder.ts';
export { opfsOutput } from './files/opfs-output.ts';
export { type ReadTensor, readSafetensors, type SafetensorsFile, type TensorInfo } from './files/safetensors-read.ts';
export { type TensorSpec, writeSafetensors } from './files/safetensors-write.ts';
export {
  type ByteSink,
  type Journal,
  type MemoryOutput,
  type MemorySink,
  memoryOutput,
  memorySink,
  type OutputFolder,
  type OutputOptions,
  type Resumable,
  type ResumableSink,
} from './files/sink.ts';
export { type ByteSource, blobSource, memorySource } from './files/source.ts';
export type { Json, JsonObject } from './files/strict-json.ts';
export type { TensorWriter } from './files/tensor-writer.ts';
export type { CheckWeight, WeightNode, WeightTree } from './files/weight-tree.ts';
export type { ArraysNode } from './files/weight-tree-check.ts';
export type { GraphChanges } from './files/weight-tree-schema.ts';
export type {
  Codec,
  ElementType,
  Format,
  FormatArray,
  Grid,
  HostArrays,
  QuantizeMethod,
  QuantizeOptions,
} from './formats/format.ts';
export type { Float8Parameters } from './formats/fp8.ts';
export type { IntegerParameters } from './formats/integer-names.ts';
export { formatBytes } from './formats/layout.ts';
export { checkImportance, hqqProblem, searches, weighs } from './formats/methods.ts';
export { formatAliases, formatByName, formats } from './formats/registry.ts';
export type { ScaleType } from './formats/scale-type.ts';
export type { BufferPool } from './gpu/buffer-pool.ts';
export type { Compiler } from './gpu/compiler.ts';
export type { Counters, DebugLevel, Gpu, GpuDescription } from './gpu/gpu.ts';
export type { Binding, BufferView, Kernel, ShaderFeature, Step } from './gpu/kernel.ts';
export { type OpenGpuOptions, openGpu } from './gpu/open-gpu.ts';
export type { SelfTest } from './gpu/self-test.ts';
export type { ShaderSource } from './gpu/shader-source.ts';
export type { Batch, BatchOptions, DecoderBuffers } from './graph/batch.ts';
export { Decoder, type DecoderOptions, type ForwardOptions } from './graph/decoder.ts';
export { type GenerateOptions, generate, type StopReason } from './graph/generate.ts';
export type { Graph, GraphWeight, Operation, Rotary, ValueName, WeightName } from './graph/graph.ts';
export type { ActivationRange } from './graph/reference/integer-linear.ts';
export type { Sampling } from './graph/reference/sampling.ts';
export { type Numbers, type ReferenceOptions, ReferenceRun } from './graph/reference.ts';
export { findScaleFolding, findScaleFoldings, foldScales, type ScaleFolding } from './graph/scale-folding.ts';
export type { Sums } from './graph/sums.ts';
export type { AttentionNeed, LinearNeed, Need, VariantChoice } from './graph/variant-choice.ts';
export { applyMaskStep } from './kernels/apply-mask.ts';
export type { AttentionShape } from './kernels/attention-variants.ts';
export type { DeviceArrays } from './kernels/bind-arrays.ts';
export {
  type BlockIntegerLinearArguments,
  blockIntegerLinearSteps,
  blockIntegerVariants,
  quantizeBlocksStep,
  takesBlockIntegers,
} from './kernels/block-integer-linear.ts';
export { CACHE_TYPES, type Cache, type CacheShape, type CacheType, cachePositionBytes } from './kernels/cache.ts';
export { type CholeskyArguments, choleskySteps } from './kernels/cholesky.ts';
export { type ChooseCodesArguments, chooseCodesSteps, levelTable } from './kernels/choose-codes.ts';
export { type ChooseTokenArguments, chooseTokenStep, throwIfChoiceFailed } from './kernels/choose-token.ts';
export {
  type GemmArguments,
  type GemmVariant,
  gemmScratch,
  gemmSteps,
  type MatrixView,
  type Operand,
  usualGemm,
} from './kernels/gemm.ts';
export { type GridArguments, gridStep } from './kernels/grid.ts';
export { type HadamardArguments, hadamardStep } from './kernels/hadamard.ts';
export {
  type IntegerActivations,
  type IntegerLinearArguments,
  integerLinearSteps,
  integerVariants,
  type QuantizeActivationsArguments,
  quantizeActivationsStep,
  usualIntegerVariant,
} from './kernels/integer-linear.ts';
export { type InverseRootsArguments, inverseRootsSteps } from './kernels/inverse-roots.ts';
export type { Keys } from './kernels/keys.ts';
export { type Columns, type LinearArguments, linearSteps } from './kernels/linear.ts';
export {
  type LinearShape,
  type LinearVariant,
  linearCandidates,
  linearVariants,
  linearVariantsFor,
  usualVariant,
} from './kernels/linear-variants.ts';
export type { Marked } from './kernels/mark-columns.ts';
export { checkPattern, type MaskPattern, maskWords, type Removal, type Scope } from './kernels/mask-pattern.ts';
export { type PackArguments, packStep } from './kernels/pack.ts';
export {
  type DequantizeArguments,
  dequantizeStep,
  type QuantizeArguments,
  quantizeStep,
  quantizeSteps,
  scaleRoomBytes,
  throwIfNonFinite,
} from './kernels/quantize.ts';
export type { SelectionRoom } from './kernels/rank-keys.ts';
export { type RefitArguments, refitSteps } from './kernels/refit.ts';
export { type RefitKeptArguments, refitKeptSteps } from './kernels/refit-kept.ts';
export {
  type MaskedMatrix,
  type MaskRoomBytes,
  maskRoom,
  SELECTION_BYTES,
  selectMaskSteps,
} from './kernels/select-mask.ts';
export { STATE_BYTES, stateWords } from './kernels/state.ts';
export {
  type ColumnsView,
  type TransposedProductArguments,
  transposedProductStep,
} from './kernels/transposed-product.ts';
export {
  type CholeskySolveArguments,
  choleskySolveSteps,
  type TriangularInverseArguments,
  type TriangularSolveArguments,
  triangularInverseSteps,
  triangularSolveSteps,
} from './kernels/triangular-solve.ts';
export {
  allocateWeight,
  readWeight,
  uploadWeight,
  type Weight,
  type WeightPart,
  wrapDense,
} from './kernels/weight.ts';
export {
  chatTokensOf,
  type Generation,
  loadModel,
  Model,
  type ModelOptions,
  type ModelSource,
  openModel,
  promptTokensOf,
  readModel,
  type TextOptions,
} from './model.ts';
export { type ChatMessage, ChatTemplate } from './models/chat-template.ts';
export { type Family, families, graphOf } from './models/families.ts';
export { type SentencePieceVocabulary, sentencePieceTokenizer } from './models/sentencepiece.ts';
export type { StackShapes } from './models/stack.ts';
export type { StreamDecoder } from './models/stream-decoder.ts';
export { type DecodeOptions, type EncodeOptions, loadTokenizer, type Tokenizer } from './models/tokenizer.ts';
export { type CalibrateOptions, calibrate } from './passes/calibration/calibrate.ts';
export type { Calibration } from './passes/calibration/calibration.ts';
export { calibrateImatrix, imatrixStatistics } from './passes/calibration/imatrix.ts';
export type { InputGroup } from './passes/calibration/input-groups.ts';
export { readStatistics, type StatisticsFile } from './passes/calibration/read-statistics.ts';
export type { ColumnStatistics, Statistics, StatisticsSource } from './passes/calibration/statistics.ts';
export type { StatisticsHeader } from './passes/calibration/statistics-schema.ts';
export { type CompressReport, compress, planCompression } from './passes/compress.ts';
export {
  type CompressOptions,
  type CompressProgress,
  type CompressStage,
  DEFAULT_FORMAT,
  type OutputKind,
  type RecipeOptions,
} from './passes/compress-options.ts';
export { CONTAINERS, type ContainerName } from './passes/containers.ts';
export { encodeText } from './passes/encode-text.ts';
export type { FactorRule } from './passes/factorize/factoring.ts';
export { dequantizedWeights, type LoadOptions, loadWeights } from './passes/load-weights.ts';
export { type FactoredHessian, factorHessian } from './passes/methods/factored-hessian.ts';
export { type GptqOptions, gptq, type Masked } from './passes/methods/gptq.ts';
export type { DenseRows } from './passes/methods/matrix-error.ts';
export { METHODS, type Method } from './passes/methods/method.ts';
export { columnMaxima, type SmoothOptions, smooth, smoothingFactors } from './passes/methods/smooth-quant.ts';
export { modelGraph } from './passes/model-graph.ts';
export type { CompressionPlan, SizeSummary, TensorReport } from './passes/plan.ts';
export type { MeasuringDevice } from './passes/prepare.ts';
export { type ByLayer, type GgmlPreset, ggmlPresets, type LayerFacts } from './passes/presets/ggml-presets.ts';
export { type PruneRule, parsePattern, type Repair, type Score } from './passes/pruning/pruning.ts';
export { parseRecipe, presetRecipe, type Recipe, type Role, type Rule } from './passes/recipe.ts';
export type { Rotation } from './passes/rotation/rotation.ts';
export type { ShrunkLayer } from './passes/shrinking/shrink-model.ts';
export type { ShrinkLayers, ShrinkRepair, ShrinkRule, ShrinkScore, Structure } from './passes/shrinking/shrinking.ts';
export type { Stage, TimelineSpan } from './passes/timeline.ts';
export { cutWindows, type WindowOptions } from './passes/windows.ts';
export { Profile, type StepTime } from './scheduler/profile.ts';
export type { Recording, RunOptions, Scheduler } from './scheduler/scheduler.ts';
export { indexedDbTuningStore } from './tuner/indexed-db-store.ts';
export { memoryTuningStore, type Tuning, type TuningStore, type Tunings } from './tuner/store.ts';
export { TUNE_MODES, type TuneMode } from './tuner/tune-mode.ts';
export { Tuner, type TunerOptions, type TuningFact } from './tuner/tuner.ts';
export type { GpuLimits } from './verify/block-plan.ts';
export { joinSlices, scoreOf, type TokenScore } from './verify/combine-scores.ts';
export {
  type CompareLogitsArguments,
  compareLogitsStep,
  readSliceScores,
  SCORE_FIELDS,
  type SliceOfModel,
  type SliceScore,
} from './verify/compare-logits.ts';
export {
  type DeviceFacts,
  type DeviceMeasures,
  describeDevice,
  type MeasureOptions,
  measureDevice,
} from './verify/measure-device.ts';
export {
  planVerification,
  type VerificationPlan,
  type VerifyPlanOptions,
  type VerifySpeedOptions,
} from './verify/plan.ts';
export { type Report, ReportSchema, reportMarkdown } from './verify/report.ts';
export { copyStep } from './verify/roofline-steps.ts';
export { type ScoreOptions, scoreWindows } from './verify/score-windows.ts';
export { type ControlMaker, type ControlMatrix, shuffledRows } from './verify/shuffle-control.ts';
export { measureSpeed, type Rate, type Speed, type SpeedModels, type SpeedOptions } from './verify/speed.ts';
export { STACK_1B, type Stack } from './verify/stack-speed.ts';
export type { VerifyProgress } from './verify/stages.ts';
export { bootstrapInterval, median } from './verify/statistics.ts';
export type { Accuracy } from './verify/summarize-scores.ts';
export { type VerifyOptions, verify } from './verify/verify.ts';
