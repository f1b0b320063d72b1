import { expect, test } from 'vitest';
import { modelTraffic } from '../../../bench/suite/model-traffic.ts';
import { formatByName } from '../../../src/formats/registry.ts';
import { stackGraph } from '../../../src/models/stack.ts';

const sizes = { hidden: 64, ffn: 128, heads: 4, kvHeads: 2, headDim: 16, vocabulary: 256 };
const graph = stackGraph({ ...sizes, layers: 3 });
const formatOf = (linear: string) => (name: string) =>
  formatByName(name.includes('embed') ? 'f16' : name.includes('norm') ? 'f32' : linear);

/** Weights of a layer: queries and output, keys and values, gate, up and down. */
const LAYER = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 128;
const HEAD = 256 * 64;

test('a written token reads all matrices, the head that is the embedding too', () => {
  // q4_0: 18 bytes for 32 weights.
  expect(modelTraffic(graph, formatOf('q4_0'), { phase: 'decode', count: 32 })).toEqual({
    bytes: (3 * LAYER * 18) / 32 + 2 * HEAD,
    operations: 2 * (3 * LAYER + HEAD),
  });
});

test('a prompt reads them once, and its last token alone goes through the head', () => {
  const { bytes, operations, arithmetic } = modelTraffic(graph, formatOf('w8a8'), { phase: 'prefill', count: 128 });
  // int8 and one f32 a row.
  const rows = 3 * (2 * 64 + 2 * 32 + 2 * 128 + 64);
  expect(bytes).toBe((3 * LAYER + 4 * rows + 2 * HEAD) / 128);
  expect(operations).toBe(2 * (3 * LAYER + HEAD / 128));
  expect(arithmetic).toBe('i8');
});
