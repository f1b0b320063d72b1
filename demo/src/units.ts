/** Bytes as people write them. */
export function bytesText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toPrecision(3)} ${units[unit]}`;
}

/** A share as percent: three digits. */
export const percentText = (share: number): string =>
  share === 0 ? '0%' : share >= 0.9995 && share < 1 ? '>99.9%' : `${Number((100 * share).toPrecision(3))}%`;

/** A weight: enough digits to tell neighbours apart, always with a sign that screen readers say. */
export const weightText = (weight: number): string =>
  weight === 0 ? '0' : (Math.abs(weight) < 1e-4 ? weight.toExponential(2) : weight.toPrecision(4)).replace('-', '−');

/** A whole number with its thousands apart. */
export const countText = (count: number): string => count.toLocaleString('en');

/** Seconds, from milliseconds. */
export const secondsText = (milliseconds: number): string =>
  milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
