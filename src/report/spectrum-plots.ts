import type { Report } from '../verify/report-schema.ts';
import { HEIGHT, KINDS, layerOrder, type Plot, placeOf, WIDTH } from './plot.ts';

type Spectrum = NonNullable<Report['spectra']>[number];
type Point = Spectrum['plain'][number];

/** Share of the sum of squares whose rank is plotted by layer. */
const SHARE = 0.9;

/** Both kinds of points of every matrix, with where it belongs. */
function pointsOf<T extends object>(spectra: readonly Spectrum[], of: (point: Point, spectrum: Spectrum) => T) {
  return spectra.flatMap((spectrum) => {
    const place = { ...placeOf(spectrum), name: spectrum.name };
    const some = (which: string, points: readonly Point[] | null) =>
      (points ?? []).map((point) => ({ ...place, which, ...of(point, spectrum) }));
    return [...some('plain', spectrum.plain), ...some('whitened', spectrum.whitened)];
  });
}

const kind = { field: 'kind', type: 'nominal', title: null, scale: { range: KINDS } } as const;
const which = { field: 'which', type: 'nominal', title: null, sort: ['plain', 'whitened'] } as const;

interface Axis {
  readonly field: string;
  readonly title: string;
  readonly scale?: { readonly type: 'log' };
}

/** A line for each matrix, dashed where it is whitened. */
const linesOf = (values: object[], x: Axis, y: Axis): Plot['spec'] => ({
  width: WIDTH,
  height: HEIGHT,
  data: { values },
  mark: { type: 'line', opacity: 0.5, strokeWidth: 1 },
  encoding: {
    x: { ...x, type: 'quantitative' },
    y: { ...y, type: 'quantitative' },
    color: kind,
    detail: { field: 'name' },
    strokeDash: which,
  },
});

/** The plots of singular values that a report has data for. */
export function spectrumPlots({ spectra }: Report): Plot[] {
  if (!spectra || spectra.length === 0) return [];
  return [singularValues(spectra), keptEnergy(spectra), errors(spectra), ranks(spectra)];
}

function singularValues(spectra: readonly Spectrum[]): Plot {
  // Zeros have no place on a logarithmic scale.
  const values = pointsOf(spectra, ({ rank, value }) => ({ rank, value })).filter(({ value }) => value > 1e-6);
  return {
    title: 'Singular values',
    caption:
      'As a share of the largest, a line for each matrix; dashed: weighed by the inputs of the matrix. What falls fast is cheap to leave out.',
    spec: linesOf(
      values,
      { field: 'rank', scale: { type: 'log' }, title: 'place, logarithmic' },
      { field: 'value', scale: { type: 'log' }, title: 'singular value, logarithmic' },
    ),
  };
}

function keptEnergy(spectra: readonly Spectrum[]): Plot {
  const values = pointsOf(spectra, ({ rank, kept }) => ({ rank, kept: 100 * kept }));
  return {
    title: 'Kept energy',
    caption: 'What a product of that rank keeps of the sum of squares of the singular values.',
    spec: linesOf(values, { field: 'rank', title: 'rank' }, { field: 'kept', title: 'kept, %' }),
  };
}

function errors(spectra: readonly Spectrum[]): Plot {
  const values = pointsOf(spectra, ({ rank, kept }, { pays }) => ({
    share: rank / pays,
    error: 100 * Math.sqrt(Math.max(0, 1 - kept)),
  })).filter(({ share }) => share <= 1);
  return {
    title: 'Error against rank',
    caption:
      'The least error of a product, relative to the matrix, or dashed to its outputs; the rank as a share of the one from which factors save nothing.',
    spec: linesOf(
      values,
      { field: 'share', title: 'parameters of the factors, as a share of the matrix' },
      { field: 'error', title: 'relative error, %' },
    ),
  };
}

function ranks(spectra: readonly Spectrum[]): Plot {
  const factored = spectra.some(({ rank }) => rank !== null);
  const values = spectra.flatMap((spectrum) => {
    const { rank, pays, plain, whitened } = spectrum;
    const needed = (whitened ?? plain).find(({ kept }) => kept >= SHARE)?.rank;
    const shown = factored ? rank : needed;
    return shown === null || shown === undefined ? [] : [{ ...placeOf(spectrum), share: shown / pays, rank: shown }];
  });
  return {
    title: 'Rank by layer',
    caption: factored
      ? 'Of the factors that the compressed model has, as a share of the rank from which factors save nothing.'
      : `The rank that keeps ${100 * SHARE}% of the sum of squares, as a share of the rank from which factors save nothing: above 1 it does not pay.`,
    spec: {
      width: WIDTH,
      height: HEIGHT,
      data: { values },
      mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
      encoding: {
        x: { field: 'layer', type: 'nominal', sort: layerOrder(values.map(({ layer }) => layer)), title: 'layer' },
        xOffset: { field: 'kind' },
        y: { field: 'share', type: 'quantitative', title: 'rank, as a share' },
        color: kind,
      },
    },
  };
}
