import { describe, expect, test } from 'vitest';
import { ArgumentError } from '../../../src/errors.ts';
import { logSoftmax } from '../../../src/graph/reference/softmax.ts';
import { ReferenceRun } from '../../../src/graph/reference.ts';
import { checkTensors } from '../../../src/models/check-tensors.ts';
import { graphOf } from '../../../src/models/families.ts';
import { sampleJson, sampleTensors, sampleTokens } from './sample-model.ts';

const graph = graphOf(sampleJson('config.json'), 'config.json');
const tensors = sampleTensors();
const reference = sampleJson('REFERENCE.json');
const newRun = () => new ReferenceRun(graph, (name) => tensors.get(name)!.values);
const prompt: number[] = reference.prompt.tokens;

const largestDifference = (a: Float64Array, b: Float64Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
};

describe('the sample model in f64', () => {
  test('has every tensor that its graph asks for', () => {
    expect(() => checkTensors(graph, tensors)).not.toThrow();
    expect(graph.weights.map((weight) => weight.name).sort()).toEqual([...tensors.keys()].sort());
  });

  test('gives the logits of the independent implementation', () => {
    const logits = newRun().forward(prompt);
    expect(logits.length).toBe(prompt.length * 4096);
    const last = logits.subarray(-4096);
    const expected = reference.prompt['last position, f64'];
    const ranked = Array.from(last.keys()).sort((a, b) => last[b]! - last[a]!);
    expect(ranked.slice(0, 10)).toEqual(expected.top10.map(([id]: [number, number]) => id));
    for (const [id, logit] of expected.top10) expect(Math.abs(last[id]! - logit)).toBeLessThan(1e-4);
    expect(Math.abs(last.reduce((sum, x) => sum + x, 0) / 4096 - expected.mean)).toBeLessThan(1e-4);
    expect(Math.abs(Math.sqrt(last.reduce((sum, x) => sum + x * x, 0)) - expected.l2)).toBeLessThan(1e-4);
  });

  test('prefill and decode through the cache equal one prefill, and a position can be taken back', () => {
    const whole = newRun().forward(prompt);
    const run = newRun();
    const parts = [run.forward(prompt.slice(0, 7)), run.forward(prompt.slice(7, 8)), run.forward(prompt.slice(8, 12))];
    for (const token of prompt.slice(12)) parts.push(run.forward([token]));
    expect(run.position).toBe(prompt.length);
    const joined = new Float64Array(parts.flatMap((part) => [...part]));
    // The same sums in the same order.
    expect(largestDifference(joined, whole)).toBe(0);

    run.forward([1, 2, 3], { startPosition: 5 });
    const again = run.forward(prompt.slice(5), { startPosition: 5 });
    expect(largestDifference(again, whole.subarray(5 * 4096))).toBe(0);
    expect(() => run.forward([1], { startPosition: prompt.length + 1 })).toThrow(ArgumentError);
  });

  test('shows every value, in order, as wide as the graph says', () => {
    const seen: string[] = [];
    newRun().forward([0, 494, 1319], {
      onValue: (index, name, value) => {
        expect(name).toBe(graph.operations[index]!.out);
        expect(value.length).toBe(3 * graph.values[name]!);
        expect(value.every(Number.isFinite)).toBe(true);
        seen.push(name);
      },
    });
    expect(seen).toEqual(graph.operations.map((operation) => operation.out));
    expect(new Set(seen).size).toBe(seen.length);
  });

  test('predicts held-out text far better than chance', () => {
    // Two short windows: the published 35.2 is over sixteen of 256; chance is 4096.
    const tokens = sampleTokens('validation.tokens.u16');
    let loss = 0;
    for (const start of [0, 256]) {
      const window = tokens.slice(start, start + 48);
      const logits = newRun().forward(window);
      for (let i = 0; i + 1 < window.length; i++) {
        loss -= logSoftmax(logits.subarray(i * 4096, (i + 1) * 4096))[window[i + 1]!]!;
      }
    }
    expect(Math.exp(loss / (2 * 47))).toBeLessThan(120);
  });
});
