import beginSelection from '../../shaders/prune/begin_selection.wgsl';
import chooseDigit from '../../shaders/prune/choose_digit.wgsl';
import countKeys from '../../shaders/prune/count_keys.wgsl';
import countKeysAny from '../../shaders/prune/count_keys_any.wgsl';
import foldCounts from '../../shaders/prune/fold_counts.wgsl';
import keepTies from '../../shaders/prune/keep_ties.wgsl';
import markKeys from '../../shaders/prune/mark_keys.wgsl';
import markKeysAny from '../../shaders/prune/mark_keys_any.wgsl';
import shareTies from '../../shaders/prune/share_ties.wgsl';
import { formatBytes } from '../formats/layout.ts';
import { type BufferView, grid1d, packParams, type Step } from '../gpu/kernel.ts';
import { each } from './each.ts';
import { reads, writes } from './exact.ts';
import { type Keys, keyBindings, keyKernel } from './keys.ts';
import { maskWords } from './mask-pattern.ts';

/** Digits of a key, from the first on: its 31 bits are gone through in three passes. */
export const DIGITS = [
  { shift: 20, bits: 11 },
  { shift: 10, bits: 10 },
  { shift: 0, bits: 10 },
] as const;
/** One of them. */
export type Digit = (typeof DIGITS)[number];

const BINS = 2048;
const TILE = 64;
const COUNTERS = 128;
/** Workgroups that count: each adds what it found to the counts of all, so there should not be too many. */
const MOST_COUNTERS = 2048;

/** Where a selection stands. All of it is written by `beginSelectionStep`. */
export interface SelectionRoom {
  /** 32 bytes. */
  readonly selection: BufferView;
  /** 16 KiB. */
  readonly totals: BufferView;
  /** 8 KiB. */
  readonly counts: BufferView;
}

/** Words of each buffer of a selection. */
export const SELECTION_WORDS = { selection: 8, totals: 2 * BINS, counts: BINS } as const;

/** Words that marking the keys of a matrix takes besides its mask. */
export const markWords = (rows: number, k: number): { readonly ties: number; readonly tiles: number } => ({
  ties: maskWords(rows, k),
  tiles: Math.ceil(maskWords(rows, k) / TILE),
});

const LABEL = 'select weights';

/** Begins a selection that keeps the `keep` largest keys of all matrices that are counted. */
export function beginSelectionStep(room: SelectionRoom, keep: number): Step {
  return {
    label: LABEL,
    ...each(BINS, { source: beginSelection }),
    bindings: [
      writes(LABEL, 'selection', room.selection, SELECTION_WORDS.selection),
      writes(LABEL, 'totals', room.totals, SELECTION_WORDS.totals),
      writes(LABEL, 'counts', room.counts, SELECTION_WORDS.counts),
    ],
    params: packParams(keep % 2 ** 32, Math.floor(keep / 2 ** 32)),
  };
}

/** Counts a digit of the keys of a matrix: reads the matrix once. */
export function countKeysSteps(keys: Keys, room: SelectionRoom, { shift, bits }: Digit): Step[] {
  const { rows, k } = keys;
  const words = maskWords(rows, k);
  const turns = Math.ceil(words / COUNTERS / MOST_COUNTERS);
  return [
    {
      label: `${LABEL}: count`,
      kernel: keyKernel(keys, countKeys, countKeysAny),
      ...keyBindings(LABEL, keys, [
        reads(LABEL, 'selection', room.selection, SELECTION_WORDS.selection),
        writes(LABEL, 'counts', room.counts, SELECTION_WORDS.counts),
      ]),
      params: packParams(rows, k, shift, bits, turns),
      grid: grid1d(Math.ceil(words / COUNTERS / turns)),
      bytes: formatBytes(keys.source, rows, k),
    },
    {
      label: `${LABEL}: fold`,
      ...each(BINS, { source: foldCounts }),
      bindings: [
        writes(LABEL, 'totals', room.totals, SELECTION_WORDS.totals),
        writes(LABEL, 'counts', room.counts, SELECTION_WORDS.counts),
      ],
    },
  ];
}

/** Takes a digit of the threshold from the counts of all matrices. */
export function chooseDigitStep(room: SelectionRoom, { shift }: Digit): Step {
  return {
    label: `${LABEL}: digit`,
    kernel: { source: chooseDigit },
    bindings: [
      writes(LABEL, 'selection', room.selection, SELECTION_WORDS.selection),
      writes(LABEL, 'totals', room.totals, SELECTION_WORDS.totals),
    ],
    params: packParams(shift),
    grid: [1, 1, 1],
  };
}

/**
 * Writes the mask of a matrix once all digits are chosen; reads the matrix once. Of keys that equal the threshold the first are kept, so matrices have to
 * follow each other in the same order every time.
 */
export function markKeysSteps(
  keys: Keys,
  { selection }: Pick<SelectionRoom, 'selection'>,
  mask: BufferView,
  room: { readonly ties: BufferView; readonly tiles: BufferView },
): Step[] {
  const { rows, k } = keys;
  const words = maskWords(rows, k);
  const { tiles } = markWords(rows, k);
  return [
    {
      label: `${LABEL}: mark`,
      kernel: keyKernel(keys, markKeys, markKeysAny),
      ...keyBindings(LABEL, keys, [
        reads(LABEL, 'selection', selection, SELECTION_WORDS.selection),
        writes(LABEL, 'mask', mask, words),
        writes(LABEL, 'ties', room.ties, words),
        writes(LABEL, 'tiles', room.tiles, tiles),
      ]),
      params: packParams(rows, k),
      grid: grid1d(tiles),
      bytes: formatBytes(keys.source, rows, k) + 8 * words,
    },
    {
      label: `${LABEL}: share ties`,
      kernel: { source: shareTies },
      bindings: [
        writes(LABEL, 'selection', selection, SELECTION_WORDS.selection),
        writes(LABEL, 'tiles', room.tiles, tiles),
      ],
      params: packParams(tiles),
      grid: [1, 1, 1],
    },
    {
      label: `${LABEL}: keep ties`,
      kernel: { source: keepTies },
      bindings: [
        reads(LABEL, 'ties', room.ties, words),
        reads(LABEL, 'tiles', room.tiles, tiles),
        writes(LABEL, 'mask', mask, words),
      ],
      params: packParams(words),
      grid: grid1d(tiles),
    },
  ];
}
