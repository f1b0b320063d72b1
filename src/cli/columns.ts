import { quote } from '../files/text.ts';

/** Rows of text under each other; columns named in `right` (by index) are aligned to their right. */
export function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `1.23 MB`: powers of 1000, as disks and downloads count. */
export function bytesText(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return power === 0
    ? `${bytes} B`
    : `${(bytes / 1000 ** power).toPrecision(3)} ${['B', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

export const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** A name from a file, safe on a terminal. */
export const safeName = (name: string): string => quote(name).slice(1, -1);
