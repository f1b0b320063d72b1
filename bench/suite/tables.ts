import type { Bench, BenchCase, BenchContestant } from './results-schema.ts';
import type { Ratio } from './statistics.ts';

const short = (value: number): string => (value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));

/** 1.23 ms, 45 µs. */
export const timeText = (seconds: number): string =>
  seconds >= 1 ? `${short(seconds)} s` : seconds >= 1e-3 ? `${short(1e3 * seconds)} ms` : `${short(1e6 * seconds)} µs`;

const SCALES = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
] as const;

/** A contestant's rate in what its case counts: items where it has any, else operations or bytes. */
export function rateText(one: BenchCase, contestant: BenchContestant): string {
  const { itemsPerSecond, gigaOperationsPerSecond, gigabytesPerSecond } = contestant;
  if (one.items && itemsPerSecond !== null) {
    const [scale, prefix] = SCALES.find(([least]) => itemsPerSecond >= least) ?? [1, ''];
    return `${short(itemsPerSecond / scale)} ${prefix && `${prefix} `}${one.items.unit}/s`;
  }
  if (one.suite === 'roofline' ? one.operations !== null : contestant.ofRoofline?.bound === 'arithmetic') {
    return `${short(gigaOperationsPerSecond!)} Gop/s`;
  }
  return gigabytesPerSecond === null ? '' : `${short(gigabytesPerSecond)} GB/s`;
}

export const ratioText = ({ ratio, interval }: Ratio): string =>
  `${ratio.toFixed(2)}x${interval ? ` (${interval.map((end) => end.toFixed(2)).join(' to ')})` : ''}`;

/** Over the baseline, which is named in its own line where there is anybody else. */
export function speedUpText({ baseline, contestants }: BenchCase, { name, speedUp }: BenchContestant): string {
  if (speedUp) return ratioText(speedUp);
  return name === baseline && contestants.length > 1 ? 'baseline' : '';
}

export const fractionText = ({ ofRoofline }: BenchContestant): string =>
  ofRoofline ? `${(100 * ofRoofline.fraction).toFixed(0)}% of ${ofRoofline.bound}` : '';

/** What the results were measured with, and whether that is all. */
export function circumstances(bench: Bench): string {
  const { engine, environment, dawn, device, started, quick, tune, cycledBytes, complete, deviceLost } = bench;
  return [
    `Compressa ${engine}`,
    environment,
    ...(dawn === null ? [] : [`webgpu ${dawn}`]),
    ...(device.driver === null ? [] : [`driver ${device.driver}`]),
    `weights cycled through ${short(cycledBytes / 2 ** 20)} MiB`,
    `--tune ${tune}`,
    started,
    ...(quick ? ['quick'] : []),
    ...(complete ? [] : [deviceLost ? 'ended by the loss of the device' : 'cancelled before it was complete']),
  ].join(', ');
}

/** Rows of a table over all contestants of a suite's cases, with the head first. */
export function suiteRows({ cases }: Pick<Bench, 'cases'>, suite: string): string[][] {
  const rows = cases
    .filter((one) => one.suite === suite)
    .flatMap((one) =>
      one.contestants.map((contestant, i) => [
        i === 0 ? `${one.name}${one.anchor.steady ? '' : ' *'}` : '',
        contestant.name,
        timeText(contestant.seconds),
        rateText(one, contestant),
        fractionText(contestant),
        speedUpText(one, contestant),
      ]),
    );
  return [['case', 'contestant', 'time', 'rate', 'of roofline', 'speed-up'], ...rows];
}
