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

export const bytesText = (n: number): string =>
  n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : `${(n / 1e3).toFixed(1)} kB`;
