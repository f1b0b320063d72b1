import { CancelledError, DeviceLostError, type Gpu } from 'compressa';
import type { Claim, Measurement, Takes } from './claim.ts';

/**
 * The figures of a claim, one by one. What it throws becomes a failed one, so that those before it and other claims stay.
 * @throws CancelledError, DeviceLostError: nothing can be measured after them
 */
export async function* runClaim({ name, measure }: Claim, gpu: Gpu, takes: Takes): AsyncIterable<Measurement> {
  try {
    const found = measure(gpu, takes);
    yield* found instanceof Promise ? await found : found;
  } catch (error) {
    if (error instanceof CancelledError || error instanceof DeviceLostError) throw error;
    gpu.throwIfLost();
    const measured = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    yield { claim: name, threshold: 'can be measured', measured, pass: false };
  }
}
