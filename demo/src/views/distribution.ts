import type { TopLevelSpec } from 'vega-lite';
import type { Gpu } from '../../../src/index.ts';
import { byId } from '../dom.ts';
import { SPECTRUM, spectrumOf } from '../engine/low-rank-product.ts';
import { BINS, type TensorSession } from '../engine/tensor-session.ts';
import { darkMode } from '../palette.ts';
import { countText } from '../units.ts';

const colours = () => (darkMode() ? ['#8b93a3', '#5ec4b6'] : ['#7b8494', '#0f766e']);

async function draw(id: string, spec: TopLevelSpec, label: string): Promise<void> {
  const { drawSvg } = await import('../../../src/report/draw.ts');
  const box = byId(id);
  const svg = await drawSvg(spec);
  box.innerHTML = svg;
  // One picture with one name, in place of a tree of marks.
  const picture = box.querySelector('svg');
  for (const mark of box.querySelectorAll('[role],[aria-label],[aria-roledescription],[aria-hidden]')) {
    for (const name of ['role', 'aria-label', 'aria-roledescription', 'aria-hidden']) mark.removeAttribute(name);
  }
  picture?.setAttribute('role', 'img');
  picture?.setAttribute('aria-label', label);
}

const sizeOf = (id: string) => {
  const { clientWidth, clientHeight } = byId(id);
  return { width: Math.max(240, clientWidth - 8), height: Math.max(160, clientHeight - 90) };
};

/** How many weights have which value, before and after. */
export async function drawHistogram(tensor: TensorSession): Promise<void> {
  if (!tensor.figures) return;
  const limit = tensor.summary.largest;
  const values = (await tensor.histograms()).flatMap((counts, i) =>
    Array.from(counts, (count, bin) => ({
      from: limit * ((2 * bin) / BINS - 1),
      to: limit * ((2 * (bin + 1)) / BINS - 1),
      count,
      which: i === 0 ? 'before' : 'after',
    })),
  );
  await draw(
    'histogram',
    {
      ...sizeOf('histogram'),
      data: { values },
      layer: [
        {
          transform: [{ filter: "datum.which == 'before'" }],
          mark: { type: 'bar', opacity: 0.45, binSpacing: 0 },
          encoding: histogramEncoding,
        },
        {
          transform: [{ filter: "datum.which == 'after'" }],
          mark: { type: 'line', interpolate: 'step-before', strokeWidth: 1.6 },
          encoding: histogramEncoding,
        },
      ],
      resolve: { scale: { color: 'shared' } },
    } as TopLevelSpec,
    `Histogram of the weights before and after: ${countText(tensor.rows * tensor.k)} weights from ${(-limit).toPrecision(3)} to ${limit.toPrecision(3)}`,
  );
}

const histogramEncoding = {
  x: { field: 'from', type: 'quantitative', title: 'weight', bin: { binned: true } },
  x2: { field: 'to' },
  y: { field: 'count', type: 'quantitative', title: 'weights in a range (square-root scale)', scale: { type: 'sqrt' } },
  get color() {
    return { field: 'which', type: 'nominal', title: null, scale: { domain: ['before', 'after'], range: colours() } };
  },
} as const;

/** Singular values, largest first, before and after. */
export async function drawSpectrum(gpu: Gpu, tensor: TensorSession, signal: AbortSignal): Promise<void> {
  const { rows, k } = tensor;
  const before = await spectrumOf(gpu, tensor.before, rows, k, signal);
  const after = await spectrumOf(gpu, tensor.after, rows, k, signal);
  signal.throwIfAborted();
  // What is that much smaller than the largest is rounding.
  const least = 1e-5 * before[0]!;
  const values = [before, after].flatMap((singular, i) =>
    Array.from(singular, (value, at) => ({ index: at + 1, value, which: i === 0 ? 'before' : 'after' })).filter(
      ({ value }) => value > least,
    ),
  );
  const part = before.length < Math.min(rows, k) ? ` (the ${SPECTRUM / 2} largest)` : '';
  await draw(
    'spectrum',
    {
      ...sizeOf('spectrum'),
      data: { values },
      mark: { type: 'line', strokeWidth: 1.8 },
      encoding: {
        x: { field: 'index', type: 'quantitative', title: `singular value, from the largest${part}` },
        y: { field: 'value', type: 'quantitative', title: 'size (log scale)', scale: { type: 'log' } },
        color: {
          field: 'which',
          type: 'nominal',
          title: null,
          scale: { domain: ['before', 'after'], range: colours() },
        },
      },
    },
    `Singular values before and after: the largest is ${before[0]?.toPrecision(3)} before and ${after[0]?.toPrecision(3)} after`,
  );
}
