import type { Report } from './report-schema.ts';

type Check = Report['checks'][number];

/**
 * The control's perplexity divided by the original's, at least. Twice is 0.69 nats a token, several times what the coarsest format of
 * any use costs, while rows in a random order leave a model little beyond how often each token occurs: 20 to 300 times for a trained one.
 */
export const CONTROL_LEAST = 2;

/**
 * Largest error of a logit against f64, relative to the largest logit, at most. Rounding of f32 through tens of layers stays below
 * 1e-4; a kernel that reads one wrong weight in a thousand is above.
 */
export const KERNEL_ERROR_MOST = 1e-3;

/** What was measured of what must hold whatever the models are. What does not apply is left out; what failed to be measured is null. */
export interface CheckedFigures {
  readonly tensors: Report['size']['tensors'];
  readonly kernels?: Report['kernels'];
  /** Logits that are NaN or infinite where a model ended computing numbers, of either model. */
  readonly badLogits?: number;
  /** The control's perplexity divided by the original's on the same tokens. */
  readonly controlRatio?: number | null;
}

/** Each check that applies, with its threshold. One that could not be made fails: the notes say why. */
export function checksOf({ tensors, kernels, badLogits, controlRatio }: CheckedFigures): Check[] {
  const badWeights = tensors.reduce((sum, { nonFinite }) => sum + nonFinite.original + nonFinite.compressed, 0);
  const checks = [atMost('finite weights', badWeights, 0)];
  if (kernels !== undefined) {
    checks.push(atMost('finite values', kernels?.nonFinite.length ?? null, 0));
    checks.push(atMost('kernel error', kernels?.maxRelativeError ?? null, KERNEL_ERROR_MOST));
  }
  if (badLogits !== undefined) checks.push(atMost('finite logits', badLogits, 0));
  if (controlRatio !== undefined) {
    checks.push({
      name: 'control',
      passed: controlRatio !== null && controlRatio >= CONTROL_LEAST,
      measured: controlRatio,
      bound: 'at least',
      threshold: CONTROL_LEAST,
    });
  }
  return checks;
}

/** What could not be measured does not pass. */
const atMost = (name: Check['name'], measured: number | null, threshold: number): Check => ({
  name,
  passed: measured !== null && measured <= threshold,
  measured,
  bound: 'at most',
  threshold,
});

/** Whether a report says yes: every check and the gate passed. */
export const passes = ({ checks, gate }: Pick<Report, 'checks' | 'gate'>): boolean =>
  checks.every(({ passed }) => passed) && gate?.passed !== false;
