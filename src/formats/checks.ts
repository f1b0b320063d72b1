import { ArgumentError, FormatError, NonFiniteError } from '../errors.ts';
import type { Format } from './format.ts';
import { INTEGER_GROUPS } from './integer-names.ts';

/** Block sizes worth naming when the one wanted does not fit. */
const BLOCK_SIZES = INTEGER_GROUPS.filter((group) => group !== 'row');

/** Throws `FormatError` unless rows of `k` weights consist of whole blocks of `format`, and are none too long for it. */
export function checkRow(format: Pick<Format, 'name' | 'block' | 'maxRow'>, k: number, tensorName: string): void {
  if (format.maxRow !== undefined && k > format.maxRow) {
    throw new FormatError(
      `Tensor "${tensorName}" cannot be stored as ${format.name}: its rows have ${k} weights, and sums of integers are exact up to ${format.maxRow}. Choose another format (q8_0, say).`,
    );
  }
  if (k % format.block === 0) return;
  const fitting = BLOCK_SIZES.filter((size) => k % size === 0);
  const advice =
    fitting.length > 0
      ? `Block sizes that divide it: ${fitting.join(', ')}. Choose such a format (${withGroup(format, fitting.at(-1)!)}, say), or keep this tensor dense (f16).`
      : `No block size (${BLOCK_SIZES.join(', ')}) divides it: keep this tensor dense (f16).`;
  throw new FormatError(
    `Tensor "${tensorName}" cannot be stored as ${format.name}: its rows have ${k} weights, which is no multiple of the block size ${format.block}. ${advice}`,
  );
}

/** The name of a format with groups of this size: one like `format`, where that has groups. */
function withGroup({ name }: Pick<Format, 'name'>, group: number): string {
  return /-g\d+/.test(name) ? name.replace(/-g\d+/, `-g${group}`) : `int4-g${group}`;
}

/** Throws unless `weights` holds `rows` rows of `k` finite values. */
export function checkWeights(weights: Float32Array, rows: number, k: number): void {
  if (weights.length !== rows * k) {
    throw new ArgumentError(`Expected ${rows} x ${k} = ${rows * k} weights, got ${weights.length}.`);
  }
  const bad = weights.findIndex((w) => !Number.isFinite(w));
  if (bad >= 0) throw nonFinite(bad, k, `is ${weights[bad]}`);
}

/** The error for a weight that no format can hold, at `index` of a matrix with `k` columns. */
export function nonFinite(index: number, k: number, what = 'is NaN or infinite', tensorName?: string): NonFiniteError {
  const where = `row ${Math.floor(index / k)}, column ${index % k}`;
  const tensor = tensorName === undefined ? '' : ` of tensor "${tensorName}"`;
  return new NonFiniteError(
    `The weight at ${where}${tensor} ${what}; only finite weights can be compressed. Repair the checkpoint, or leave the tensor out.`,
  );
}

/** Throws unless a container's bytes have exactly the length that the codec reads. */
export function checkBytes(bytes: Uint8Array, wanted: number, what: string): void {
  if (bytes.length === wanted) return;
  throw new FormatError(`${what}: expected ${wanted} bytes, got ${bytes.length}.`);
}
