import type { Bench } from './results-schema.ts';
import { benjaminiHochberg, mannWhitney, unpairedRatio } from './statistics.ts';

/** Of all changes that are called one, this share may be chance. */
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
  /** 95% bootstrap interval; null where a run has too few rounds. */
  readonly interval: readonly [number, number] | null;
  /** Of the Mann-Whitney test, adjusted over all figures. */
  readonly p: number;
  readonly verdict: 'slower' | 'faster' | 'same';
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

function samplesOf({ cases }: Bench) {
  const all = new Map<string, { suite: string; name: string; contestant: string; samples: readonly number[] }>();
  for (const { suite, name, contestants } of cases) {
    for (const { name: contestant, samples } of contestants) {
      all.set(nameOf(suite, name, contestant), { suite, name, contestant, samples });
    }
  }
  return all;
}

/**
 * Compares two runs figure by figure: one is slower or faster where the Mann-Whitney test says so, adjusted over all figures (Benjamini and Hochberg), and the median
 * moved by at least a twentieth.
 */
export function compareRuns(before: Bench, now: Bench): Comparison {
  const [old, fresh] = [samplesOf(before), samplesOf(now)];
  const both = [...fresh].flatMap(([key, one]) => {
    const earlier = old.get(key)?.samples;
    return earlier ? [{ ...one, earlier }] : [];
  });
  const p = benjaminiHochberg(both.map(({ samples, earlier }) => mannWhitney(samples, earlier)));
  const changes = both.map(({ suite, name, contestant, samples, earlier }, i): Change => {
    const { ratio, interval } = unpairedRatio(samples, earlier);
    const sure = p[i]! <= FALSE_DISCOVERIES;
    const verdict = !sure
      ? 'same'
      : ratio >= 1 + LEAST_CHANGE
        ? 'slower'
        : 1 / ratio >= 1 + LEAST_CHANGE
          ? 'faster'
          : 'same';
    return { suite, name, contestant, ratio, interval, p: p[i]!, verdict };
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
  const [a, b] = [before.device.description, now.device.description];
  if (a !== b) warnings.push(`The devices are not the same: "${a}" before, "${b}" now.`);
  if (before.environment !== now.environment) {
    warnings.push(`The environments are not the same: ${before.environment} before, ${now.environment} now.`);
  }
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
  for (const { verdict, suite, name, contestant, ratio, interval, p } of changed) {
    const range = interval ? `, 95%: ${interval.map(percent).join(' to ')}` : '';
    lines.push(`${verdict}: ${nameOf(suite, name, contestant)}: ${percent(ratio)} time${range}, p ${p.toPrecision(2)}`);
  }
  lines.push(`${changes.length - changed.length} of ${changes.length} figures are the same.`);
  const only = unpaired.before.length + unpaired.now.length;
  if (only > 0) lines.push(`${only} figures are in one run only.`);
  return lines.join('\n');
}
