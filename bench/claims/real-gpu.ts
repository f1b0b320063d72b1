import type { Claim, Measurement } from '../claim.ts';

/** As the feed-forward part of an 8B model has it. */
const [ROWS, COLUMNS] = [4096, 14336];
const GIGABYTE = 1e9;
const LIMITS = { ofCopy: 0.75, overHalf: 3, ofArithmetic: 0.5 } as const;

/**
 * What only a real GPU can show: products of a token beside copies, with more distinct weights than a cache holds; decoding layers of 8B shapes in int4 beside f16; the
 * dense product of 4096³ beside the measured arithmetic. It runs the sources, for which `tools/wgsl-register.ts` has to be in place.
 */
export const claim: Claim = {
  name: 'real GPU',
  async *measure(gpu, takes): AsyncIterable<Measurement> {
    if (gpu.description.software) {
      yield {
        ...{ claim: 'products at the speed of a real GPU', threshold: 'where a real GPU is at hand' },
        ...{ measured: `not measured: ${gpu.description.description} computes on a CPU`, pass: null },
      };
      return;
    }
    await import('../../tools/wgsl-register.ts');
    const { measureWeightStream } = await import('../suite/weight-stream.ts');
    for (const format of ['q4_0', 'q4_k']) {
      if (!takes(format)) continue;
      const stream = { format, rows: ROWS, k: COLUMNS, bytes: GIGABYTE };
      const { variant, bytes, ofCopy } = await measureWeightStream(gpu as never, stream);
      yield {
        claim: `${format} ${ROWS}x${COLUMNS}, a token, ${(bytes / GIGABYTE).toFixed(2)} GB of weights (${variant}), of copy bandwidth`,
        ...{ threshold: `at least ${LIMITS.ofCopy}`, measured: textOf(ofCopy), pass: lowOf(ofCopy) >= LIMITS.ofCopy },
      };
    }
    if (takes('decode')) {
      const { formatByName } = await import('../../src/formats/registry.ts');
      const { measureStack } = await import('../../src/verify/stack-speed.ts');
      const { MODEL_SHAPES } = await import('../suite/model-shapes.ts');
      const shapes = { ...MODEL_SHAPES['8B'], layers: 8, vocabulary: 4096 };
      const stack = { description: '8 layers of 8B shapes', shapes };
      const { decode } = await measureStack(gpu as never, stack, formatByName('int4'));
      const { ratio, interval } = decode;
      yield {
        claim: `decoding ${stack.description} in int4 over the faster of f16 and f32`,
        ...{
          threshold: `at least ${LIMITS.overHalf}x`,
          measured: textOf({ ratio, interval }),
          pass: lowOf({ ratio, interval }) >= LIMITS.overHalf,
        },
      };
    }
    if (takes('f32')) {
      const { measureSquare } = await import('../suite/twins.ts');
      const { fraction, rate } = await measureSquare(gpu as never, 4096);
      yield {
        claim: 'f32 4096³, of the measured arithmetic rate',
        threshold: `at least ${LIMITS.ofArithmetic}`,
        measured: `${fraction.toFixed(2)} (${rate.toFixed(0)} Gop/s)`,
        pass: fraction >= LIMITS.ofArithmetic,
      };
    }
  },
};

interface Ratio {
  readonly ratio: number;
  readonly interval: readonly [number, number] | null;
}

/** What a floor holds for. */
const lowOf = ({ ratio, interval }: Ratio) => interval?.[0] ?? ratio;

const textOf = ({ ratio, interval }: Ratio) =>
  `${ratio.toFixed(2)}${interval ? ` (95%: ${interval.map((end) => end.toFixed(2)).join(' to ')})` : ''}`;
