import type { Suite } from './suite.ts';
import { attentionSuite } from './suites/attention.ts';
import { linearSuite } from './suites/linear.ts';
import { modelSuite } from './suites/model.ts';
import { passesSuite } from './suites/passes.ts';
import { rooflineSuite } from './suites/roofline.ts';

/** All there are, in the order of a run: one line a suite. `roofline` comes first. */
export const SUITES: readonly Suite[] = [rooflineSuite, linearSuite, attentionSuite, passesSuite, modelSuite];
