import type { Measurement } from './claim.ts';

/** What a page said on its console while it was measured: nothing, as it should be. */
export const consoleWords = (said: readonly string[]): Measurement => ({
  claim: 'errors and warnings on the console meanwhile',
  threshold: 'none',
  measured: said.length === 0 ? 'none' : said.join('; ').slice(0, 300),
  pass: said.length === 0,
});
