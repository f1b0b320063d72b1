import type { Plot } from '../../../src/report/plot.ts';
import type { Bench, BenchCase } from '../results-schema.ts';

const COLORS = ['#2f7ed8', '#e0a030', '#3a9b7a', '#d1495b', '#8e6bbf', '#6b8e23', '#c46f9c', '#4aa3b5', '#8a94a6'];
const OURS = '#2f7ed8';
const WIDTH = 620;
const HEIGHT = 280;

/** The plots that the results have data for, in the order of the page. */
export function benchPlots(bench: Bench): Plot[] {
  return [rooflinePlot, speedUps, batchCurves, ...CONTESTS].flatMap((plot) => plot(bench) ?? []);
}

const isLinear = ({ suite }: BenchCase) => suite === 'linear';
const numberOf = (one: BenchCase, name: string): number => Number(one.dimensions[name]);
const shapeOf = (one: BenchCase): string => `${one.dimensions.n} x ${one.dimensions.k}`;
/** In the order of the run. */
const distinct = (values: Iterable<string>): string[] => [...new Set(values)];

/** Where kernels stand under memory and arithmetic. */
function rooflinePlot({ cases, roofline }: Bench): Plot | undefined {
  const values = cases
    .filter(({ suite }) => suite !== 'roofline')
    .flatMap((one) => {
      const ours = one.contestants[0]!;
      if (!one.bytes || !one.operations || !ours.gigaOperationsPerSecond) return [];
      const kind = one.dimensions.format === undefined ? one.suite : `${one.suite}, ${one.dimensions.format}`;
      return [{ kind, intensity: one.operations / one.bytes, rate: ours.gigaOperationsPerSecond }];
    });
  const peak = roofline.gigaOperationsPerSecond.f32;
  if (values.length === 0 || peak === null) return undefined;
  const { gigabytesPerSecond: memory } = roofline;
  const intensities = values.map(({ intensity }) => intensity);
  const ridge = peak / memory;
  const ends = [Math.min(...intensities, ridge / 4) / 1.5, ridge, Math.max(...intensities, ridge * 4) * 1.5];
  const roof = ends.map((intensity) => ({ intensity, rate: Math.min(peak, intensity * memory) }));
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
    caption: `Ours under what this device was measured to do: ${memory.toFixed(1)} GB/s on the slope, ${peak.toFixed(1)} Gop/s in f32 on the flat. A weight that the cache holds can be above the slope.`,
    spec: {
      width: WIDTH,
      height: HEIGHT,
      layer: [
        {
          data: { values: roof },
          mark: { type: 'line', color: 'currentColor', opacity: 0.6 },
          encoding: { x, y },
        },
        {
          data: { values },
          mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
          encoding: {
            x,
            y,
            color: { field: 'kind', type: 'nominal', sort: null, title: null, scale: { range: COLORS } },
          },
        },
      ],
    },
  };
}

/** Speed-up of each format over dense, by batch. */
function speedUps({ cases }: Bench): Plot | undefined {
  const values = cases.filter(isLinear).flatMap((one) => {
    const { speedUp } = one.contestants[0]!;
    if (!speedUp || one.dimensions.format === 'f32') return [];
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
    scale: { domain: batches, range: COLORS },
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
  const linear = cases.filter((one) => isLinear(one) && one.dimensions.n !== undefined);
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
      microseconds: (1e6 * one.contestants[0]!.seconds) / numberOf(one, 'batch'),
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
        color: { field: 'format', type: 'nominal', sort: null, title: null, scale: { range: COLORS } },
      },
    },
  };
}

function size(cases: readonly BenchCase[], shape: string): number {
  const one = cases.find((other) => shapeOf(other) === shape)!;
  return numberOf(one, 'n') * numberOf(one, 'k');
}

/** More cases than this are a table's. */
const MOST_BARS = 40;

/** Bars of all contestants of a suite's cases. */
const contest =
  (suite: string, title: string, caption: string) =>
  ({ cases }: Bench): Plot | undefined => {
    const values = cases
      .filter((one) => one.suite === suite)
      .slice(0, MOST_BARS)
      .flatMap((one) =>
        one.contestants.map(({ name, seconds, interval }) => ({
          name: one.name,
          who: name,
          milliseconds: 1e3 * seconds,
          low: 1e3 * (interval?.[0] ?? seconds),
          high: 1e3 * (interval?.[1] ?? seconds),
        })),
      );
    if (values.length === 0) return undefined;
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
                scale: { domain: who, range: [OURS, ...COLORS.slice(1)] },
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
  };

const CONTESTS = [
  contest('linear', 'Products, one by one', 'Time of a product, with 95% intervals.'),
  contest('attention', 'Attention', 'Time of one layer’s attention, with 95% intervals.'),
  contest('passes', 'Passes', 'Time of a pass over one matrix, with 95% intervals.'),
  contest('model', 'Models', 'Time of a token, with 95% intervals: in a prompt, or written one after another.'),
];
