// What the plots of the benchmark have in common, besides what those of reports do.

export const HEIGHT = 280;

/** Each once, in the order of the run. */
export const distinct = <T extends string>(values: Iterable<T>): T[] => [...new Set(values)];

/** More cases than this are a table's. */
export const MOST_BARS = 40;

/** Names of peers are long: more in a row would leave the plot. */
export const LEGEND_COLUMNS = 2;
