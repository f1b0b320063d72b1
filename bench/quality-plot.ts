import { drawSvg } from '../src/report/draw.ts';

/** One format by one implementation. */
export interface QualityPoint {
  readonly series: string;
  readonly format: string;
  readonly perplexity: number;
  readonly bitsPerWeight: number;
}

/** Percent. What a format spoils by more would take half of the picture. */
const MOST = 60;

/** Whose points bear the names of formats; of all, they would hide each other. */
const NAMED = ['ggml', 'Compressa, gptq'];

/**
 * The increase of perplexity over bits per weight as an SVG document; what lies lower and further left is better. Formats whose weights are spoilt are named in
 * the title only.
 */
export async function qualityPlot(points: readonly QualityPoint[], dense: number): Promise<string> {
  // On a logarithmic axis: a hundredth of a percent is below what the windows can tell.
  const all = points.map(({ series, format, perplexity, bitsPerWeight }) => ({
    series,
    format,
    bitsPerWeight,
    increase: Math.max(0.01, 100 * (perplexity / dense - 1)),
  }));
  const values = all.filter(({ increase }) => increase <= MOST);
  const spoilt = new Set(all.filter(({ increase }) => increase > MOST).map(({ format }) => format));
  const x = { field: 'bitsPerWeight', type: 'quantitative', title: 'bits per weight', scale: { zero: false } } as const;
  const y = {
    field: 'increase',
    type: 'quantitative',
    title: 'increase of perplexity, %',
    scale: { type: 'log' },
    axis: { tickCount: 6, format: '~g' },
  } as const;
  return drawSvg({
    width: 1100,
    height: 700,
    background: 'white',
    title: {
      text: `Sample model, 16 windows, dense ${dense}: what each format costs`,
      ...(spoilt.size > 0 && { subtitle: `beyond ${MOST}%, not shown: ${[...spoilt].join(', ')}` }),
    },
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
      ...NAMED.map((series, i) => ({
        transform: [{ filter: { field: 'series', equal: series } }],
        mark: { type: 'text', align: i === 0 ? 'left' : 'right', dx: i === 0 ? 6 : -6, fontSize: 9 } as const,
        encoding: { x, y, text: { field: 'format' } },
      })),
    ],
  });
}
