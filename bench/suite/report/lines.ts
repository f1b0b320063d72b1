// What a report says beside its figures, as lines of text.
import type { Bench } from '../results-schema.ts';

export const ABSENT_TITLE = 'Peers not in this run';

/** Who could not take part, and why. */
export const absentLines = ({ absentPeers }: Pick<Bench, 'absentPeers'>): string[] =>
  absentPeers.map(({ name, reason }) => `${name}: ${reason}`);

export const FAILURES_TITLE = 'No figure';

/** What failed or was wrong, and was not timed. */
export const failureLines = ({ failures }: Pick<Bench, 'failures'>): string[] =>
  failures.map(
    ({ suite, name, contestant, message }) =>
      `${suite} ${name}${contestant === null ? '' : `, ${contestant}`}: ${message}`,
  );

export const LEGEND_TITLE = 'How to read the tables';

/** What their columns mean. */
export const legendLines = ({ cases, tune }: Pick<Bench, 'cases' | 'tune'>): string[] => [
  'time: the median of one product, in turns with the others of its case.',
  'rate: of items, bytes or operations of one product, by that time; a multiply-add counts two.',
  'of roofline: the least time that the measured rates of memory or of arithmetic allow, divided by the time. 100% is as fast as a plain copy, or plain arithmetic; more means that a cache helped.',
  "speed-up: the time of the case's baseline, which its line names, divided by this one's, with a 95% interval in brackets: if that includes 1, there is no difference.",
  ...(tune === 'off' ? ['Variants of our kernels are the usual ones: --tune quick or full chooses by timing.'] : []),
  ...(cases.some(({ anchor }) => !anchor.steady) ? ["*: the device's clock moved over this case."] : []),
];
