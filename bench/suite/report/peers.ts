// Ours beside its peers, as text.
import { OURS } from '../names.ts';
import type { Bench } from '../results-schema.ts';
import { ratioText, timeText } from '../tables.ts';

export const PEERS_TITLE = 'Ours over its peers';

/** Rows of a table over all cases and their peers, with the head first. */
export function peerRows({ cases }: Pick<Bench, 'cases'>): string[][] {
  const rows = cases.flatMap(({ suite, name, contestants, overPeers, anchor }) =>
    overPeers.map(({ peer, ...ratio }, i) => {
      const [ours, theirs] = [OURS, peer].map((who) => contestants.find((one) => one.name === who));
      return [
        i === 0 ? `${suite} ${name}${anchor.steady ? '' : ' *'}` : '',
        peer,
        timeText(ours!.seconds),
        theirs ? timeText(theirs.seconds) : '',
        ratioText(ratio),
      ];
    }),
  );
  return [['case', 'peer', 'ours', 'theirs', 'times as fast'], ...rows];
}
