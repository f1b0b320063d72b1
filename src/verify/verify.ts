import { OutOfMemoryError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Gpu } from '../gpu/gpu.ts';
import type { Weight } from '../kernels/weight.ts';
import { loadWeights } from '../passes/load-weights.ts';
import { compareAccuracy, scoreOne } from './accuracy-report.ts';
import { checkKernels, REFERENCE_TOKENS } from './check-kernels.ts';
import { encodeText } from './encode-text.ts';
import { judge } from './gate.ts';
import { checkMemory } from './memory-estimate.ts';
import { measureModelSpeed } from './model-speed.ts';
import { planVerification, type VerificationPlan, type VerifyPlanOptions } from './plan.ts';
import type { Report } from './report-schema.ts';
import { compareSizes } from './sizes.ts';
import { type Rate, SPEED_DEFAULTS, type Speed } from './speed.ts';
import { measureStack } from './stack-speed.ts';
import { type BeginStage, stagesOf, type VerifyProgress } from './stages.ts';
import { releaseWeights, withDecoder } from './with-decoder.ts';

export interface VerifyOptions extends VerifyPlanOptions {
  readonly gpu: Gpu;
  /** Held-out text, in place of `tokens`: the original's tokenizer cuts it up. */
  readonly text?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: VerifyProgress) => void;
}

type Run = NonNullable<VerificationPlan['run']>;
type Measured = Pick<Report, 'accuracy' | 'kernels' | 'speed' | 'notes'>;

/**
 * Runs both models on this GPU and reports what compression bought and what it cost; with one model, scores that one. Memory is estimated
 * before anything starts (`planVerification`), and each stage frees what it took.
 * @throws ModelError, ArgumentError, NonFiniteError, CancelledError, DeviceLostError; OutOfMemoryError, before the work where the estimate
 * exceeds the budget
 */
export async function verify(
  original: Checkpoint,
  compressed: Checkpoint | undefined,
  options: VerifyOptions,
): Promise<Report> {
  const { gpu, signal, maxPerplexityIncrease: most } = options;
  const tokens = options.tokens ?? (options.text === undefined ? undefined : await encodeText(original, options.text));
  const { pairs, memory, run } = planVerification(original, compressed, { ...options, ...(tokens && { tokens }) });
  if (run) checkMemory(gpu, run.estimate);
  const begin = stagesOf(signal, options.onProgress);
  const { description, device, vendor, software } = gpu.description;
  const report: Report = {
    version: 1,
    device: { name: description || device || 'unnamed', vendor, software },
    model: { original: original.name, compressed: compressed?.name ?? null },
    size: await compareSizes(original, compressed ?? original, pairs, begin('sizes', 'tensors', pairs.length)),
    memory,
    accuracy: null,
    kernels: null,
    speed: null,
    gate: null,
    notes: [],
  };
  if (!run) return report;
  if (!compressed) return { ...report, accuracy: await measureOne(original, run, options, begin) };
  const changed = report.size.tensors.filter(({ squaredError }) => squaredError !== 0).map(({ name }) => name);
  const measured = await measureBoth(original, compressed, run, new Set(changed), options, begin);
  const gate = most === undefined ? null : judge(most, measured.accuracy, report.size.tensors, pairs, run.graph);
  return { ...report, ...measured, gate };
}

async function measureOne(
  checkpoint: Checkpoint,
  { graph, windows }: Run,
  { gpu, signal }: VerifyOptions,
  begin: BeginStage,
): Promise<Report['accuracy']> {
  const original = await loadWeights(gpu, checkpoint, graph, {}, signal);
  try {
    return await scoreOne({ gpu, graph, original, windows, begin });
  } finally {
    releaseWeights(original.values());
  }
}

async function measureBoth(
  original: Checkpoint,
  compressed: Checkpoint,
  run: Run,
  changed: ReadonlySet<string>,
  { gpu, signal, ...options }: VerifyOptions,
  begin: BeginStage,
): Promise<Measured> {
  const { graph, windows, speed: shape } = run;
  const held: Weight[] = [];
  const load = async (checkpoint: Checkpoint) => {
    const weights = await loadWeights(gpu, checkpoint, graph, {}, signal);
    held.push(...weights.values());
    return weights;
  };
  const speedOptions = { ...SPEED_DEFAULTS, ...(options.speed || {}) };
  let kernels: NonNullable<Report['kernels']>;
  let accuracy: Report['accuracy'];
  let speed: Speed | undefined;
  try {
    const models = { gpu, graph, original: await load(original), compressed: await load(compressed) };
    const tokens = windows[0]!.subarray(0, REFERENCE_TOKENS);
    const { onProgress } = begin('kernels against f64', 'tokens', tokens.length);
    kernels = await withDecoder(gpu, graph, models.compressed, tokens.length, (decoder) =>
      checkKernels(decoder, compressed, tokens, signal),
    );
    onProgress(tokens.length, tokens.length);
    if (kernels.nonFinite.length > 0) {
      const note = 'The compressed model computes values that are not finite: accuracy and speed were not measured.';
      return { kernels, accuracy: null, speed: null, notes: [note] };
    }
    accuracy = await compareAccuracy({ ...models, changed, windows, begin });
    speed =
      shape &&
      (await measureModelSpeed(
        { ...models, checkpoint: original },
        { ...speedOptions, ...shape, ...begin('speed', 'rounds', speedOptions.rounds + 1) },
      ));
  } finally {
    releaseWeights(held);
    // The synthetic layers have other shapes.
    gpu.memory.trim();
  }
  if (!speed) return { kernels, accuracy, speed: null, notes: [] };
  const { stack, notes } = await stackOrNote(run, { gpu, ...options }, begin);
  return { kernels, accuracy, speed: { ...reported(speed), stack }, notes };
}

/** The speed of the synthetic layers, or a note where they do not fit. */
async function stackOrNote(
  { speed }: Run,
  { gpu, speed: wanted }: VerifyOptions,
  begin: BeginStage,
): Promise<{ stack: NonNullable<Report['speed']>['stack']; notes: string[] }> {
  if (!speed?.stack) return { stack: null, notes: [] };
  const { stack, format } = speed.stack;
  const { rounds, seconds } = wanted || {};
  try {
    const measured = await measureStack(gpu, stack, format, {
      ...begin('speed of large layers', 'rounds', (rounds ?? SPEED_DEFAULTS.rounds) + 1),
      ...(rounds !== undefined && { rounds }),
      ...(seconds !== undefined && { seconds }),
    });
    return { stack: { model: stack.description, format: format.name, ...reported(measured) }, notes: [] };
  } catch (error) {
    if (!(error instanceof OutOfMemoryError)) throw error;
    return { stack: null, notes: [`The speed of synthetic layers was left out. ${error.message}`] };
  }
}

const reported = ({ prefill, decode, ...rest }: Speed) => ({
  prefill: rateOf(prefill),
  decode: rateOf(decode),
  ...rest,
});

/** With an interval that is no longer read-only, as schemas infer it. */
const rateOf = (rate: Rate) => ({ ...rate, interval: [...rate.interval] as [number, number] });
