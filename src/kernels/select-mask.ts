import blockSums from '../../shaders/prune/block_sums.wgsl';
import columnSums from '../../shaders/prune/column_sums.wgsl';
import columnSumsAny from '../../shaders/prune/column_sums_any.wgsl';
import selectInRows from '../../shaders/prune/select_in_rows.wgsl';
import selectInRowsAny from '../../shaders/prune/select_in_rows_any.wgsl';
import selectWithin from '../../shaders/prune/select_within.wgsl';
import selectWithinAny from '../../shaders/prune/select_within_any.wgsl';
import spreadMask from '../../shaders/prune/spread_mask.wgsl';
import { ArgumentError } from '../errors.ts';
import { formatBytes } from '../formats/layout.ts';
import { formatByName } from '../formats/registry.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { checkSizes, reads, writes } from './exact.ts';
import { checkKeys, type Keys, keyBindings, keyKernel } from './keys.ts';
import { blocksOf, checkPattern, keptOf, type MaskPattern, maskWords } from './mask-pattern.ts';
import {
  beginSelectionStep,
  chooseDigitStep,
  countKeysSteps,
  DIGITS,
  markKeysSteps,
  markWords,
  SELECTION_WORDS,
  type SelectionRoom,
} from './rank-keys.ts';

const LABEL = 'select mask';

/** A matrix, where its mask goes, and room to find it in. */
export interface MaskedMatrix extends Keys {
  /** u32 [maskWords(rows, k)]: receives the mask, bits of weights that stay being set. */
  readonly mask: BufferView;
  /** Each of the bytes that `maskRoom` says; those of 0 bytes may be left out. */
  readonly room: Readonly<Partial<Record<keyof MaskRoomBytes, BufferView>>>;
}

/** Bytes of the buffers that finding a mask takes besides it. */
export interface MaskRoomBytes {
  /** Scores of columns over rows that share a pattern. */
  readonly columns: number;
  /** Scores of blocks. */
  readonly scores: number;
  /** The mask of blocks. */
  readonly blocks: number;
  readonly ties: number;
  readonly tiles: number;
}

const isRanked = (pattern: MaskPattern) => pattern.kind === 'ranked' && pattern.scope !== 'row';

/** Bytes that finding the mask of a matrix takes. @throws ArgumentError */
export function maskRoom(pattern: MaskPattern, rows: number, k: number): MaskRoomBytes {
  checkPattern(pattern);
  const [height, width] = blockSize(pattern);
  const blocks = blocksOf({ rows: height, columns: width }, rows, k);
  const single = height === 1 && width === 1;
  const { ties, tiles } = markWords(blocks.rows, blocks.k);
  return {
    columns: width === 1 ? 0 : 4 * blocks.rows * k,
    scores: single ? 0 : 4 * blocks.rows * blocks.k,
    blocks: single ? 0 : 4 * maskWords(blocks.rows, blocks.k),
    ties: isRanked(pattern) ? 4 * ties : 0,
    tiles: isRanked(pattern) ? 4 * tiles : 0,
  };
}

/** Bytes that a selection takes over layers or a model. */
export const SELECTION_BYTES = {
  selection: 4 * SELECTION_WORDS.selection,
  totals: 4 * SELECTION_WORDS.totals,
  counts: 4 * SELECTION_WORDS.counts,
} as const;

const blockSize = (pattern: MaskPattern): readonly [number, number] =>
  pattern.kind === 'n:m' ? [pattern.rows ?? 1, 1] : [pattern.rows, pattern.columns];

/**
 * Steps that choose which weights of dense matrices stay, without reading anything back. Scores are |w|, or |w| · factor of the column: with √H_jj that is Wanda's
 * (Sun et al. 2023), with 1/√[H⁻¹]_jj the square root of SparseGPT's and of optimal brain surgeon's (Frantar and Alistarh 2023), which ranks alike. Those of blocks,
 * and of columns over rows that share a pattern, are sums of their squares, in f32. Of equal scores the first stay, row by row and matrix by matrix, so counts are
 * exact and the same inputs give the same masks. Groups and blocks at the ends of rows and matrices may be shorter: they count as filled up with zeros that go first.
 * N:M is a sorting network in registers; per row, a radix select in workgroup memory reads each row five times from near; over layers and models, three passes
 * count digits and one marks.
 * @param args `room`: of the bytes in `SELECTION_BYTES`, where a scope is a layer or the model
 * @throws ArgumentError for patterns that make no sense or would leave nothing, and for buffers that do not fit
 */
export function selectMaskSteps(args: {
  /** In the order of ties; patterns of the scope `model` compare all of them. */
  readonly matrices: readonly MaskedMatrix[];
  readonly pattern: MaskPattern;
  readonly room?: SelectionRoom;
}): Step[] {
  const { matrices, pattern, room } = args;
  checkPattern(pattern);
  const prepared = matrices.map((matrix) => prepare(matrix, pattern));
  const before = prepared.flatMap(({ before }) => before);
  const after = prepared.flatMap(({ after }) => after);
  if (pattern.kind === 'n:m') return [...before, ...prepared.map((of) => withinStep(of, pattern)), ...after];
  const { scope, remove } = pattern;
  if (scope === 'row') {
    const steps = prepared.map((of) => inRowsStep(of, keptOf(remove, of.keys.k, `${LABEL}, a row`)));
    return [...before, ...steps, ...after];
  }
  if (!room) throw new ArgumentError(`${LABEL}: give "room" for a selection over a ${scope}.`);
  const sets = scope === 'model' ? [prepared] : prepared.map((of) => [of]);
  const steps = sets.flatMap((set) => {
    const blocks = set.reduce((sum, { keys: { rows, k } }) => sum + rows * k, 0);
    return [
      beginSelectionStep(room, keptOf(remove, blocks, LABEL)),
      ...DIGITS.flatMap((digit) => [
        ...set.flatMap(({ keys }) => countKeysSteps(keys, room, digit)),
        chooseDigitStep(room, digit),
      ]),
      ...set.flatMap((of) => markKeysSteps(of.keys, room, of.mask, tieRoom(of.matrix))),
    ];
  });
  return [...before, ...steps, ...after];
}

/** What is ranked of a matrix: its weights, or the scores of its blocks. */
export interface Prepared {
  readonly matrix: MaskedMatrix;
  readonly keys: Keys;
  /** The mask of what is ranked. */
  readonly mask: BufferView;
  readonly before: readonly Step[];
  readonly after: readonly Step[];
}

/** Scores of blocks, where there are any. @throws ArgumentError */
export function prepare(matrix: MaskedMatrix, pattern: MaskPattern): Prepared {
  checkKeys(LABEL, matrix);
  const { rows, k, source, from, mask, bad } = matrix;
  const [height, width] = blockSize(pattern);
  const words = maskWords(rows, k);
  writes(LABEL, 'mask', mask, words);
  if (height === 1 && width === 1) return { matrix, keys: matrix, mask, before: [], after: [] };
  const blocks = blocksOf({ rows: height, columns: width }, rows, k);
  const scores = roomOf(matrix, 'scores');
  const blockMask = roomOf(matrix, 'blocks');
  const columns = width === 1 ? scores : roomOf(matrix, 'columns');
  const before: Step[] = [
    {
      label: `${LABEL}: columns`,
      ...each(blocks.rows * Math.ceil(k / 4), keyKernel(matrix, columnSums, columnSumsAny)),
      ...keyBindings(LABEL, matrix, [writes(LABEL, 'columns', columns, blocks.rows * k)]),
      params: packParams(rows, k, height),
      bytes: formatBytes(source, rows, k) + 4 * blocks.rows * k,
    },
  ];
  if (width > 1) {
    before.push({
      label: `${LABEL}: blocks`,
      ...each(blocks.rows * blocks.k, { source: blockSums }),
      bindings: [
        reads(LABEL, 'columns', columns, blocks.rows * k),
        writes(LABEL, 'scores', scores, blocks.rows * blocks.k),
      ],
      params: packParams(blocks.rows, k, width),
      bytes: 4 * blocks.rows * (k + blocks.k),
    });
  }
  const after: Step[] = [
    {
      label: `${LABEL}: spread`,
      ...each(words, { source: spreadMask }),
      bindings: [
        reads(LABEL, 'blocks', blockMask, maskWords(blocks.rows, blocks.k)),
        writes(LABEL, 'mask', mask, words),
      ],
      params: packParams(rows, k, height, width),
      bytes: 4 * words,
    },
  ];
  const keys: Keys = {
    source: formatByName('f32'),
    from: { ...scores, size: 4 * blocks.rows * blocks.k },
    ...blocks,
    bad,
  };
  checkSizes(LABEL, { from: from.buffer.size });
  return { matrix, keys, mask: blockMask, before, after };
}

function roomOf({ room }: MaskedMatrix, name: keyof MaskRoomBytes): BufferView {
  const view = room[name];
  if (!view) throw new ArgumentError(`${LABEL}: the pattern needs room for "${name}" (maskRoom says how much).`);
  return view;
}

/** Room for the ties of a matrix. @throws ArgumentError */
export const tieRoom = (matrix: MaskedMatrix): { readonly ties: BufferView; readonly tiles: BufferView } => ({
  ties: roomOf(matrix, 'ties'),
  tiles: roomOf(matrix, 'tiles'),
});

function withinStep({ keys, mask }: Prepared, { keep, of }: { readonly keep: number; readonly of: number }): Step {
  const { rows, k, source } = keys;
  const words = maskWords(rows, k);
  const constants = { GROUP: of };
  // Groups that lie within words, and rows that loads of four fit into, take the short way.
  const kernel =
    32 % of === 0
      ? keyKernel(keys, selectWithin, selectWithinAny, constants)
      : keyKernel(keys, selectWithinAny, selectWithinAny, constants);
  return {
    label: `${LABEL}: ${keep}:${of}`,
    ...each(words, kernel),
    ...keyBindings(LABEL, keys, [writes(LABEL, 'mask', mask, words)]),
    params: packParams(rows, k, keep),
    bytes: formatBytes(source, rows, k) + 4 * words,
  };
}

function inRowsStep({ keys, mask }: Prepared, keep: number): Step {
  const { rows, k, source } = keys;
  return {
    label: `${LABEL}: rows`,
    kernel: keyKernel(keys, selectInRows, selectInRowsAny),
    ...keyBindings(LABEL, keys, [writes(LABEL, 'mask', mask, maskWords(rows, k))]),
    params: packParams(rows, k, keep),
    grid: grid1d(rows),
    bytes: formatBytes(source, rows, k) + 4 * maskWords(rows, k),
  };
}
