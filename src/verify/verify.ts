import * as v from 'valibot';
import { NonFiniteError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { deviceNames } from '../gpu/device-names.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { VariantChoice } from '../graph/variant-choice.ts';
import type { StatisticsSource } from '../passes/calibration/statistics.ts';
import { modelGraph } from '../passes/model-graph.ts';
import { wholeRoles } from '../passes/whole-weight.ts';
import { type AccuracyResult, measureAccuracy } from './accuracy-report.ts';
import { type BlockPlan, type GpuLimits, planBlocks } from './block-plan.ts';
import { type CheckedFigures, checksOf } from './checks.ts';
import { tokenizerNote } from './compare-models.ts';
import { encodeForBoth } from './encode-text.ts';
import { judge, noiseNote } from './gate.ts';
import { checkMemory } from './memory-estimate.ts';
import { measureModelSpeed } from './model-speed.ts';
import { Notes } from './notes.ts';
import { measurePatterns } from './pattern-speed.ts';
import { planVerification, type VerificationPlan, type VerifyPlanOptions } from './plan.ts';
import { type Report, ReportSchema } from './report-schema.ts';
import type { ControlMaker } from './shuffle-control.ts';
import { compareSizes, type WeightPair } from './sizes.ts';
import { type Rate, SPEED_DEFAULTS, type Speed } from './speed.ts';
import { measureStack } from './stack-speed.ts';
import { type BeginStage, stagesOf, type VerifyProgress } from './stages.ts';
import { streamsOf } from './streams.ts';

/** What a verification compares, and on which GPU. */
export interface VerifyOptions extends Omit<VerifyPlanOptions, 'limits'> {
  readonly gpu: Gpu;
  /** Held-out text, in place of `tokens`: the original's tokenizer cuts it up. */
  readonly text?: string;
  /** The control that must fail. Default: `shuffledRows`. */
  readonly control?: ControlMaker;
  /** Chooses among variants of kernels where the speed is timed. Accuracy is scored with the same ones always, so that figures can be repeated. */
  readonly tuner?: VariantChoice;
  /** Find the singular values of the original's linear matrices, plain and whitened where statistics of their inputs are given. */
  readonly spectra?: { readonly statistics?: StatisticsSource };
  readonly signal?: AbortSignal;
  /** Called when a stage begins, and as it goes on. */
  readonly onProgress?: (progress: VerifyProgress) => void;
}

type Run = NonNullable<VerificationPlan['run']>;
type Measured = Pick<Report, 'accuracy' | 'kernels' | 'speed'>;

/** Of which the checks are made. */
type Judged = Omit<CheckedFigures, 'tensors'>;

/**
 * Runs both models on this GPU and reports what compression bought and what it cost; with one model, scores that one. The models run block by
 * block, so that they may be larger than the GPU's memory; only their speed is left out then. Memory is estimated before anything starts
 * (`planVerification`), and each stage frees what it took. What a later stage fails at, and logits that are no numbers, become notes and failed
 * checks: what was found before stays.
 * @throws ModelError, ArgumentError, FileError, CancelledError, DeviceLostError; OutOfMemoryError, before the work where a single weight
 * exceeds the budget, or where the models can't be scored
 */
export async function verify(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  options: VerifyOptions,
): Promise<Report> {
  const { gpu, signal, text, maxPerplexityIncrease: most } = options;
  const tokens = options.tokens ?? (text === undefined ? undefined : await encodeForBoth(original, compressed, text));
  const limits = limitsOf(gpu);
  const plan = planVerification(original, compressed, { ...options, limits, ...(tokens && { tokens }) });
  const { pairing, memory, run } = plan;
  if (run) checkMemory(run.blocks, limits);
  const begin = stagesOf(signal, options.onProgress);
  const { vendor, software } = gpu.description;
  const { name, driver } = deviceNames(gpu);
  const notes = new Notes();
  notes.add(...plan.notes);
  const tokenizers = run && compressed && (await tokenizerNote(original, compressed));
  if (tokenizers) notes.add(tokenizers);
  const size = await compareSizes(original, compressed ?? original, pairing, {
    gpu,
    ...begin('sizes', 'tensors', pairing.pairs.length),
  });
  const spectra = options.spectra && (await spectraFor(original, pairing, options, begin));
  const finish = (measured: Measured, judged: Judged, gate: Report['gate']): Report =>
    // A report that is not what its schema says would be a defect: it shows here, not at its readers.
    v.parse(ReportSchema, {
      version: 1,
      device: { name, ...(driver !== null && { driver }), vendor, software },
      model: { original: original.name, compressed: compressed?.name ?? null },
      size,
      memory,
      ...measured,
      checks: checksOf({ tensors: size.tensors, ...judged }),
      gate,
      ...(spectra && { spectra }),
      notes: notes.list,
    } satisfies Report);
  const nothing: Measured = { accuracy: null, kernels: null, speed: null };
  if (!run) return finish(nothing, {}, null);
  const layerOf = new Map([...wholeRoles(run.graphs.original)].map(([name, { layer }]) => [name, layer ?? null]));
  const changed = size.tensors.flatMap(({ name, squaredError }) =>
    squaredError !== 0 && layerOf.has(name) ? [layerOf.get(name)!] : [],
  );
  const checkpoints = { original, compressed: compressed ?? original };
  const streams = streamsOf({ ...run, compares: compressed !== undefined, changed: new Set(changed) });
  const blocks = planBlocks(checkpoints, streams, limits);
  const { judged, ...measured } = await measure(checkpoints, pairing.pairs, run, blocks, options, begin, notes);
  const { accuracy } = measured;
  const gate = most === undefined ? null : judge(most, accuracy, size.tensors, pairing.pairs, run.graphs.original);
  const noise = gate && noiseNote(gate, accuracy);
  if (noise) notes.add(noise);
  return finish(measured, judged, gate);
}

/** The spectra of the original's linear matrices, with the ranks that the compressed model has of them. */
async function spectraFor(
  original: Checkpoint,
  { pairs }: VerificationPlan['pairing'],
  { gpu, spectra }: VerifyOptions,
  begin: BeginStage,
): Promise<Report['spectra']> {
  const { spectraOf } = await import('../passes/lowrank/spectrum.ts');
  const linear = pairs.filter(({ role, original: { shape } }) => role === 'linear' && !shape.includes(0));
  const ranks = new Map(
    linear.map(({ name, compressed }) => [name, compressed.kind === 'factored' ? compressed.left.shape[1]! : null]),
  );
  const { onProgress, signal } = begin('spectra', 'matrices', linear.length);
  const found = await spectraOf({
    ...{ gpu, checkpoint: original, tensors: linear, inputs: spectra?.statistics, signal, onProgress },
    graph: original.config ? modelGraph(original) : undefined,
  });
  return found.map(({ shape, plain, whitened, ...rest }) => ({
    ...{ ...rest, shape: [...shape], plain: [...plain], whitened: whitened && [...whitened] },
    rank: ranks.get(rest.name) ?? null,
  }));
}

/** What is free on a GPU. */
const limitsOf = ({ memory, bindingLimit, limits }: Gpu): GpuLimits => ({
  budget: memory.budget - memory.bytesInUse,
  binding: Math.min(bindingLimit, limits.maxBufferSize),
});

interface Checkpoints {
  readonly original: Checkpoint;
  /** The original where there is one model. */
  readonly compressed: Checkpoint;
}

async function measure(
  checkpoints: Checkpoints,
  pairs: readonly WeightPair[],
  run: Run,
  blocks: BlockPlan,
  options: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
): Promise<Measured & { judged: Judged }> {
  const { gpu, control } = options;
  if (blocks.streams.compressed && !run.mixable) {
    notes.add(
      'The sensitivity of layers was left out: those of the two models have different shapes, are factored, or have another basis.',
    );
  }
  let scored: AccuracyResult;
  try {
    scored = await measureAccuracy({ gpu, checkpoints, blocks, notes, begin, ...(control && { control }) });
  } finally {
    // What runs next has other shapes.
    gpu.memory.trim();
  }
  const { accuracy, kernels = null } = scored;
  let judged: Judged = figuresOf(scored);
  const nothing = { kernels, accuracy, speed: null };
  if (!run.speed || !accuracy) return { ...nothing, judged };
  const model = await modelSpeed(checkpoints, run, options, begin, notes, () => {
    // Other tokens than those scored: a model can end computing numbers here first.
    judged = { ...judged, badLogits: 1 };
  });
  gpu.memory.trim();
  if (model === null) return { ...nothing, judged };
  const stack = await stackSpeed(run, options, begin, notes);
  if (model === 'does not fit' && stack === null) return { ...nothing, judged };
  const patterns = await notes.attempt('The speed of packed weights', () => measurePatterns(gpu, pairs, options));
  const speed = { ...(model === 'does not fit' ? NOT_TIMED : reported(model)), stack };
  return { ...nothing, speed: { ...speed, ...(patterns && patterns.length > 0 && { patterns }) }, judged };
}

/** Without what does not apply. */
const figuresOf = ({ kernels, badLogits, controlRatio }: AccuracyResult): Judged => ({
  ...(kernels !== undefined && { kernels }),
  ...(badLogits !== undefined && { badLogits }),
  ...(controlRatio !== undefined && { controlRatio }),
});

const NOT_TIMED = { prefill: null, decode: null, rounds: 0, prefillTokens: 0, decodeTokens: 0 };

/** The speed of the models, which have to be on the GPU as a whole; null with a note where it can't be measured. */
async function modelSpeed(
  checkpoints: Checkpoints,
  { graphs, speed: shape, estimate: { speedBytes } }: Run,
  { gpu, tuner, speed: wanted }: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
  onBadLogits: () => void,
): Promise<Speed | 'does not fit' | null> {
  const { budget } = limitsOf(gpu);
  if (speedBytes > budget) {
    notes.add(
      `The speed of the model was left out: it does not fit the GPU as a whole, in f32, in f16 and compressed. That takes about ${speedBytes} bytes; the budget is ${budget}.`,
    );
    return 'does not fit';
  }
  const options = { ...SPEED_DEFAULTS, ...(wanted || {}) };
  return notes.attempt('The speed', () =>
    measureModelSpeed(
      { gpu, graphs, ...checkpoints, notes, tuner },
      { ...options, ...shape!, ...begin('speed', 'rounds', options.rounds + 1) },
    ).catch((error: unknown) => {
      if (error instanceof NonFiniteError) onBadLogits();
      throw error;
    }),
  );
}

/** The speed of the synthetic layers; null with a note where they do not fit. */
async function stackSpeed(
  { speed }: Run,
  { gpu, tuner, speed: wanted }: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
): Promise<NonNullable<Report['speed']>['stack']> {
  if (!speed?.stack) return null;
  const { stack, format } = speed.stack;
  const { rounds, seconds } = wanted || {};
  const measured = await notes.attempt('The speed of synthetic layers', () =>
    measureStack(gpu, stack, format, {
      tuner,
      ...begin('speed of large layers', 'rounds', (rounds ?? SPEED_DEFAULTS.rounds) + 1),
      ...(rounds !== undefined && { rounds }),
      ...(seconds !== undefined && { seconds }),
    }),
  );
  return measured && { model: stack.description, format: format.name, ...reported(measured) };
}

const reported = ({ prefill, decode, ...rest }: Speed) => ({
  prefill: rateOf(prefill),
  decode: rateOf(decode),
  ...rest,
});

/** With an interval that is no longer read-only, as schemas infer it. */
const rateOf = ({ interval, ...rate }: Rate) => ({
  ...rate,
  interval: interval && ([...interval] as [number, number]),
});
