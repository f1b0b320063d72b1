import { figuresOf } from '../../../bench/suite/figures.ts';
import { BENCH_VERSION, type Bench, type BenchCase } from '../../../bench/suite/results-schema.ts';

const ROUNDS = 9;

/** Seconds around `middle`, none like another. */
export const samplesAround = (middle: number, spread = 0.02, rounds = ROUNDS): number[] =>
  Array.from({ length: rounds }, (_, i) => middle * (1 + spread * (i / (rounds - 1) - 0.5)));

/** A case of contestants, each with the middle of its seconds; the second is the baseline. */
export function sampleCase(
  of: Pick<BenchCase, 'suite' | 'name'> & Partial<BenchCase>,
  contestants: Readonly<Record<string, readonly number[]>>,
): BenchCase {
  const { bytes = 3e9, operations = 40e9, items = null } = of;
  const names = Object.keys(contestants);
  const baseline = names[1] ?? names[0]!;
  const traffic = { ...(bytes && { bytes }), ...(operations && { operations }) };
  return {
    dimensions: {},
    baseline,
    overPeers: [],
    anchor: { before: 0.015, after: 0.0151, attempts: 1, steady: true },
    arithmetic: 'f32',
    ...of,
    ...{ bytes, operations, items },
    contestants: names.map((name) =>
      figuresOf(
        items ? { items } : {},
        traffic,
        { name, note: `${name}'s note`, error: null, samples: contestants[name]! },
        name === baseline ? undefined : contestants[baseline],
        of.suite === 'roofline'
          ? undefined
          : { bytesPerSecond: 3e9, operationsPerSecond: { f32: 20e9, f16: null, i8: null } },
      ),
    ),
  };
}

/** Results as a small run has them. */
export function sampleBench(cases: readonly BenchCase[] = []): Bench {
  const roofline = (name: string, bytes: number | null, operations: number | null) =>
    sampleCase({ suite: 'roofline', name, bytes, operations }, { 'the device': samplesAround(1) });
  return {
    version: BENCH_VERSION,
    engine: '0.1.0',
    started: '2026-01-01T00:00:00.000Z',
    environment: 'Node 20.0.0',
    dawn: '0.6.2',
    quick: true,
    tune: 'off',
    cycledBytes: 64 * 2 ** 20,
    complete: true,
    deviceLost: false,
    device: {
      name: 'a device <fast>',
      driver: 'a driver 1.2',
      vendor: 'somebody',
      architecture: '',
      software: true,
      features: ['shader-f16'],
      limits: { maxBufferSize: 1 },
    },
    roofline: { gigabytesPerSecond: 3, gigaOperationsPerSecond: { f32: 20, f16: null, i8: null } },
    cases: [roofline('copy', 3e9, null), roofline('triad', 2e9, null), roofline('f32', null, 20e9), ...cases],
    failures: [],
    absentPeers: [],
    notes: [],
  };
}
