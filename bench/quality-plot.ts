import { drawSvg } from '../src/report/draw.ts';

/** One format by one implementation. */
export interface QualityPoint {
  readonly series: string;
  readonly format: string;
  readonly perplexity: number;
  readonly bitsPerWeight: number;
}

/** The increase of perplexity over bits per weight as an SVG document; what lies lower and further left is better. */
export async function qualityPlot(points: readonly QualityPoint[], dense: number): Promise<string> {
  // On a logarithmic axis: a hundredth of a percent is below what the windows can tell.
  const values = points.map(({ series, format, perplexity, bitsPerWeight }) => ({
    series,
    format,
    bitsPerWeight,
    increase: Math.max(0.01, 100 * (perplexity / dense - 1)),
  }));
  const x = { field: 'bitsPerWeight', type: 'quantitative', title: 'bits per weight', scale: { zero: false } } as const;
  const y = {
    field: 'increase',
    type: 'quantitative',
    title: 'increase of perplexity, %',
    scale: { type: 'log' },
    axis: { tickCount: 6, format: '~g' },
  } as const;
  return drawSvg({
    width: 860,
    height: 560,
    background: 'white',
    title: `Sample model, 16 windows, dense ${dense}: what each format costs`,
    data: { values },
    layer: [
      {
        mark: { type: 'point', filled: true, size: 60 },
        encoding: {
          x,
          y,
          color: { field: 'series', type: 'nominal', title: null, legend: { orient: 'top' } },
          shape: { field: 'series', type: 'nominal', title: null },
        },
      },
      {
        mark: { type: 'text', align: 'left', dx: 6, fontSize: 8, opacity: 0.75 },
        encoding: { x, y, text: { field: 'format' } },
      },
    ],
  });
}
