import fillColumns from '../../shaders/algebra/fill_columns.wgsl';
import panelApply from '../../shaders/algebra/panel_apply.wgsl';
import panelQr from '../../shaders/algebra/panel_qr.wgsl';
import { type BufferView, packParams, type Step } from '../gpu/kernel.ts';
import { reads, writes } from './exact.ts';

/** Columns of a panel, and rows that a workgroup factors. */
export const PANEL = 16;
const ROWS = 64;

/** Rows of each level of the tree, from the panel's own. */
function levelsOf(rows: number): number[] {
  const levels = [rows];
  while (levels.at(-1)! > ROWS) levels.push(PANEL * Math.ceil(levels.at(-1)! / ROWS));
  return levels;
}

/** Bytes of the buffers that the tree takes, one for each level above the panel, and one for what the top leaves. */
export const panelRooms = (rows: number): number[] =>
  [...levelsOf(rows).slice(1), PANEL].map((level) => 4 * PANEL * level);

/**
 * The orthonormal factor of a panel f32 [rows, PANEL], in place, by a tree of Householder reflections (tall-skinny QR): orthonormal to a few units in the last
 * place whatever the panel holds, also where columns depend on each other.
 * @param columns that are there; the others stay as they are
 * @param rooms of `panelRooms`
 */
export function panelQrSteps(
  panel: BufferView,
  rows: number,
  columns: number,
  rooms: readonly BufferView[],
  label: string,
): Step[] {
  const levels = levelsOf(rows);
  const views = [panel, ...rooms];
  const params = (level: number) => packParams(levels[level]!, level === 0 ? columns : PANEL, 0, PANEL);
  const groups = (level: number) => Math.ceil(levels[level]! / ROWS);
  const up = levels.map(
    (high, level): Step => ({
      label: `${label}: panel`,
      kernel: { source: panelQr },
      bindings: [
        writes(label, 'panel', views[level]!, PANEL * high),
        writes(label, 'rooms', views[level + 1]!, PANEL * PANEL * groups(level)),
      ],
      params: params(level),
      grid: [groups(level), 1, 1],
    }),
  );
  const down = levels.slice(0, -1).map(
    (high, level): Step => ({
      label: `${label}: panel`,
      kernel: { source: panelApply },
      bindings: [
        reads(label, 'rooms', views[level + 1]!, PANEL * PANEL * groups(level)),
        writes(label, 'panel', views[level]!, PANEL * high),
      ],
      params: params(level),
      grid: [groups(level), 1, 1],
    }),
  );
  return [...up, ...down.reverse()];
}

/** What is known of a panel's columns. */
export interface PanelColumns {
  /** f32 [PANEL] */
  readonly norms: BufferView;
  /** In which `panelQrSteps` left R. */
  readonly rooms: readonly BufferView[];
  /** f32 [rows, PANEL]: the panel as it was before that. */
  readonly before: BufferView;
}

/**
 * Keeps the norms of a panel's columns or, with `fill`, after it was factored, brings back what it was before, with random numbers in place of each column of which that left less
 * than `least` times the norm that was kept: what depends on the columns before it, in the panel and out of it.
 */
export function panelColumnsStep(
  panel: BufferView,
  rows: number,
  columns: number,
  { norms, rooms, before }: PanelColumns,
  fill: { readonly least: number; readonly seed: number } | undefined,
  label: string,
): Step {
  return {
    label: `${label}: columns`,
    kernel: { source: fillColumns, constants: { RECORD: Number(fill === undefined) } },
    bindings: [
      writes(label, 'panel', panel, PANEL * rows),
      writes(label, 'norms', norms, columns),
      reads(label, 'R', rooms[levelsOf(rows).length - 1]!, PANEL * PANEL),
      reads(label, 'before', before, PANEL * rows),
    ],
    params: packParams(rows, 0, PANEL, fill?.seed ?? 0, { f32: fill?.least ?? 0 }),
    grid: [columns, 1, 1],
  };
}
