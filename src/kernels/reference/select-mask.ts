import { blocksOf, keptOf, type MaskPattern, maskWords } from '../mask-pattern.ts';

/** A matrix on the host. */
export interface HostMatrix {
  /** [rows, k], finite */
  readonly weights: Float32Array;
  readonly rows: number;
  readonly k: number;
  /** f32 [k], finite and not negative. */
  readonly factors?: Float32Array;
}

const SMALLEST_NORMAL = 2 ** -126;
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

/** What a weight is ranked by: |w| or, rounded to f32, |w| · factor, where nothing below 2^-126 counts. */
function keyOf({ weights, k, factors }: HostMatrix, at: number): number {
  const size = Math.abs(weights[at]!);
  if (!factors) return size;
  const factor = factors[at % k]!;
  const product = Math.fround(size * factor);
  if (size < SMALLEST_NORMAL || factor < SMALLEST_NORMAL || product < SMALLEST_NORMAL) return 0;
  return Math.min(product, LARGEST);
}

/** Indexes of the `keep` largest keys; of equal ones the first. */
function largest(keys: readonly number[], keep: number): number[] {
  const order = [...keys.keys()].sort((a, b) => keys[b]! - keys[a]! || a - b);
  return order.slice(0, keep);
}

/** The square of a key, of which nothing below 2^-126 counts. */
const squareOf = (key: number): number => (Math.fround(key * key) < SMALLEST_NORMAL ? 0 : key * key);

/** Scores of the blocks of a matrix, row by row: of single weights their keys, of larger blocks the sum of their squares. */
export function blockScores(matrix: HostMatrix, height: number, width: number): number[] {
  const { rows, k } = matrix;
  const blocks = blocksOf({ rows: height, columns: width }, rows, k);
  const scores = new Array<number>(blocks.rows * blocks.k).fill(0);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) {
      const key = keyOf(matrix, row * k + column);
      const block = Math.floor(row / height) * blocks.k + Math.floor(column / width);
      scores[block]! += height === 1 && width === 1 ? key : squareOf(key);
    }
  }
  return scores;
}

/** Which blocks of each matrix stay. */
function keptBlocks(matrices: readonly HostMatrix[], pattern: MaskPattern): Set<number>[] {
  const height = pattern.rows ?? 1;
  const width = pattern.kind === 'n:m' ? 1 : pattern.columns;
  const scores = matrices.map((matrix) => blockScores(matrix, height, width));
  if (pattern.kind === 'ranked' && pattern.scope === 'model') {
    const all = scores.flatMap((of, matrix) => of.map((score, block) => ({ score, matrix, block })));
    const kept = matrices.map(() => new Set<number>());
    const keep = keptOf(pattern.remove, all.length, 'reference');
    for (const i of largest(
      all.map(({ score }) => score),
      keep,
    )) {
      kept[all[i]!.matrix]!.add(all[i]!.block);
    }
    return kept;
  }
  return matrices.map((matrix, i) => {
    const across = blocksOf({ rows: height, columns: width }, matrix.rows, matrix.k).k;
    const of = scores[i]!;
    const length = pattern.kind === 'n:m' ? pattern.of : pattern.scope === 'row' ? across : of.length;
    const kept = new Set<number>();
    for (
      let row = 0;
      row < of.length;
      row += pattern.kind === 'ranked' && pattern.scope === 'layer' ? of.length : across
    ) {
      const end = pattern.kind === 'ranked' && pattern.scope === 'layer' ? of.length : row + across;
      for (let first = row; first < end; first += length) {
        const group = of.slice(first, Math.min(first + length, end));
        const keep = pattern.kind === 'n:m' ? pattern.keep : keptOf(pattern.remove, group.length, 'reference');
        for (const j of largest(group, keep)) kept.add(first + j);
      }
    }
    return kept;
  });
}

/** The masks of matrices, in the layout of `maskWords`: by sorting, in f64. */
export function selectMasks(matrices: readonly HostMatrix[], pattern: MaskPattern): Uint32Array[] {
  const height = pattern.rows ?? 1;
  const width = pattern.kind === 'n:m' ? 1 : pattern.columns;
  const kept = keptBlocks(matrices, pattern);
  return matrices.map(({ rows, k }, i) => {
    const mask = new Uint32Array(maskWords(rows, k));
    const across = Math.ceil(k / width);
    const words = Math.ceil(k / 32);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < k; column++) {
        const block = Math.floor(row / height) * across + Math.floor(column / width);
        if (kept[i]!.has(block)) mask[row * words + (column >> 5)]! |= 1 << (column & 31);
      }
    }
    return mask;
  });
}
