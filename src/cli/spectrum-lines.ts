import type { MatrixSpectrum, SpectrumPoint } from '../passes/lowrank/spectrum.ts';
import { rankKeeping } from '../passes/lowrank/spectrum.ts';
import { sparkline } from '../passes/value-statistics.ts';
import { safeName, shapeText } from './columns.ts';
import { table } from './output.ts';

/** Columns of a drawing, each as many ranks. */
const WIDTH = 40;
/** Values below that share of the largest are drawn as nothing. */
const DECADES = 4;

/** Spectra as text: singular values on a logarithmic scale, and the ranks that keep a share of the sum of squares. */
export const spectrumLines = (spectra: readonly MatrixSpectrum[]): string[] =>
  spectra.map(({ name, shape, pays, plain, whitened }) =>
    table(
      [
        ['singular values', `|${drawing(plain)}| ${ranks(plain)}`],
        ...(whitened ? [['whitened by inputs', `|${drawing(whitened)}| ${ranks(whitened)}`] as const] : []),
        ['factors pay', `below rank ${pays}`],
      ],
      `${safeName(name)}, ${shapeText(shape)}`,
    ),
  );

/** The values at ranks that are evenly apart, as a share of four decades below the largest. */
function drawing(points: readonly SpectrumPoint[]): string {
  const last = points.at(-1)!.rank;
  const bars = Array.from({ length: Math.min(WIDTH, last) }, (_, column) => {
    const rank = 1 + Math.round((column * (last - 1)) / Math.max(1, Math.min(WIDTH, last) - 1));
    const { value } = points.findLast((point) => point.rank <= rank)!;
    return value > 0 ? Math.max(0, DECADES + Math.log10(value)) : 0;
  });
  return sparkline([...bars.map((bar) => Math.round(1000 * bar))]);
}

const ranks = (points: readonly SpectrumPoint[]): string =>
  [0.5, 0.9, 0.99]
    .map((share) => `${100 * share}%: ${rankKeeping(points, share) ?? `above ${points.at(-1)!.rank}`}`)
    .join(', ');
