import * as v from 'valibot';
import { NonFiniteError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Weight } from '../kernels/weight.ts';
import { loadWeights } from '../passes/load-weights.ts';
import { LogitsError } from './accuracy.ts';
import { type AccuracyResult, type ControlMaker, compareAccuracy, scoreOne } from './accuracy-report.ts';
import { checkKernels, REFERENCE_TOKENS } from './check-kernels.ts';
import { type CheckedFigures, checksOf } from './checks.ts';
import { tokenizerNote } from './compare-models.ts';
import { encodeForBoth } from './encode-text.ts';
import { judge } from './gate.ts';
import { checkMemory } from './memory-estimate.ts';
import { measureModelSpeed } from './model-speed.ts';
import { Notes } from './notes.ts';
import { planVerification, type VerificationPlan, type VerifyPlanOptions } from './plan.ts';
import { type Report, ReportSchema } from './report-schema.ts';
import { compareSizes } from './sizes.ts';
import { type Rate, SPEED_DEFAULTS, type Speed } from './speed.ts';
import { measureStack } from './stack-speed.ts';
import { type BeginStage, stagesOf, type VerifyProgress } from './stages.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

export interface VerifyOptions extends VerifyPlanOptions {
  readonly gpu: Gpu;
  /** Held-out text, in place of `tokens`: the original's tokenizer cuts it up. */
  readonly text?: string;
  /** The control that must fail. Default: `shuffledWeights`. */
  readonly control?: ControlMaker;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: VerifyProgress) => void;
}

type Run = NonNullable<VerificationPlan['run']>;
type Measured = Pick<Report, 'accuracy' | 'kernels' | 'speed'>;

/** Of which the checks are made. */
type Judged = Omit<CheckedFigures, 'tensors'>;

/**
 * Runs both models on this GPU and reports what compression bought and what it cost; with one model, scores that one. Memory is estimated
 * before anything starts (`planVerification`), and each stage frees what it took. What a later stage fails at, and logits that are no
 * numbers, become notes and failed checks: what was found before stays.
 * @throws ModelError, ArgumentError, FileError, CancelledError, DeviceLostError; OutOfMemoryError, before the work where the estimate
 * exceeds the budget, or where the models can't be scored
 */
export async function verify(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  options: VerifyOptions,
): Promise<Report> {
  const { gpu, signal, text, maxPerplexityIncrease: most } = options;
  const tokens = options.tokens ?? (text === undefined ? undefined : await encodeForBoth(original, compressed, text));
  const plan = planVerification(original, compressed, { ...options, ...(tokens && { tokens }) });
  const { pairing, memory, run } = plan;
  if (run) checkMemory(gpu, run.estimate);
  const begin = stagesOf(signal, options.onProgress);
  const { description, device, vendor, software } = gpu.description;
  const notes = new Notes();
  notes.add(...plan.notes);
  const tokenizers = run && compressed && (await tokenizerNote(original, compressed));
  if (tokenizers) notes.add(tokenizers);
  const size = await compareSizes(
    original,
    compressed ?? original,
    pairing,
    begin('sizes', 'tensors', pairing.pairs.length),
  );
  const finish = (measured: Measured, judged: Judged, gate: Report['gate']): Report =>
    // A report that is not what its schema says would be a defect: it shows here, not at its readers.
    v.parse(ReportSchema, {
      version: 1,
      device: { name: description || device || 'unnamed', vendor, software },
      model: { original: original.name, compressed: compressed?.name ?? null },
      size,
      memory,
      ...measured,
      checks: checksOf({ tensors: size.tensors, ...judged }),
      gate,
      notes: notes.list,
    } satisfies Report);
  const nothing: Measured = { accuracy: null, kernels: null, speed: null };
  if (!run) return finish(nothing, {}, null);
  if (!compressed) {
    const { accuracy, ...judged } = await measureOne(original, run, options, begin, notes);
    return finish({ ...nothing, accuracy }, judged, null);
  }
  const changed = size.tensors.filter(({ squaredError }) => squaredError !== 0).map(({ name }) => name);
  const { judged, ...measured } = await measureBoth(original, compressed, run, new Set(changed), options, begin, notes);
  const { accuracy } = measured;
  const gate = most === undefined ? null : judge(most, accuracy, size.tensors, pairing.pairs, run.graphs.original);
  return finish(measured, judged, gate);
}

type Scored = Pick<Judged, 'controlRatio'> & Pick<Report, 'accuracy'> & { readonly badLogits: number };

/** What scoring gives; where a model computes no numbers, a note that names it. */
async function orNote(notes: Notes, score: () => Promise<Partial<AccuracyResult>>): Promise<Scored> {
  try {
    return { accuracy: null, ...(await score()), badLogits: 0 };
  } catch (error) {
    if (!(error instanceof LogitsError)) throw error;
    notes.add(`Accuracy and speed were not measured. ${error.message}`);
    return { accuracy: null, badLogits: error.count };
  }
}

async function measureOne(
  checkpoint: Checkpoint,
  { graphs: { original: graph }, windows }: Run,
  { gpu, signal }: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
): Promise<Scored> {
  const original = await loadWeights(gpu, checkpoint, graph, {}, signal);
  try {
    return await orNote(notes, async () => ({
      accuracy: await scoreOne({ gpu, graph, original, windows, begin }),
    }));
  } finally {
    releaseWeights(original.values());
  }
}

async function measureBoth(
  original: Checkpoint,
  compressed: Checkpoint,
  run: Run,
  changed: ReadonlySet<string>,
  { gpu, signal, control, ...options }: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
): Promise<Measured & { judged: Judged }> {
  const { graphs, mixable, windows, speed: shape } = run;
  const held: Weight[] = [];
  const load = async (checkpoint: Checkpoint, graph: typeof graphs.original) => {
    const weights = await loadWeights(gpu, checkpoint, graph, {}, signal);
    held.push(...weights.values());
    return weights;
  };
  const speedOptions = { ...SPEED_DEFAULTS, ...(options.speed || {}) };
  let kernels: Report['kernels'];
  let scored: Scored;
  let speed: Speed | null = null;
  try {
    const weights = {
      original: await load(original, graphs.original),
      compressed: await load(compressed, graphs.compressed),
    };
    const tokens = windows[0]!.subarray(0, REFERENCE_TOKENS);
    const stage = begin('kernels against f64', 'tokens', tokens.length);
    kernels = await notes.attempt('The check of the kernels', () =>
      withDecoder(gpu, graphs.compressed, weights.compressed, tokens.length, (decoder) =>
        checkKernels(decoder, compressed, tokens, stage),
      ),
    );
    if (kernels && kernels.nonFinite.length > 0) {
      notes.add('The compressed model computes values that are not finite: accuracy and speed were not measured.');
      return { kernels, accuracy: null, speed: null, judged: { kernels } };
    }
    const models = { gpu, graphs, ...weights, notes };
    scored = await orNote(notes, () =>
      compareAccuracy({ ...models, changed, mixable, windows, begin, ...(control && { control }) }),
    );
    if (shape && scored.accuracy) {
      speed = await notes.attempt('The speed', () =>
        measureModelSpeed(
          { ...models, checkpoint: original },
          { ...speedOptions, ...shape, ...begin('speed', 'rounds', speedOptions.rounds + 1) },
        ).catch((error: unknown) => {
          // Other tokens than those scored: a model can end computing numbers here first.
          if (error instanceof NonFiniteError) scored = { ...scored, badLogits: 1 };
          throw error;
        }),
      );
    }
  } finally {
    releaseWeights(held);
    // The synthetic layers have other shapes.
    gpu.memory.trim();
  }
  const { accuracy, ...figures } = scored;
  const judged = { kernels, ...figures };
  if (!speed) return { kernels, accuracy, speed: null, judged };
  const stack = await stackSpeed(run, { gpu, ...options }, begin, notes);
  return { kernels, accuracy, speed: { ...reported(speed), stack }, judged };
}

/** The speed of the synthetic layers; null with a note where they do not fit. */
async function stackSpeed(
  { speed }: Run,
  { gpu, speed: wanted }: VerifyOptions,
  begin: BeginStage,
  notes: Notes,
): Promise<NonNullable<Report['speed']>['stack']> {
  if (!speed?.stack) return null;
  const { stack, format } = speed.stack;
  const { rounds, seconds } = wanted || {};
  const measured = await notes.attempt('The speed of synthetic layers', () =>
    measureStack(gpu, stack, format, {
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
