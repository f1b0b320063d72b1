import { bootstrapInterval, MIN_INTERVAL_VALUES, median } from '../../src/verify/statistics.ts';
import type { Traffic } from './contestant.ts';
import type { BenchContestant } from './results-schema.ts';
import { pairedRatio, type Ratio } from './statistics.ts';
import type { Case, Roofline } from './suite.ts';

/** The least seconds that the measured rates allow, and which of them is in the way; undefined where the traffic is not known. */
export function leastSeconds(
  { bytes = 0, operations = 0, arithmetic = 'f32' }: Traffic,
  roofline: Roofline,
): { seconds: number; bound: 'memory' | 'arithmetic' } | undefined {
  const memory = bytes / roofline.bytesPerSecond;
  // Where the device lacks the arithmetic, another type does it.
  const rate = roofline.operationsPerSecond[arithmetic] ?? roofline.operationsPerSecond.f32!;
  const computing = operations / rate;
  if (memory + computing === 0) return undefined;
  return memory >= computing ? { seconds: memory, bound: 'memory' } : { seconds: computing, bound: 'arithmetic' };
}

/** JSON stays readable, and no digit is lost that a clock could tell. */
const rounded = (value: number): number => Number(value.toPrecision(6));
export const roundedRatio = ({ ratio, interval }: Ratio): Ratio => ({
  ratio: rounded(ratio),
  interval: roundedPair(interval),
});
const roundedPair = (pair: [number, number] | null) => pair && (pair.map(rounded) as [number, number]);

/** What the samples of a contestant, seconds of one product, say. */
export function figuresOf(
  of: Pick<Case, 'items'>,
  traffic: Traffic,
  contestant: Pick<BenchContestant, 'name' | 'note' | 'error'> & { readonly samples: readonly number[] },
  baseline: readonly number[] | undefined,
  roofline: Roofline | undefined,
): BenchContestant {
  const { samples } = contestant;
  const seconds = median(samples);
  const least = roofline && leastSeconds(traffic, roofline);
  const perSecond = (amount: number | undefined, unit: number) => (amount ? rounded(amount / seconds / unit) : null);
  const speedUp = baseline && pairedRatio(baseline, samples);
  return {
    name: contestant.name,
    note: contestant.note,
    samples: samples.map(rounded),
    seconds: rounded(seconds),
    interval: samples.length < MIN_INTERVAL_VALUES ? null : roundedPair(bootstrapInterval(samples)),
    speedUp: speedUp ? roundedRatio(speedUp) : null,
    gigabytesPerSecond: perSecond(traffic.bytes, 1e9),
    gigaOperationsPerSecond: perSecond(traffic.operations, 1e9),
    itemsPerSecond: perSecond(of.items?.count, 1),
    ofRoofline: least ? { fraction: rounded(least.seconds / seconds), bound: least.bound } : null,
    error: contestant.error,
  };
}
