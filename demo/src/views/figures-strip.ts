import { formatByName } from '../../../src/index.ts';
import { byId, make } from '../dom.ts';
import type { Figures, TensorSession } from '../engine/tensor-session.ts';
import { bytesText, countText, percentText } from '../units.ts';

/** What compression does to the selected tensor, in numbers. */
export function showFigures(tensor: TensorSession, figures: Figures): void {
  const { entry, rows, k } = tensor;
  const { stored, packed } = figures.bytes;
  const decibels = figures.error > 0 ? `${(-10 * Math.log10(figures.error)).toFixed(1)} dB` : '∞ dB';
  const tiles: (readonly [string, string])[] = [
    [bytesText(stored), `in the file, from ${bytesText(entry.bytes)}`],
    [`${((8 * stored) / (entry.rows * k)).toFixed(2)} bits`, 'per weight'],
    [
      percentText(figures.error),
      `squared error, ${decibels} SNR${figures.fellBack ? '; rounded to nearest, which loses less' : ''}`,
    ],
    [percentText(figures.zeros[1]), `zeros, before ${percentText(figures.zeros[0])}`],
  ];
  if (packed !== undefined) tiles.push([bytesText(packed), 'if packed, without its zeros']);
  byId('figures').replaceChildren(
    ...tiles.map(([figure, label]) => make('div', {}, make('b', {}, figure), make('span', {}, label))),
  );
  byId('tensor-name').textContent = entry.name;
  const again = compressedFormat(entry.format) ? '; already compressed: what the knobs do adds to what was lost' : '';
  const part = rows < entry.rows ? `; shown are its first ${countText(rows)} rows, all that is held at a time` : '';
  byId('tensor-shape').textContent = `${entry.shape.join(' × ')} ${entry.format}, ${entry.role}${part}${again}`;
}

/** No tensor is there. */
export function hideFigures(): void {
  byId('figures').replaceChildren();
  byId('tensor-name').textContent = 'No tensor is shown';
  byId('tensor-shape').textContent = '';
}

/** The engine compresses originals only. */
const compressedFormat = (name: string): boolean => {
  try {
    return formatByName(name).kind === 'block';
  } catch {
    return /@/.test(name); // Packed, or a type without a format.
  }
};
