/** How reports write numbers, as text and as a page. */

/** Two decimals, or two significant digits where those would show nothing; never an exponent. */
export function percentText(fraction: number): string {
  const size = Math.abs(100 * fraction);
  const digits = size === 0 || size >= 0.1 ? 2 : Math.min(20, 1 - Math.floor(Math.log10(size)));
  return `${(100 * fraction).toFixed(digits)}%`;
}

export const signedPercent = (fraction: number): string => `${fraction >= 0 ? '+' : ''}${percentText(fraction)}`;

/** Two fractions as percent, with as many digits as it takes to tell them apart. */
export function percentsApart(a: number, b: number): [string, string] {
  const texts = (digits: number) => [a, b].map((x) => `${(100 * x).toFixed(digits)}%`) as [string, string];
  for (let digits = 2; digits < 20; digits++) {
    const [first, second] = texts(digits);
    const vanishes = [a, b].some((x, i) => x !== 0 && Number.parseFloat([first, second][i]!) === 0);
    if (!vanishes && (a === b || first !== second)) return [first, second];
  }
  return texts(20);
}

/** A perplexity or the like: numbers beyond a million as a power of ten. */
export const figureText = (value: number, digits: number): string =>
  value >= 1e6 ? value.toExponential(2) : value.toFixed(digits);

/** The interval of an increase of perplexity; empty where there is none. */
export const increaseIntervalText = (interval: readonly [number, number] | null): string =>
  interval ? `95%: ${signedPercent(interval[0])} to ${signedPercent(interval[1])}` : '';

/** A ratio or the like, in three digits. */
export const shortText = (value: number): string => String(Number(value.toPrecision(3)));

/** What a speed-up adds to its ratio: the interval, and whether it leaves open which of both is faster. */
export function intervalText(interval: readonly [number, number] | null): string {
  if (!interval) return '';
  const [low, high] = interval;
  const open = low <= 1 && high >= 1 ? ', no clear difference' : '';
  return `95%: ${low.toFixed(2)} to ${high.toFixed(2)}${open}`;
}

/** Which of the dense models is the faster, with its rate: what the ratio is against. */
export const baselineOf = ({ f32, f16 }: { readonly f32: number; readonly f16: number | null }) =>
  f16 !== null && f16 > f32 ? ({ type: 'f16', rate: f16 } as const) : ({ type: 'f32', rate: f32 } as const);

/** How much smaller or larger a model became; empty where there is nothing to compare. */
export function sizeChange(original: number, compressed: number): string {
  if (original === 0 || compressed === 0) return '';
  const smaller = original >= compressed;
  return `${(smaller ? original / compressed : compressed / original).toFixed(2)}x ${smaller ? 'smaller' : 'larger'}`;
}

export const bytesText = (n: number): string =>
  n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : `${(n / 1e3).toFixed(1)} kB`;
