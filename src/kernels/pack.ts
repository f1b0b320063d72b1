import toBytes from '../../shaders/pack/bytes.wgsl';
import toFives from '../../shaders/pack/fives.wgsl';
import toNibbles from '../../shaders/pack/nibbles.wgsl';
import toPairs from '../../shaders/pack/pairs.wgsl';
import toQ2K from '../../shaders/pack/q2_k.wgsl';
import toQ3K from '../../shaders/pack/q3_k.wgsl';
import toQ4K from '../../shaders/pack/q4_k.wgsl';
import toQ5K from '../../shaders/pack/q5_k.wgsl';
import toQ6K from '../../shaders/pack/q6_k.wgsl';
import toThrees from '../../shaders/pack/threes.wgsl';
import toTq10 from '../../shaders/pack/tq1_0.wgsl';
import toTq20 from '../../shaders/pack/tq2_0.wgsl';
import { ArgumentError, FormatError } from '../errors.ts';
import { checkRow } from '../formats/checks.ts';
import type { Format } from '../formats/format.ts';
import { type BufferView, packParams, read, readWrite, type Step } from '../gpu/kernel.ts';
import type { ShaderSource } from '../gpu/shader-source.ts';
import { bindArray, bindArrays, type DeviceArrays } from './bind-arrays.ts';
import { each } from './each.ts';

/** Kernels index weights with 32 bits. */
const MAX_WEIGHTS = 2 ** 32 - 1024;

/** How codes lie in the arrays of a format. */
interface Packer {
  readonly source: ShaderSource;
  /** Weights that one thread owns. */
  readonly weightsPerThread: number;
  readonly constants?: Readonly<Record<string, number>>;
  /** Arrays that hold codes. Default: `codes`. */
  readonly arrays?: readonly string[];
}

const BOTH = ['codes', 'high'];

const nibbles: Packer = { source: toNibbles, weightsPerThread: 8 };
const fives: Packer = { source: toFives, weightsPerThread: 32, arrays: BOTH };
const bytes: Packer = { source: toBytes, weightsPerThread: 4, constants: { SIGNED: 0 } };
const signedBytes: Packer = { source: toBytes, weightsPerThread: 4, constants: { SIGNED: 1 } };
const pairs: Packer = { source: toPairs, weightsPerThread: 16 };
const threes: Packer = { source: toThrees, weightsPerThread: 32 };
const superBlocks = (source: ShaderSource): Packer => ({ source, weightsPerThread: 256 });

const PACKERS: Readonly<Record<string, Packer>> = {
  q4_0: nibbles,
  q4_1: nibbles,
  q5_0: fives,
  q5_1: fives,
  q8_0: signedBytes,
  iq4_nl: nibbles,
  iq4_xs: nibbles,
  q2_k: superBlocks(toQ2K),
  q3_k: { ...superBlocks(toQ3K), arrays: BOTH },
  q4_k: superBlocks(toQ4K),
  q5_k: { ...superBlocks(toQ5K), arrays: BOTH },
  q6_k: { ...superBlocks(toQ6K), arrays: BOTH },
  tq1_0: superBlocks(toTq10),
  tq2_0: superBlocks(toTq20),
  mxfp4: nibbles,
  nvfp4: nibbles,
  nf4: nibbles,
  'nf4-f32': nibbles,
};

/** Integer groups are told by the bits of a code and by their zeros. */
function packerOf(format: Format): Packer {
  const known = PACKERS[format.name];
  if (known) return known;
  const { integer } = format;
  if (integer?.bits === 2) return pairs;
  if (integer?.bits === 3) return threes;
  if (integer?.bits === 4) return nibbles;
  if (integer) return integer.zero === 'middle' ? signedBytes : bytes;
  throw new FormatError(`Codes of ${format.name} cannot be packed by themselves: no kernel does it.`);
}

/** What packing codes reads and writes. */
export interface PackArguments {
  /** A format with a `grid`. */
  readonly format: Format;
  /** One byte for each weight, row-major [rows, k], padded to whole words: indices of `grid.levels`. */
  readonly codes: BufferView;
  /** All arrays of `format`; those that hold codes are written over, the others stay as they are. */
  readonly to: DeviceArrays;
  readonly rows: number;
  readonly k: number;
  /** Names the tensor in labels and errors. */
  readonly name?: string;
}

/**
 * Puts codes into the arrays of a format, under the scales that are there. What a byte that is no code leaves there is undefined.
 * @throws FormatError when the format has no grid or `k` is no multiple of the block, ArgumentError for shapes and buffers that do not fit.
 */
export function packStep(args: PackArguments): Step {
  const { format, codes, to, rows, k, name = 'weight' } = args;
  const label = `pack codes of ${name} in ${format.name}`;
  checkGrid(format, rows, k, name, label);
  const { source, weightsPerThread, constants, arrays: holding = ['codes'] } = packerOf(format);
  const count = rows * k;
  const arrays = bindArrays(label, format, to, rows, k, readWrite);
  const written = format.arrays.flatMap((array, i) => (holding.includes(array.name) ? [arrays[i]!] : []));
  return {
    label,
    ...each(count / weightsPerThread, { source, ...(constants && { constants }) }),
    bindings: [bindArray(label, 'codes', codes, Math.ceil(count / 4) * 4, read), ...written],
    params: packParams(count),
    bytes: count + written.reduce((sum, { size }) => sum + size!, 0),
  };
}

/** Throws unless `format` has a grid and rows of `k` weights consist of its blocks; returns the grid. */
export function checkGrid(format: Format, rows: number, k: number, name: string, label: string) {
  if (!format.grid) throw new FormatError(`${label}: weights of ${format.name} do not follow from codes.`);
  checkRow(format, k, name);
  const count = rows * k;
  if (!Number.isInteger(count) || count < 1 || count > MAX_WEIGHTS) {
    throw new ArgumentError(`${label}: ${rows} x ${k} weights; one step takes 1 to ${MAX_WEIGHTS}.`);
  }
  return format.grid;
}
