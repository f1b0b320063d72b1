import { gaussian, random } from './random.ts';

/** A kernel of a convolution, and the ranks at which it is factored. */
export interface SuiteKernel {
  readonly name: string;
  readonly shape: readonly [outputs: number, inputs: number, height: number, width: number];
  readonly values: Float32Array<ArrayBuffer>;
  /** Of the factorization over rows and columns, over channels, and of Tucker's core. */
  readonly spatial: number;
  readonly channel: number;
  readonly tucker: readonly [number, number];
}

/** Mixtures of a few smooth filters, with noise: as trained kernels are, of large and small shapes. */
const CASES: readonly [SuiteKernel['shape'], noise: number, Pick<SuiteKernel, 'spatial' | 'channel' | 'tucker'>][] = [
  [[32, 16, 3, 3], 0.1, { spatial: 8, channel: 6, tucker: [8, 6] }],
  [[64, 48, 5, 5], 0.3, { spatial: 24, channel: 16, tucker: [20, 16] }],
  [[17, 9, 3, 3], 0.05, { spatial: 4, channel: 5, tucker: [5, 3] }],
  [[128, 64, 3, 3], 1, { spatial: 32, channel: 32, tucker: [40, 24] }],
  [[24, 3, 7, 7], 0.2, { spatial: 5, channel: 8, tucker: [9, 2] }],
  [[48, 40, 1, 1], 0.2, { spatial: 12, channel: 12, tucker: [12, 12] }],
  [[40, 24, 1, 5], 0.5, { spatial: 10, channel: 9, tucker: [12, 10] }],
  [[64, 64, 3, 3], 4, { spatial: 16, channel: 16, tucker: [16, 16] }],
];

export const kernelSuite = (): SuiteKernel[] =>
  CASES.map(([shape, noise, ranks], i) => ({
    name: `${shape.join('x')}, noise ${noise}`,
    ...{ shape, values: kernelOf(shape, noise, i + 1), ...ranks },
  }));

const FILTERS = 12;

function kernelOf(shape: SuiteKernel['shape'], noise: number, seed: number): Float32Array<ArrayBuffer> {
  const next = random(seed);
  const [outputs, inputs, height, width] = shape;
  const draw = (count: number) => Float64Array.from({ length: count }, () => gaussian(next));
  const [out, into] = [draw(outputs * FILTERS), draw(inputs * FILTERS)];
  // A wave in a random direction, weaker for each filter.
  const filters = Array.from({ length: FILTERS }, (_, filter) => {
    const [a, b, phase] = [gaussian(next), gaussian(next), 2 * Math.PI * next()];
    return Float64Array.from(
      { length: height * width },
      (_, at) => Math.cos(a * Math.floor(at / width) + b * (at % width) + phase) / (1 + filter),
    );
  });
  const values = new Float32Array(outputs * inputs * height * width);
  for (let at = 0; at < values.length; at++) {
    const [pixel, channels] = [at % (height * width), Math.floor(at / (height * width))];
    const [o, i] = [Math.floor(channels / inputs), channels % inputs];
    let sum = noise * gaussian(next);
    for (const [f, filter] of filters.entries()) sum += out[o * FILTERS + f]! * into[i * FILTERS + f]! * filter[pixel]!;
    values[at] = sum;
  }
  return values;
}
