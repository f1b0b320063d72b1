import { KINDS, type Plot, WIDTH } from '../../../src/report/plot.ts';
import type { Bench, BenchCase } from '../results-schema.ts';
import { distinct, LEGEND_COLUMNS, MOST_BARS } from './plot-style.ts';
import { readableGroups } from './readable-groups.ts';

const TITLE = 'Ours over its peers';
const CAPTION =
  'Medians of the ratio of times that were taken in turns in the same round, with 95% intervals. What a time includes is below.';

/** How many times as fast as each peer ours is, case by case: in one plot, or of many cases a plot a suite and batch size. */
export function peerBars({ cases }: Bench): Plot[] {
  const beside = cases.filter(({ overPeers }) => overPeers.length > 0);
  if (beside.length <= MOST_BARS) return beside.length === 0 ? [] : [barsOf(beside, TITLE, CAPTION)];
  return distinct(beside.map(({ suite }) => suite)).flatMap((suite) =>
    readableGroups(beside.filter((one) => one.suite === suite)).map(({ chosen, of, left }) =>
      barsOf(chosen, `${TITLE}: ${suite}${of}`, CAPTION + left),
    ),
  );
}

function barsOf(cases: readonly BenchCase[], title: string, caption: string): Plot {
  const values = cases.flatMap(({ suite, name, overPeers }) =>
    overPeers.map(({ peer, ratio, interval }) => {
      const [low, high] = interval ?? [ratio, ratio];
      return { name: `${suite} ${name}`, peer, ratio, low, high };
    }),
  );
  const peers = distinct(values.map(({ peer }) => peer));
  const y = { field: 'name', type: 'nominal', sort: null, title: null, axis: { labelLimit: 280 } } as const;
  const yOffset = { field: 'peer', sort: peers } as const;
  const x = {
    field: 'ratio',
    type: 'quantitative',
    scale: { type: 'log', nice: true },
    title: "the peer's time over ours, logarithmic: right of 1 ours is faster",
    axis: { tickCount: 6, format: '~g' },
  } as const;
  return {
    title,
    caption,
    spec: {
      width: WIDTH,
      height: 16 * values.length + 16 * new Set(values.map(({ name }) => name)).size,
      data: { values },
      layer: [
        {
          mark: { type: 'bar', opacity: 0.85 },
          encoding: {
            ...{ y, yOffset, x },
            x2: { datum: 1 },
            color: {
              field: 'peer',
              type: 'nominal',
              sort: peers,
              title: null,
              legend: { columns: LEGEND_COLUMNS, labelLimit: 240 },
              scale: { domain: peers, range: KINDS.slice(1) },
            },
          },
        },
        {
          mark: { type: 'rule', strokeWidth: 2, color: 'currentColor', opacity: 0.7 },
          encoding: { y, yOffset, x: { field: 'low', type: 'quantitative' }, x2: { field: 'high' } },
        },
        { mark: { type: 'rule', strokeDash: [4, 4], color: 'currentColor' }, encoding: { x: { datum: 1 } } },
      ],
    },
  };
}
