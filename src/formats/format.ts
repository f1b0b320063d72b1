import type { ShaderSource } from '../gpu/shader-source.ts';
import type { BlockLayout } from './block-layout.ts';
import type { Float8Parameters } from './fp8.ts';
import type { IntegerParameters } from './integer-names.ts';
import type { SparseLayout, SparsePattern } from './packed-layout.ts';

/** Every element type of safetensors, by the name that it has there. */
export type ElementType =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ'
  | 'F8_E8M0'
  | 'F6_E2M3'
  | 'F6_E3M2'
  | 'F4'
  | 'C64'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL';

/** One array of a format's device layout. Rows follow each other without padding; the whole is padded to 4 bytes. */
export interface FormatArray {
  /** `data` for dense formats; `codes` first, then `scales`, `zeros`, `minima`, `high`, `nested` for block formats. */
  readonly name: string;
  readonly type: ElementType;
  /** Elements that one row of `k` weights takes in this array; a fraction where several rows share some. */
  readonly elementsPerRow: (k: number) => number;
  /**
   * Weights, counted over whole rows, to which the same elements belong: `elementsPerRow(span)`, also for fewer at the end. Rows that are cut
   * off have to start at a multiple (`rowMultiple`). Default: each row has its own.
   */
  readonly span?: number;
  /** Rows that follow each other to which the same elements belong. Rows that are cut off have to start at a multiple. Default: 1. */
  readonly band?: number;
  /** Of arrays that belong to no rows but to all of a matrix, which is not cut: how many sets of elements there are. */
  readonly sets?: number;
}

/** The arrays of one weight on the host, by name, each exactly as the device holds it. */
export type HostArrays = Record<string, Uint8Array>;

/** How one container stores this format. `decode(encode(x))` equals `x` byte for byte. */
export interface Codec {
  /** Bytes that one row of `k` weights takes in the container. */
  bytesPerRow(k: number): number;
  /** Rows in the container's own form. */
  encode(arrays: HostArrays, rows: number, k: number): Uint8Array;
  /** The same rows as the arrays of the format. */
  decode(bytes: Uint8Array, rows: number, k: number): HostArrays;
}

/** How a weight follows from its code: scale · level + offset. Methods that choose codes under given scales (GPTQ, say) work on it. */
export interface Grid {
  /** Weights of a row that share a scale and an offset; the format's shader gives both: `fn grid_of(at: u32) -> vec2<f32>`. */
  readonly group: number;
  /** The level that each code stands for. */
  readonly levels: readonly number[];
}

/**
 * How scales are chosen: by the rule that the format states, with the least squared error among trial scales, or by that rule with zero
 * points of half-quadratic quantization.
 */
export type QuantizeMethod = 'rtn' | 'search' | 'hqq';

/** How a matrix is quantized. `searches`, `weighs` and `hqqProblem` (methods.ts) say what a format offers. */
export interface QuantizeOptions {
  /** By default `rtn`. Formats that are `searched` search whatever it says. */
  readonly method?: QuantizeMethod;
  /** For `search`: the weight of each column's squared error, [k], none negative. What is below 2^-126 counts as zero; all zero is the same as none. */
  readonly importance?: Float32Array;
}

/** One way of storing weights: device layout, WGSL, CPU reference, codecs. */
export interface Format {
  /** As users write it: `q4_0`, `int4-g64-asym`, `f16`. */
  readonly name: string;
  readonly kind: 'dense' | 'block';
  /** Weights that share a scale (`groupOf`), unless `wholeRows`; 1 for dense formats. A row must be a multiple of it. */
  readonly block: number;
  readonly arrays: readonly FormatArray[];
  /** Declares bind group 1 in the order of `arrays` and the functions that generic kernels call. */
  readonly shader: ShaderSource;
  /** Values for the `override`s of `shader`, as far as they don't depend on the row (`shaderConstants`). */
  readonly constants: Readonly<Record<string, number>>;
  /** Those that do, for rows of `k` weights. */
  readonly constantsOf?: (k: number) => Readonly<Record<string, number>>;
  /** In plain loops: the definition that the GPU is held to, code by code and scale by scale. */
  readonly reference: {
    /** Weights as the arrays of the format. Throws `ArgumentError` where the format does not offer what `options` ask for. */
    quantize(weights: Float32Array, rows: number, k: number, options?: QuantizeOptions): HostArrays;
    /** The values that the arrays stand for. */
    dequantize(arrays: HostArrays, rows: number, k: number): Float32Array;
  };
  /**
   * Scales are searched for in floating point, where a device may round other than the reference: then a few blocks differ, none
   * with a clearly larger error. Without it codes and scales equal the reference bit for bit.
   */
  readonly searched?: true;
  /** The method `search` is offered beside `rtn`. */
  readonly searches?: true;
  /** The search takes an importance of columns. */
  readonly weighs?: true;
  /** A whole row shares its scale. */
  readonly wholeRows?: true;
  /** Most weights that a row may have. */
  readonly maxRow?: number;
  /** Products are of integers: what a weight is multiplied with becomes int8 too, by a scale that is measured for each token, or stored. */
  readonly activations?: 'dynamic' | 'static';
  /** Scales are quantized once more, all of a matrix together: the format before that, whose codes are the same. */
  readonly single?: Format;
  /** Block formats only. */
  readonly grid?: Grid;
  /** Integer groups only. */
  readonly integer?: IntegerParameters;
  /** FP8 only. */
  readonly float8?: Float8Parameters;
  /** Only some weights of each group are stored, in a format of their own (`packedFormat`). Its shader is that one's, and sees slots, not columns. */
  readonly packed?: {
    readonly pattern: SparsePattern;
    readonly values: Format;
    /** Sizes of such a matrix and its parts. */
    layout(rows: number, k: number): SparseLayout;
  };
  /** Only some blocks of a matrix [rows, k] are stored (`blocksFormat`), as the rows of a matrix [kept, slots]; the shader is that of the values. */
  readonly blocks?: {
    readonly values: Format;
    readonly layout: BlockLayout;
    readonly rows: number;
    readonly k: number;
    readonly kept: number;
  };
  readonly codecs: { readonly ggml?: Codec };
}

/** Whether only some weights are stored, which products of their own multiply with. */
export const isSparse = ({ packed, blocks }: Format): boolean => packed !== undefined || blocks !== undefined;

/** How the weights are stored that are: the format itself, unless only some are. */
export const valuesOf = (format: Format): Format => (format.packed ?? format.blocks)?.values ?? format;
