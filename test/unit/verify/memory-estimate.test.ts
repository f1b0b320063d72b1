import { expect, test } from 'vitest';
import { formatByName } from '../../../src/formats/registry.ts';
import { stackGraph } from '../../../src/models/stack.ts';
import { runBytes } from '../../../src/verify/run-bytes.ts';
import { STACK_1B, stackBytes } from '../../../src/verify/stack-speed.ts';

const graph = stackGraph({ hidden: 64, ffn: 256, layers: 3, heads: 1, kvHeads: 1, headDim: 64, vocabulary: 1024 });

test('caches grow with positions, activations with tokens, and logits of one token take one row', () => {
  const run = runBytes(graph, { tokens: 64 });
  expect(run.largest).toBe(64 * 1024 * 4);
  expect(runBytes(graph, { tokens: 64, positions: 128 })).toEqual({ ...run, caches: 2 * run.caches });
  // Keys and values of three layers, and the token ids.
  expect(run.caches).toBe(64 * (3 * 2 * 64 + 1) * 4);
  const last = runBytes(graph, { tokens: 64, lastOnly: true });
  expect(run.activations - last.activations).toBe(63 * 1024 * 4);
});

test('values that are kept share no memory', () => {
  const values = Object.values(graph.values).reduce((sum, width) => sum + width * 64 * 4, 0);
  const run = runBytes(graph, { tokens: 64 });
  const kept = runBytes(graph, { tokens: 64, keepValues: true });
  expect(kept.activations).toBeGreaterThanOrEqual(values);
  expect(run.activations).toBeLessThan(values / 2);
});

test('the layers of a 1B model are 122 million weights in three formats, and a tenth for blocks, embedding and activations', () => {
  const weights = 2 * 2048 * (2 * 2048 + 2 * 512 + 3 * 8192);
  const bytes = stackBytes(STACK_1B, formatByName('q4_0'));
  expect(bytes / (weights * (4 + 2 + 4.5 / 8))).toBeGreaterThan(1.05);
  expect(bytes / (weights * (4 + 2 + 4.5 / 8))).toBeLessThan(1.15);
});
