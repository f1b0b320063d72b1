import { median } from '../../src/verify/statistics.ts';
import { OURS } from './names.ts';
import type { Bench } from './results-schema.ts';
import { benjaminiHochberg, mannWhitney, unpairedRatio } from './statistics.ts';

/** Of all changes of a suite that are called one, this share may be chance. */
const FALSE_DISCOVERIES = 0.05;
/** Smaller changes are no finding, however sure they are: two runs differ by where their buffers lie. */
const LEAST_CHANGE = 0.05;

/** A figure of two runs. */
export interface Change {
  readonly suite: string;
  readonly name: string;
  readonly contestant: string;
  /** Median seconds now divided by those before: above 1 is slower. */
  readonly ratio: number;
  /** 95% bootstrap interval; null where nothing changed, or a run has too few rounds. */
  readonly interval: readonly [number, number] | null;
  /** Of the Mann-Whitney test, adjusted over ours, or all others, of the suite. */
  readonly p: number;
  readonly verdict: 'slower' | 'faster' | 'same';
  /** Whether the clocks stood still over the case, in both runs. */
  readonly steady: boolean;
}

/** What changed between two runs. */
export interface Comparison {
  readonly changes: readonly Change[];
  /** Figures that only one of the runs has. */
  readonly unpaired: { readonly before: readonly string[]; readonly now: readonly string[] };
  /** What makes the comparison doubtful. */
  readonly warnings: readonly string[];
}

const nameOf = (suite: string, name: string, contestant: string) => `${suite} ${name}, ${contestant}`;

interface Figure {
  readonly suite: string;
  readonly name: string;
  readonly contestant: string;
  readonly samples: readonly number[];
  readonly steady: boolean;
}

function samplesOf({ cases }: Bench): Map<string, Figure> {
  const all = new Map<string, Figure>();
  for (const { suite, name, contestants, anchor } of cases) {
    for (const { name: contestant, samples } of contestants) {
      all.set(nameOf(suite, name, contestant), { suite, name, contestant, samples, steady: anchor.steady });
    }
  }
  return all;
}

/** Whether it is us who got slower: what a device, a peer or a baseline does is not ours to answer for. */
export const gotSlower = ({ changes }: Comparison): boolean =>
  changes.some(({ contestant, verdict }) => contestant === OURS && verdict === 'slower');

/**
 * Compares two runs figure by figure: one is slower or faster where the Mann-Whitney test says so, adjusted (Benjamini and Hochberg) over ours of the suite, or over all
 * others of it, and the median moved by at least a twentieth. So the figures of one suite or of peers don't hide what became of ours in another.
 */
export function compareRuns(before: Bench, now: Bench): Comparison {
  const [old, fresh] = [samplesOf(before), samplesOf(now)];
  const both = [...fresh].flatMap(([key, one]) => {
    const earlier = old.get(key);
    return earlier ? [{ ...one, earlier: earlier.samples, steady: one.steady && earlier.steady }] : [];
  });
  const familyOf = ({ suite, contestant }: Figure) => `${suite} ${contestant === OURS}`;
  const p = new Map<Figure, number>();
  for (const family of new Set(both.map(familyOf))) {
    const members = both.filter((one) => familyOf(one) === family);
    const adjusted = benjaminiHochberg(members.map(({ samples, earlier }) => mannWhitney(samples, earlier)));
    for (const [i, one] of members.entries()) p.set(one, adjusted[i]!);
  }
  const changes = both.map((one): Change => {
    const { suite, name, contestant, samples, earlier, steady } = one;
    const ratio = median(samples) / median(earlier);
    const moved = ratio >= 1 + LEAST_CHANGE ? 'slower' : 1 / ratio >= 1 + LEAST_CHANGE ? 'faster' : 'same';
    const verdict = p.get(one)! <= FALSE_DISCOVERIES ? moved : 'same';
    // Thousands of medians each.
    const interval = verdict === 'same' ? null : unpairedRatio(samples, earlier).interval;
    return { suite, name, contestant, ratio, interval, p: p.get(one)!, verdict, steady };
  });
  const missing = (from: typeof old, other: typeof old) => [...from.keys()].filter((key) => !other.has(key));
  return {
    changes,
    unpaired: { before: missing(old, fresh), now: missing(fresh, old) },
    warnings: warningsOf(before, now),
  };
}

function warningsOf(before: Bench, now: Bench): string[] {
  const warnings: string[] = [];
  const differ = (what: string, a: string | number | null, b: string | number | null) => {
    if (a !== b) warnings.push(`${what} not the same: ${a ?? 'not known'} before, ${b ?? 'not known'} now.`);
  };
  differ('The devices are', before.device.name, now.device.name);
  differ('The drivers are', before.device.driver, now.device.driver);
  differ('The environments are', before.environment, now.environment);
  differ('The versions of Dawn are', before.dawn, now.dawn);
  differ('The bytes that weights cycle through are', before.cycledBytes, now.cycledBytes);
  if (before.tune !== now.tune) {
    warnings.push(`Variants were not chosen in the same way: --tune ${before.tune} before, ${now.tune} now.`);
  }
  if (before.quick !== now.quick) warnings.push('One of the runs was quick, the other was not.');
  return warnings;
}

const percent = (ratio: number) => `${ratio >= 1 ? '+' : '−'}${Math.abs(100 * (ratio - 1)).toFixed(1)}%`;

/** The comparison as lines of text: what changed, worst first, and how many figures did not. */
export function comparisonText({ changes, unpaired, warnings }: Comparison): string {
  const lines = [...warnings];
  const changed = changes.filter(({ verdict }) => verdict !== 'same').sort((a, b) => b.ratio - a.ratio);
  for (const { verdict, suite, name, contestant, ratio, interval, p, steady } of changed) {
    const range = interval ? `, 95%: ${interval.map(percent).join(' to ')}` : '';
    const mark = steady ? '' : ' (the clock moved over this case)';
    lines.push(
      `${verdict}: ${nameOf(suite, name, contestant)}: ${percent(ratio)} time${range}, p ${p.toPrecision(2)}${mark}`,
    );
  }
  lines.push(`${changes.length - changed.length} of ${changes.length} figures are the same.`);
  const only = unpaired.before.length + unpaired.now.length;
  if (only > 0) lines.push(`${only} figures are in one run only.`);
  return lines.join('\n');
}
