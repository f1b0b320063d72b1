import { formatByName } from '../../../../src/formats/registry.ts';
import type { Scratch } from '../../../../src/gpu/scratch.ts';
import { type MaskPattern, maskWords } from '../../../../src/kernels/mask-pattern.ts';
import { selectMasks } from '../../../../src/kernels/reference/select-mask.ts';
import { maskRoom, SELECTION_BYTES, selectMaskSteps } from '../../../../src/kernels/select-mask.ts';
import { withBuffers } from '../../buffers.ts';
import { chainLength } from '../../chain.ts';
import type { Contestant } from '../../contestant.ts';
import { OURS } from '../../names.ts';
import { poison, recorded } from '../../recorded.ts';
import type { Case, OpenCase, SuiteContext } from '../../suite.ts';
import { checkedRows, pickRows, readRows } from './checked-rows.ts';
import { normalValues } from './normal-values.ts';

interface Selection {
  readonly name: string;
  readonly pattern: MaskPattern;
  readonly rows: number;
}

const K = 4096;
const ROWS = { quick: 512, full: 4096 } as const;
/** Rows that the reference sorts as well: at each place a multiple of all that share a pattern. */
const CHECKED = { each: 16, places: 4 } as const;
/** What is ranked as a whole the reference has to sort as a whole. */
const RANKED_ROWS = 256;

const ranked = (scope: 'row' | 'layer', side: number, fraction: number): MaskPattern => ({
  kind: 'ranked',
  rows: side,
  columns: side,
  scope,
  remove: { fraction },
});

/** Which weights of a matrix that is f32 on the device stay, by their size. */
export function pruneCases(quick: boolean): Case[] {
  const rows = quick ? ROWS.quick : ROWS.full;
  const selections: Selection[] = [
    { name: '2:4', pattern: { kind: 'n:m', keep: 2, of: 4 }, rows },
    { name: '50% of rows', pattern: ranked('row', 1, 0.5), rows },
    ...(quick
      ? []
      : [
          { name: '2:4 shared by 16 rows', pattern: { kind: 'n:m', keep: 2, of: 4, rows: 16 } as const, rows },
          { name: '50% of the matrix', pattern: ranked('layer', 1, 0.5), rows: RANKED_ROWS },
          { name: '75% of 32x32 blocks', pattern: ranked('layer', 32, 0.75), rows: RANKED_ROWS },
        ]),
  ];
  return selections.map((selection) => ({
    suite: 'passes',
    name: `select ${selection.name}, ${selection.rows}x${K}`,
    dimensions: { pass: 'prune', pattern: selection.name, rows: selection.rows, k: K },
    bytes: 4 * (selection.rows * K + maskWords(selection.rows, K)),
    items: { unit: 'weights', count: selection.rows * K },
    open: (context) => withBuffers(context.gpu, (buffers) => openSelection(context, buffers, selection)),
  }));
}

async function openSelection(context: SuiteContext, buffers: Scratch, { pattern, rows }: Selection): Promise<OpenCase> {
  const { gpu } = context;
  const values = normalValues(rows * K);
  const words = maskWords(rows, K);
  const mask = buffers.room(4 * words, 'mask');
  const bad = buffers.room(4, 'bad');
  gpu.clear(bad.buffer);
  const sizes = Object.entries(maskRoom(pattern, rows, K)).filter(([, bytes]) => bytes > 0);
  const selection = {
    selection: buffers.room(SELECTION_BYTES.selection, 'selection'),
    totals: buffers.room(SELECTION_BYTES.totals, 'totals'),
    counts: buffers.room(SELECTION_BYTES.counts, 'counts'),
  };
  const steps = selectMaskSteps({
    matrices: [
      {
        ...{ source: formatByName('f32'), from: buffers.upload(values, 'weights'), rows, k: K, bad, mask },
        room: Object.fromEntries(sizes.map(([name, bytes]) => [name, buffers.room(bytes, name)])),
      },
    ],
    pattern,
    room: selection,
  });
  const count = chainLength({ bytes: 4 * (rows * K + words) }, context);
  const checked = wholly(pattern) ? checkedRows(rows, rows, 1) : checkedRows(rows, CHECKED.each, CHECKED.places);
  const ours: Contestant = {
    name: OURS,
    note: `${count} times in one submit, from f32 on the device to a bit a weight`,
    prepare: () =>
      recorded(gpu, [Array.from({ length: count }, () => steps).flat()], {
        check: async () => {
          poison(gpu, [mask]);
          await gpu.scheduler.run(steps);
          return bitsOf(new Uint32Array(await readRows(gpu, mask.buffer, 4 * maskWords(1, K), checked)));
        },
        release: () => undefined,
      }),
  };
  return {
    work: { kind: 'own', count },
    contestants: [ours],
    // The same weights stay, to the last.
    reference: {
      error: (output) => {
        const weights = pickRows(values, K, checked);
        const expected = bitsOf(selectMasks([{ weights, rows: checked.count, k: K }], pattern)[0]!);
        return output.reduce((wrong, bit, i) => wrong + Number(bit !== expected[i]), 0) / output.length;
      },
      tolerance: 0,
    },
    release: () => buffers.release(),
  };
}

/** What is ranked as a whole can't be checked in part. */
const wholly = (pattern: MaskPattern): boolean => pattern.kind === 'ranked' && pattern.scope !== 'row';

const bitsOf = (words: Uint32Array): Float32Array =>
  Float32Array.from({ length: 32 * words.length }, (_, i) => (words[i >> 5]! >>> (i & 31)) & 1);
