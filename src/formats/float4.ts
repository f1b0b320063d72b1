import mxfp4Shader from '../../shaders/formats/mxfp4.wgsl';
import nvfp4Shader from '../../shaders/formats/nvfp4.wgsl';
import { blockCodec, ggmlNibbles } from './block-codec.ts';
import { checkWeights } from './checks.ts';
import { levelsFrom, readNibble, writeNibble } from './codes.ts';
import type { Format, FormatArray } from './format.ts';
import { allocateArrays, takeArray } from './layout.ts';
import { checkOptions } from './methods.ts';
import { CLEARLY, type Gains, gainsOf, normalize, squaredError } from './scale-search.ts';

const f = Math.fround;

/** Twice the magnitudes of E2M1 (OCP Microscaling Formats 1.0, section 5.3.3), so that all are integers; bit 3 of a code is the sign. */
const MAGNITUDES = [0, 1, 2, 3, 4, 6, 8, 12];
/** Halfway between one magnitude and the next. A weight there takes the smaller one. */
const MIDPOINTS = [0.5, 1.5, 2.5, 3.5, 5, 7, 10];

/** The code whose value times `d` is nearest to `w`. Of d · midpoint no bit is lost: at most four times five. */
function nearestCode(w: number, d: number): number {
  const magnitude = d === 0 ? 0 : MIDPOINTS.filter((middle) => Math.abs(w) > middle * d).length;
  return magnitude | (w < 0 && magnitude > 0 ? 8 : 0);
}

const codeValue = (code: number): number => (code & 8 ? -MAGNITUDES[code & 7]! : MAGNITUDES[code]!);

interface Float4Type {
  readonly name: string;
  readonly shader: Format['shader'];
  /** Weights of ggml's block. */
  readonly block: number;
  /** Weights that share a scale. */
  readonly group: number;
  /** The stored scale, a byte, for the largest magnitude of a group. */
  scale(largest: number): number;
  /** Half the scale that a byte stands for, since magnitudes are doubled. */
  half(byte: number): number;
  /** What the search adds to the rule's scale in turn, and the scales that it may give. */
  readonly trials: readonly number[];
  readonly lowest: number;
  readonly highest: number;
}

function float4({ name, shader, block, group, scale, half, trials, lowest, highest }: Float4Type): Format {
  const codes: FormatArray = { name: 'codes', type: 'U8', elementsPerRow: (k) => k / 2 };
  const scales: FormatArray = { name: 'scales', type: 'U8', elementsPerRow: (k) => k / group };
  const arrays = [codes, scales];

  /** Of the scales around the one that the rule gives, and of this itself, the one whose nearest codes leave clearly the least error. */
  function leastError(weights: Float32Array, rule: number, gains: Gains | undefined): number {
    if (rule === 0) return 0;
    const { values, unit } = normalize(weights);
    let [least, best] = [Number.POSITIVE_INFINITY, rule];
    for (const moved of [0, ...trials]) {
      const byte = rule + moved;
      if (byte < lowest || byte > highest) continue;
      const d = f(half(byte) / unit);
      const error = squaredError(values, (i) => d * codeValue(nearestCode(values[i]!, d)), gains);
      if (error >= f(least * CLEARLY)) continue;
      [least, best] = [error, byte];
    }
    return best;
  }

  return {
    name,
    kind: 'block',
    block,
    arrays,
    shader,
    constants: {},
    searches: true,
    weighs: true,
    grid: { group, levels: levelsFrom(0, 16).map(codeValue) },
    reference: {
      quantize(weights, rows, k, options) {
        checkWeights(weights, rows, k);
        const { search, importance } = checkOptions({ name, searches: true, weighs: true }, k, options);
        const host = allocateArrays(arrays, rows, k);
        for (let at = 0; at < weights.length; at += group) {
          const values = weights.subarray(at, at + group);
          const rule = scale(values.reduce((max, w) => Math.max(max, Math.abs(w)), 0));
          const gains = gainsOf(importance?.subarray(at % k, (at % k) + group));
          const byte = search ? leastError(values, rule, gains) : rule;
          host.scales![at / group] = byte;
          // Of a mxfp4 block too, whose smallest exponent is not zero.
          const d = byte === 0 ? 0 : half(byte);
          for (const [i, w] of values.entries()) writeNibble(host.codes!, at + i, nearestCode(w, d));
        }
        return host;
      },
      dequantize(host, rows, k) {
        for (const array of arrays) takeArray(host, array, rows, k);
        return Float32Array.from(
          { length: rows * k },
          (_, i) => half(host.scales![Math.floor(i / group)]!) * codeValue(readNibble(host.codes!, i)),
        );
      },
    },
    codecs: {
      ggml: blockCodec(name, block, arrays, [{ array: scales }, { array: codes, order: ggmlNibbles(group) }]),
    },
  };
}

/**
 * Blocks with a largest magnitude below 2^-122 become zeros: their values would be subnormal, which devices may flush, and ggml's own
 * exponent wraps around there.
 */
const SMALLEST_EXPONENT = 5;

const exponentOf = (magnitude: number): number => new Uint32Array(Float32Array.of(magnitude).buffer)[0]! >>> 23;

/**
 * ggml's mxfp4 (`quantize_row_mxfp4_ref`), the MXFP4 of OCP Microscaling Formats 1.0: codes E2M1, scale 2^(e − 127) with
 * e = ⌊log2 max|w|⌋ − 2 + 127; the nearest code, of two the smaller magnitude.
 */
export const mxfp4 = float4({
  name: 'mxfp4',
  shader: mxfp4Shader,
  block: 32,
  group: 32,
  scale(largest) {
    const exponent = exponentOf(largest);
    return exponent < SMALLEST_EXPONENT ? 0 : exponent - 2;
  },
  half: (byte) => 2 ** (byte - 128),
  trials: [1, -1],
  lowest: SMALLEST_EXPONENT - 3,
  // Of the next, the largest value would be infinite.
  highest: 252,
});

/** Half the value of an unsigned E4M3 code. ggml reads the one that is NaN in E4M3 as zero. */
function halfE4M3(byte: number): number {
  if (byte === 0x7f) return 0;
  const [exponent, mantissa] = [(byte >> 3) & 15, byte & 7];
  return exponent === 0 ? mantissa * 2 ** -10 : (8 + mantissa) * 2 ** (exponent - 11);
}

/** To unsigned E4M3, halves up. Of the exponent of all ones ggml writes one code only, 448, for all that rounds to more than 240. */
function toE4M3(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
  const exponent = (bits >>> 23) - 120;
  if (exponent <= 0) return Math.min(7, Math.floor(x * 512 + 0.5));
  // A mantissa that rounds up to 8 carries into the exponent, as it should.
  const code = (exponent << 3) + ((bits >>> 20) & 7) + ((bits >>> 19) & 1);
  return code < 15 << 3 ? code : 0x7e;
}

/**
 * ggml's nvfp4 (`quantize_row_nvfp4_ref`): codes E2M1, sixteen weights share a scale in unsigned E4M3, max|w| / 6. The second scale of
 * NVIDIA's format, one for the tensor, is not part of it.
 */
export const nvfp4 = float4({
  name: 'nvfp4',
  shader: nvfp4Shader,
  block: 64,
  group: 16,
  scale: (largest) => toE4M3(Math.fround(largest / 6)),
  half: halfE4M3,
  trials: [-3, -2, -1, 1, 2, 3, 4, 5],
  lowest: 1,
  highest: 0x7e,
});
