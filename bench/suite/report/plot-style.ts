// What the plots of a report have in common.

export const COLORS = [
  '#2f7ed8',
  '#e0a030',
  '#3a9b7a',
  '#d1495b',
  '#8e6bbf',
  '#6b8e23',
  '#c46f9c',
  '#4aa3b5',
  '#8a94a6',
];
export const OUR_COLOR = '#2f7ed8';
export const WIDTH = 620;
export const HEIGHT = 280;

/** Each once, in the order of the run. */
export const distinct = <T extends string>(values: Iterable<T>): T[] => [...new Set(values)];

/** More cases than this are a table's. */
export const MOST_BARS = 40;

/** Names of peers are long: more in a row would leave the plot. */
export const LEGEND_COLUMNS = 2;
