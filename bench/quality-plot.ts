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

/** Whose points bear the names of formats where no other of the same series is better in both; of all, they would hide each other. */
const NAMED = ['ggml', 'Compressa, gptq'];
/** From what looks at weights alone to what looks at all of H, and the peer in black. */
const COLORS = {
  'Compressa, rtn': '#b8c4cc',
  'Compressa, search': '#7fb3d5',
  'Compressa, hqq': '#c39bd3',
  'Compressa, awq': '#e59866',
  'Compressa, gptq': '#1f6fb2',
  ggml: 'black',
};

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
  // The peer is drawn last, over what lies in the same place.
  const place = ({ series }: { readonly series: string }) => Object.keys(COLORS).indexOf(series);
  const values = all.filter(({ increase }) => increase <= MOST).sort((a, b) => place(a) - place(b));
  const front = values.filter(
    (one) =>
      !values.some(
        (other) =>
          other !== one &&
          other.series === one.series &&
          other.bitsPerWeight <= one.bitsPerWeight &&
          other.increase <= one.increase,
      ),
  );
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
        mark: { type: 'point', filled: true, size: 70 },
        encoding: {
          x,
          y,
          color: {
            ...{ field: 'series', type: 'nominal', title: null, legend: { orient: 'top' } },
            scale: { domain: Object.keys(COLORS), range: Object.values(COLORS) },
          },
          shape: { field: 'series', type: 'nominal', title: null, scale: { domain: Object.keys(COLORS) } },
        },
      },
      ...NAMED.map((series, i) => ({
        data: { values: front.filter((one) => one.series === series) },
        mark: { type: 'text', align: i === 0 ? 'left' : 'right', dx: i === 0 ? 8 : -8, fontSize: 10 } as const,
        encoding: { x, y, text: { field: 'format' } },
      })),
    ],
  });
}
