import type { ElementType, Format, HostArrays } from '../../formats/format.ts';
import type { IntegerParameters } from '../../formats/integer-names.ts';
import type { TensorSpec } from '../safetensors-write.ts';
import type { JsonObject } from '../strict-json.ts';

/** A format of integer groups. */
export type IntegerFormat = Format & { readonly integer: IntegerParameters };

/** A matrix that a container is to hold. */
export interface ContainedMatrix<F extends Format = Format> {
  /** Its name in the checkpoint: a module's, and `.weight`. */
  readonly name: string;
  readonly format: F;
  /** Of its elements before it was quantized. */
  readonly type: ElementType;
  readonly rows: number;
  readonly k: number;
}

/** Another stack's way of storing quantized matrices in a folder of Hugging Face: in safetensors files, described in config.json. */
export interface Container {
  readonly name: 'bitsandbytes' | 'compressed-tensors' | 'mlx';
  /** Whether an embedding may be quantized. */
  readonly embeddings: boolean;
  /** Whether a head may be. */
  readonly heads: boolean;
  /** A format that it holds. */
  readonly suggestion: string;
  /** Of the files. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Why a format can't be held; undefined where it can. */
  problem(format: Format): string | undefined;
  /** The tensors of a matrix, in the order in which they are written: that with the codes first. Here and below formats are such as have no problem. */
  tensors(matrix: ContainedMatrix): TensorSpec[];
  /** The first tensor's bytes for some rows. */
  codes(format: Format, codes: Uint8Array, rows: number, k: number): Uint8Array;
  /**
   * The bytes of the others, from all arrays of the format but the codes, of the whole matrix.
   * @throws FormatError for values that the container can't hold
   */
  rest(matrix: ContainedMatrix, arrays: HostArrays): Uint8Array[];
  /** What config.json says of it, given the modules of linear matrices that are not quantized. */
  config(matrices: readonly ContainedMatrix[], kept: readonly string[]): JsonObject;
}

/** A matrix of integer groups. */
export type IntegerMatrix = ContainedMatrix<IntegerFormat>;

/** For containers of those: what may be wrong with one, where a format is one. */
export const integerProblem = ({ integer }: Format, problem: (own: IntegerParameters) => string | undefined) =>
  integer ? problem(integer) : 'it holds integer groups (int…) only';

/** The module that a matrix belongs to. */
export const moduleOf = (name: string): string => name.replace(/\.weight$/, '');

/** Matrices by the scheme that they share, the most frequent first. */
export function bySchemes<T extends ContainedMatrix>(matrices: readonly T[], keyOf: (matrix: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const matrix of matrices) {
    const key = keyOf(matrix);
    groups.set(key, [...(groups.get(key) ?? []), matrix]);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length);
}
