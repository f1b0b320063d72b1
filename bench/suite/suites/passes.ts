import type { Suite } from '../suite.ts';
import { factorizeCases } from './passes/factorize.ts';
import { pruneCases } from './passes/prune.ts';
import { quantizeCases } from './passes/quantize.ts';

/** What compressing a matrix takes on the device. */
export const passesSuite: Suite = {
  name: 'passes',
  title: 'Passes over weights',
  cases: ({ quick }) => [...quantizeCases(quick), ...pruneCases(quick), ...factorizeCases(quick)],
};
