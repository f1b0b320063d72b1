import { expect, test } from 'vitest';
import { fuseGraph, unfused } from '../../../src/graph/fuse.ts';
import type { Graph, Operation } from '../../../src/graph/graph.ts';
import { withLowRank } from '../../../src/graph/low-rank.ts';
import { graphOf } from '../../../src/models/families.ts';
import { smallConfig } from '../../gpu/small-model.ts';

const all = { keep: new Set<string>(), gates: () => true };
const kinds = (graph: Graph, options: Parameters<typeof fuseGraph>[1] = all) =>
  fuseGraph(graph, options).map((one) => (one.kind === 'single' ? one.operation.op : one.kind));
const of = (family: string, more: object = {}) => graphOf(smallConfig(family, more), 'config.json');

const HEAD = ['rms-norm', 'linear'];
const LAYER = ['rms-norm', 'heads', 'added', 'rms-norm', 'gated', 'added'];

test('a layer of Llama, and of families with biases, norms of heads or no positions, is six groups', () => {
  for (const graph of [of('Llama'), of('Qwen2'), of('Qwen3'), of('SmolLM3', { no_rope_layers: [1, 0] })]) {
    expect(kinds(graph)).toEqual(['embedding', ...LAYER, ...LAYER, ...HEAD]);
  }
});

test('norms around the blocks of Gemma are added', () => {
  const layer = ['rms-norm', 'heads', 'linear', 'added', 'rms-norm', 'gated', 'linear', 'added'];
  expect(kinds(of('Gemma2'))).toEqual(['embedding', ...layer, ...layer, ...HEAD]);
});

test('every operation is in one group, and every value is made before it is read', () => {
  const graph = of('Llama');
  const made = new Set<string>();
  for (const { out, reads } of fuseGraph(graph, all)) {
    for (const name of reads) expect(made, `${out} reads ${name}`).toContain(name);
    made.add(out);
  }
  expect(made).toContain(graph.logits);
});

test('values that are kept are made, and memory that is kept is not added to', () => {
  const graph = of('Llama');
  const keep = (...names: string[]) => kinds(graph, { ...all, keep: new Set(names) }).slice(0, 12);
  expect(keep('layers.0.gate')).toEqual([
    'embedding',
    ...LAYER.slice(0, 4),
    'linear',
    'linear',
    'silu-mul',
    ...LAYER.slice(5),
    ...LAYER.slice(0, 3),
  ]);
  // The first layer's input is what its attention would be added to.
  expect(keep('embedding').slice(0, 5)).toEqual(['embedding', 'rms-norm', 'heads', 'linear', 'add']);
  expect(keep('layers.0.k-rotated')).toContain('rotary');
  expect(kinds(graph, { ...all, gates: () => false })).toContain('silu-mul');
});

/** A graph of what follows an embedding. */
const graphWith = (operations: Operation[]): Graph => ({
  operations: [{ op: 'embedding', weight: 'e', out: 'x' }, ...operations],
  weights: [],
  values: {},
  logits: operations.at(-1)!.out,
  layers: 0,
  vocabulary: 1,
  maxPositions: 1,
  layerRanges: [],
});

test('what others read is left alone', () => {
  const linear = (x: string, out: string): Operation => ({ op: 'linear', x, weight: out, out });
  const add = (a: string, b: string, out: string): Operation => ({ op: 'add', a, b, out });
  // The product is read twice.
  expect(kinds(graphWith([linear('x', 'y'), add('x', 'y', 'z'), add('z', 'y', 'w')]))).toEqual([
    'embedding',
    'linear',
    'add',
    'add',
  ]);
  // What it would be added to is read again.
  expect(kinds(graphWith([linear('x', 'y'), linear('y', 'z'), add('x', 'z', 'w'), add('w', 'x', 'v')]))).toEqual([
    ...['embedding', 'linear', 'linear', 'add', 'add'],
  ]);
  // It multiplies what it would be added to.
  expect(kinds(graphWith([linear('x', 'y'), add('x', 'y', 'z')]))).toEqual(['embedding', 'linear', 'add']);
  // A bound of the result comes before the addition.
  const capped: Operation = { op: 'linear', x: 'y', weight: 'w', softCap: 1, out: 'c' };
  expect(kinds(graphWith([linear('x', 'y'), capped, add('x', 'c', 'z')]))).toEqual([
    'embedding',
    'linear',
    'linear',
    'add',
  ]);
  const graph = graphWith([linear('x', 'y'), linear('y', 'z'), add('x', 'z', 'w')]);
  expect(kinds(graph)).toEqual(['embedding', 'linear', 'added']);
  expect(unfused(graph).map(({ kind }) => kind)).toEqual(Array(4).fill('single'));
});

test('the products of factored matrices are part of the groups that the matrices are in', () => {
  const graph = of('Llama');
  const factor = (base: boolean, pattern: RegExp) =>
    withLowRank(
      graph,
      new Map(graph.weights.flatMap(({ name }) => (pattern.test(name) ? [[name, { rank: 4, base }] as const] : []))),
    );
  const layers = ['embedding', ...LAYER, ...LAYER, ...HEAD];
  expect(kinds(factor(true, /_proj/))).toEqual(layers);
  expect(kinds(factor(false, /_proj/))).toEqual(layers);
  expect(kinds(factor(true, /[kv]_proj|up_proj/))).toEqual(layers);
  const gemma = kinds(
    withLowRank(of('Gemma2'), new Map([['model.layers.0.self_attn.o_proj.weight', { rank: 4, base: true }]])),
  );
  expect(gemma.slice(0, 5)).toEqual(['embedding', 'rms-norm', 'heads', 'product', 'added']);
  // A value that somebody wants to see is made by itself.
  const kept = kinds(factor(false, /o_proj/), { ...all, keep: new Set(['layers.0.o-inner']) });
  expect(kept.filter((kind) => kind === 'linear').length).toBeGreaterThan(1);
});
