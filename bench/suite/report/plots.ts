import { KINDS, type Plot, WIDTH } from '../../../src/report/plot.ts';
import { DENSE, OURS } from '../names.ts';
import type { Bench, BenchCase, BenchContestant } from '../results-schema.ts';
import { peerBars } from './peer-bars.ts';
import { distinct, HEIGHT, LEGEND_COLUMNS } from './plot-style.ts';
import { readableGroups } from './readable-groups.ts';

/** The plots that the results have data for, in the order of the page. */
export function benchPlots(bench: Bench): Plot[] {
  return [rooflinePlot, peerBars, speedUps, batchCurves, ...CONTESTS].flatMap((plot) => plot(bench) ?? []);
}

/** Ours, where it gave a figure: whoever stands first may be another. */
const oursIn = (one: BenchCase): BenchContestant | undefined => one.contestants.find(({ name }) => name === OURS);
/** Ours has a color of its own in every plot. */
const colorsOf = (who: readonly string[]): string[] => {
  const others = who.filter((name) => name !== OURS);
  return who.map((name) => (name === OURS ? KINDS[0]! : KINDS[1 + (others.indexOf(name) % (KINDS.length - 1))]!));
};

const isLinear = ({ suite }: BenchCase) => suite === 'linear';
const numberOf = (one: BenchCase, name: string): number => Number(one.dimensions[name]);
const shapeOf = (one: BenchCase): string => `${one.dimensions.n} x ${one.dimensions.k}`;

const ARITHMETIC = { f32: 'f32', f16: 'f16', i8: 'int8' } as const;

/** Where kernels stand under memory and the arithmetic that they do: a roof for each type. */
function rooflinePlot({ cases, roofline }: Bench): Plot | undefined {
  const { gigabytesPerSecond: memory, gigaOperationsPerSecond: peaks } = roofline;
  const values = cases
    .filter(({ suite }) => suite !== 'roofline')
    .flatMap((one) => {
      const ours = oursIn(one);
      if (!one.bytes || !one.operations || !ours?.gigaOperationsPerSecond) return [];
      const kind = one.dimensions.format === undefined ? one.suite : `${one.suite}, ${one.dimensions.format}`;
      // What the device lacks is done in f32.
      const type = peaks[one.arithmetic] === null ? 'f32' : one.arithmetic;
      const intensity = one.operations / one.bytes;
      return [{ kind, type, arithmetic: ARITHMETIC[type], intensity, rate: ours.gigaOperationsPerSecond }];
    });
  if (values.length === 0 || peaks.f32 === null) return undefined;
  const roofs = distinct(values.map(({ type }) => type)).map((type) => ({ type, peak: peaks[type]! }));
  const intensities = values.map(({ intensity }) => intensity);
  const ridges = roofs.map(({ peak }) => peak / memory);
  const [first, last] = [
    Math.min(...intensities, Math.min(...ridges) / 4) / 1.5,
    Math.max(...intensities, 4 * Math.max(...ridges)) * 1.5,
  ];
  const roof = roofs.flatMap(({ type, peak }) =>
    [first, peak / memory, last].map((intensity) => ({
      intensity,
      arithmetic: ARITHMETIC[type],
      rate: Math.min(peak, intensity * memory),
    })),
  );
  const several = roofs.length > 1;
  const flats = roofs.map(({ type, peak }) => `${peak.toFixed(1)} Gop/s in ${ARITHMETIC[type]}`).join(', ');
  const x = {
    field: 'intensity',
    type: 'quantitative',
    scale: { type: 'log' },
    title: 'operations per byte of memory',
    axis: { tickCount: 6, format: '~g' },
  } as const;
  const y = {
    field: 'rate',
    type: 'quantitative',
    scale: { type: 'log' },
    title: 'Gop/s',
    axis: { tickCount: 6, format: '~g' },
  } as const;
  return {
    title: 'Roofline',
    caption: `Ours under what this device was measured to do: ${memory.toFixed(1)} GB/s on the slope, ${flats} on the flat. A weight that the cache holds can be above the slope.`,
    spec: {
      width: WIDTH,
      height: HEIGHT,
      layer: [
        {
          data: { values: roof },
          mark: { type: 'line', color: 'currentColor', opacity: 0.6 },
          encoding: {
            x,
            y,
            ...(several && { strokeDash: { field: 'arithmetic', type: 'nominal', title: null } as const }),
          },
        },
        {
          data: { values },
          mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
          encoding: {
            x,
            y,
            color: { field: 'kind', type: 'nominal', sort: null, title: null, scale: { range: KINDS } },
            ...(several && { shape: { field: 'arithmetic', type: 'nominal', title: null } as const }),
          },
        },
      ],
    },
  };
}

/** Speed-up of each format over dense, by batch. */
function speedUps({ cases }: Bench): Plot | undefined {
  const values = cases.filter(isLinear).flatMap((one) => {
    const speedUp = oursIn(one)?.speedUp;
    if (!speedUp || one.baseline !== DENSE) return [];
    const [low, high] = speedUp.interval ?? [speedUp.ratio, speedUp.ratio];
    const batch = numberOf(one, 'batch');
    return [
      {
        format: String(one.dimensions.format),
        batch: `batch ${batch}`,
        shape: shapeOf(one),
        ratio: speedUp.ratio,
        low,
        high,
      },
    ];
  });
  if (values.length === 0) return undefined;
  const batches = distinct(values.map(({ batch }) => batch));
  const y = { field: 'format', type: 'nominal', sort: null, title: null } as const;
  const yOffset = { field: 'batch', sort: batches } as const;
  const color = {
    field: 'batch',
    type: 'nominal',
    sort: batches,
    title: null,
    scale: { domain: batches, range: KINDS },
  } as const;
  const many = new Set(values.map(({ shape }) => shape)).size;
  return {
    title: 'Speed-up over dense f32',
    caption: `The same product with its weights in f32, timed in turns, ${many === 1 ? `of ${values[0]!.shape}` : `of ${many} shapes, a point each`}, with 95% intervals. Right of 1 is faster.`,
    spec: {
      width: WIDTH,
      height: 18 * batches.length * new Set(values.map(({ format }) => format)).size + 20,
      data: { values },
      layer: [
        { mark: { type: 'rule', strokeDash: [4, 4], color: 'currentColor' }, encoding: { x: { datum: 1 } } },
        {
          mark: { type: 'rule', strokeWidth: 2, opacity: 0.6 },
          encoding: {
            ...{ y, yOffset, color },
            x: { field: 'low', type: 'quantitative', title: 'times as fast', scale: { zero: false, padding: 20 } },
            x2: { field: 'high' },
          },
        },
        {
          mark: { type: 'point', filled: true, size: 60 },
          encoding: { y, yOffset, color, x: { field: 'ratio', type: 'quantitative' } },
        },
      ],
    },
  };
}

/** How time grows with the batch, of the largest shape. */
function batchCurves({ cases }: Bench): Plot | undefined {
  const linear = cases.filter((one) => isLinear(one) && one.dimensions.n !== undefined && oursIn(one) !== undefined);
  const batchesOf = (shape: string) =>
    new Set(linear.filter((one) => shapeOf(one) === shape).map((one) => one.dimensions.batch)).size;
  const shapes = distinct(linear.map(shapeOf)).sort(
    (a, b) => batchesOf(b) - batchesOf(a) || size(linear, b) - size(linear, a),
  );
  const shape = shapes[0];
  if (shape === undefined || batchesOf(shape) < 2) return undefined;
  const values = linear
    .filter((one) => shapeOf(one) === shape)
    .map((one) => ({
      format: String(one.dimensions.format),
      batch: numberOf(one, 'batch'),
      microseconds: (1e6 * oursIn(one)!.seconds) / numberOf(one, 'batch'),
    }));
  return {
    title: 'Batch size',
    caption: `Time a right-hand side, ours, of ${shape}: what a token costs falls until arithmetic is the limit.`,
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'line', point: { filled: true, size: 50 } },
      encoding: {
        x: {
          field: 'batch',
          type: 'quantitative',
          scale: { type: 'log', base: 2, padding: 12 },
          axis: { values: distinct(values.map(({ batch }) => String(batch))).map(Number), format: 'd' },
          title: 'batch',
        },
        y: {
          field: 'microseconds',
          type: 'quantitative',
          scale: { type: 'log' },
          axis: { tickCount: 6, format: '~s' },
          title: 'µs per right-hand side',
        },
        color: { field: 'format', type: 'nominal', sort: null, title: null, scale: { range: KINDS } },
      },
    },
  };
}

function size(cases: readonly BenchCase[], shape: string): number {
  const one = cases.find((other) => shapeOf(other) === shape)!;
  return numberOf(one, 'n') * numberOf(one, 'k');
}

/** Bars of all contestants of a suite's cases: of many, a plot a batch size. */
const contest =
  (suite: string, title: string, caption: string) =>
  ({ cases }: Bench): Plot[] =>
    readableGroups(cases.filter((one) => one.suite === suite)).map(({ chosen, of, left }) =>
      contestPlot(chosen, title + of, caption + left),
    );

function contestPlot(cases: readonly BenchCase[], title: string, caption: string): Plot {
  const values = cases.flatMap((one) =>
    one.contestants.map(({ name, seconds, interval }) => ({
      name: one.name,
      who: name,
      milliseconds: 1e3 * seconds,
      low: 1e3 * (interval?.[0] ?? seconds),
      high: 1e3 * (interval?.[1] ?? seconds),
    })),
  );
  const who = distinct(values.map((value) => value.who));
  const y = { field: 'name', type: 'nominal', sort: null, title: null, axis: { labelLimit: 280 } } as const;
  const yOffset = { field: 'who', sort: who } as const;
  return {
    title,
    caption,
    spec: {
      width: WIDTH,
      height: 14 * values.length + 16 * new Set(values.map(({ name }) => name)).size,
      data: { values },
      layer: [
        {
          mark: { type: 'point', filled: true, size: 55 },
          encoding: {
            ...{ y, yOffset },
            x: {
              field: 'milliseconds',
              type: 'quantitative',
              scale: { type: 'log', nice: true },
              title: 'ms, logarithmic: left is faster',
              axis: { tickCount: 6, format: '~g' },
            },
            color: {
              field: 'who',
              type: 'nominal',
              sort: who,
              title: null,
              legend: { columns: LEGEND_COLUMNS, labelLimit: 240 },
              scale: { domain: who, range: colorsOf(who) },
            },
          },
        },
        {
          mark: { type: 'rule', strokeWidth: 2, opacity: 0.6 },
          encoding: {
            ...{ y, yOffset },
            x: { field: 'low', type: 'quantitative' },
            x2: { field: 'high' },
            color: { field: 'who', type: 'nominal' },
          },
        },
      ],
    },
  };
}

const CONTESTS = [
  contest('linear', 'Products, one by one', 'Time of a product, with 95% intervals.'),
  contest('attention', 'Attention', 'Time of one layer’s attention, with 95% intervals.'),
  contest('passes', 'Passes', 'Time of a pass over one matrix, with 95% intervals.'),
  contest('model', 'Models', 'Time of a token, with 95% intervals: in a prompt, or written one after another.'),
];
