/** Red, green and blue from 0 to 1, in sRGB. */
export type Rgb = readonly [number, number, number];

/** Points of viridis (van der Walt and Smith, matplotlib), which is uniform to the eye and to colour-blind eyes. */
const VIRIDIS = ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'];
/** For signed numbers: two hues that all eyes tell apart, lightness growing (or falling) evenly from the middle, which is the paper. */
const SIGNED = {
  light: ['#0b3c7d', '#2f6db3', '#7fa9d6', '#c9dbec', '#f7f7f5', '#f4d3bd', '#e0986a', '#b85c26', '#7a3206'],
  dark: ['#a9d1ff', '#5f9fe0', '#2f6aa8', '#1c3c5e', '#15181d', '#553018', '#99521f', '#d98a4b', '#ffd0a6'],
};

const parse = (hex: string): Rgb => {
  const value = Number.parseInt(hex.slice(1), 16);
  return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
};

type Lab = [number, number, number];
const linear = (x: number): number => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
const gamma = (x: number): number => (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055);

/** To OKLab (Ottosson 2020), in which straight lines look even. */
function toLab([r, g, b]: Rgb): Lab {
  const [lr, lg, lb] = [linear(r), linear(g), linear(b)];
  const l = Math.cbrt(0.4122214708 * lr + 0.5363325363 * lg + 0.0514459929 * lb);
  const m = Math.cbrt(0.2119034982 * lr + 0.6806995451 * lg + 0.1073969566 * lb);
  const s = Math.cbrt(0.0883024619 * lr + 0.2817188376 * lg + 0.6299787005 * lb);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromLab([lightness, a, b]: Lab): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const clamp = (x: number) => Math.min(1, Math.max(0, gamma(Math.max(0, x))));
  return [
    clamp(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    clamp(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    clamp(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function ramp(points: readonly string[]): (x: number) => Rgb {
  const labs = points.map((point) => toLab(parse(point)));
  return (x) => {
    const at = Math.min(1, Math.max(0, x)) * (labs.length - 1);
    const i = Math.min(labs.length - 2, Math.floor(at));
    const share = at - i;
    return fromLab(labs[i]!.map((low, channel) => low + share * (labs[i + 1]![channel]! - low)) as Lab);
  };
}

export const darkMode = (): boolean => matchMedia('(prefers-color-scheme: dark)').matches;

/** From 0 to 1: the colour of a magnitude. */
export const magnitudeColour = ramp(VIRIDIS);

/** From 0 to 1: of a signed number, 0.5 being zero, on the page as it is now. */
export const signedColour = (x: number): Rgb => ramp(darkMode() ? SIGNED.dark : SIGNED.light)(x);

export const cssColour = ([r, g, b]: Rgb): string => `rgb(${[r, g, b].map((x) => Math.round(255 * x)).join(' ')})`;

/** Whether black text is easier to read on it than white text: one of both always has a contrast of 4.5. */
export const isLight = ([r, g, b]: Rgb): boolean =>
  0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.179;

/** 256 colours for magnitudes, then 256 for signed numbers, a byte a channel, as shaders unpack them. */
export function paletteWords(): Uint32Array<ArrayBuffer> {
  const signed = ramp(darkMode() ? SIGNED.dark : SIGNED.light);
  const words = new Uint32Array(512);
  for (let i = 0; i < 256; i++) {
    for (const [start, colour] of [
      [0, magnitudeColour(i / 255)],
      [256, signed(i / 255)],
    ] as const) {
      const [r, g, b] = colour.map((x) => Math.round(255 * x)) as [number, number, number];
      words[start + i] = r | (g << 8) | (b << 16) | (255 << 24);
    }
  }
  return words;
}
