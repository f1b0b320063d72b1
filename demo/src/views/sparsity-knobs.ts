import { parsePattern } from '../../../src/index.ts';

/** A pattern as controls hold it. */
export interface SparsityKnobs {
  kind: 'none' | 'n:m' | 'weights' | 'blocks' | 'columns' | 'rows';
  keep: number;
  of: number;
  shared: number;
  /** Percent that goes. */
  share: number;
  scope: 'layer' | 'row';
  high: number;
  wide: number;
}

const FIRST: SparsityKnobs = { kind: 'none', keep: 2, of: 4, shared: 1, share: 50, scope: 'layer', high: 16, wide: 16 };

/** The largest block that a pattern may name: what is longer is one by the engine's own bound. */
const MOST = 65536;

/** As recipes write it. */
export function patternText(
  { kind, keep, of, shared, share, scope, high, wide }: SparsityKnobs,
  rows: number,
  k: number,
): string {
  if (kind === 'none') return '';
  if (kind === 'n:m') return `${Math.min(keep, of - 1)}:${of}${shared > 1 ? `x${shared}` : ''}`;
  if (kind === 'weights') return `${share}%${scope === 'row' ? '@row' : ''}`;
  const [down, across] = { blocks: [high, wide], columns: [Math.min(rows, MOST), 1], rows: [1, Math.min(k, MOST)] }[
    kind
  ];
  return `block:${down}x${across}:${share}%`;
}

/** Controls for a pattern as a link has it. */
export function sparsityOf(text: string): SparsityKnobs {
  if (text === '') return { ...FIRST };
  try {
    const pattern = parsePattern(text);
    if (pattern.kind === 'n:m')
      return { ...FIRST, kind: 'n:m', keep: pattern.keep, of: pattern.of, shared: pattern.rows ?? 1 };
    const { rows, columns, remove, scope } = pattern;
    const share = 'fraction' in remove ? Math.round(100 * remove.fraction) : FIRST.share;
    if (rows === 1 && columns === 1)
      return { ...FIRST, kind: 'weights', share, scope: scope === 'row' ? 'row' : 'layer' };
    if (rows > 64 && columns === 1) return { ...FIRST, kind: 'columns', share };
    if (columns > 64 && rows === 1) return { ...FIRST, kind: 'rows', share };
    return { ...FIRST, kind: 'blocks', share, high: rows, wide: columns };
  } catch {
    return { ...FIRST };
  }
}
