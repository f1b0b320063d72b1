import type { BenchCase } from '../results-schema.ts';
import { distinct, MOST_BARS } from './plot-style.ts';

/** Cases for one plot. */
export interface ReadableGroup {
  readonly chosen: readonly BenchCase[];
  /** For the title, where there are other groups. */
  readonly of: string;
  /** For the caption, where there are more cases than are drawn. */
  readonly left: string;
}

/** Cases of a suite as plots that can be read: all in one, or of many a plot a batch size, and of many of those some. */
export function readableGroups(cases: readonly BenchCase[]): ReadableGroup[] {
  if (cases.length === 0) return [];
  if (cases.length <= MOST_BARS) return [{ chosen: cases, of: '', left: '' }];
  const batchOf = ({ dimensions }: BenchCase) => String(dimensions.batch ?? '');
  return distinct(cases.map(batchOf)).map((batch) => {
    const some = cases.filter((one) => batchOf(one) === batch);
    const chosen = chosenOf(some);
    return {
      chosen,
      of: batch === '' ? '' : `, batch ${batch}`,
      left: some.length === chosen.length ? '' : ` ${chosen.length} of ${some.length}; the table has all.`,
    };
  });
}

/** At most `MOST_BARS` cases, or one of each shape where those are more: shapes take turns, and no two begin with the same format. */
function chosenOf(cases: readonly BenchCase[]): BenchCase[] {
  const groups = new Map<string, BenchCase[]>();
  for (const one of cases) {
    const { format: _, ...rest } = one.dimensions;
    const key = JSON.stringify(rest);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const chosen = new Set<BenchCase>();
  const lists = [...groups.values()];
  for (let turn = 0; turn < Math.max(...lists.map(({ length }) => length)); turn++) {
    for (const [i, list] of lists.entries()) {
      if (turn > 0 && chosen.size >= MOST_BARS) break;
      if (turn < list.length) chosen.add(list[(turn + i) % list.length]!);
    }
  }
  return cases.filter((one) => chosen.has(one));
}
