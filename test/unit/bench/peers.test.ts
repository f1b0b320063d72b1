import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLlamaPeers } from '../../../bench/contestants/llama-contestants.ts';
import { onnxWork } from '../../../bench/contestants/onnx-work.ts';
import { onnxEncoder } from '../../../bench/peers/onnx-model.ts';
import { PEER_SCRIPTS } from '../../../bench/peers-page/scripts.ts';
import { installedPeers } from '../../../bench/peers-page/serve.ts';
import type { LinearWork } from '../../../bench/suite/contestant.ts';
import { formatByName } from '../../../src/formats/registry.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'compressa-peers-test-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('peers of a page that are not installed are named, with what to do', async () => {
  expect(installedPeers(join(folder, 'nowhere'))).toEqual({
    present: [],
    absent: [
      {
        name: 'onnxruntime-web',
        reason: 'not installed (onnxruntime-web/dist/ort.webgpu.min.js is missing): npm run peers',
      },
      {
        name: 'TensorFlow.js',
        reason: 'not installed (@tensorflow/tfjs-core/dist/tf-core.min.js is missing): npm run peers',
      },
    ],
  });
  for (const script of PEER_SCRIPTS['TensorFlow.js']) {
    await mkdir(dirname(join(folder, script)), { recursive: true });
    await writeFile(join(folder, script), '');
  }
  const { present, absent } = installedPeers(folder);
  expect(present).toEqual(['TensorFlow.js']);
  expect(absent.map(({ name }) => name)).toEqual(['onnxruntime-web']);
});

test('llama.cpp that is not installed, or that a quick run does not wait for, is named with the reason', () => {
  const { signal } = new AbortController();
  const missing = openLlamaPeers({ quick: false, software: true, signal }, 'not there: npm run peers');
  expect(missing.contestants).toEqual([]);
  expect(missing.absent).toEqual([{ name: 'llama.cpp', reason: 'not there: npm run peers' }]);

  const namesOf = (quick: boolean, software: boolean) => {
    // As where it is installed.
    const { contestants, absent } = openLlamaPeers({ quick, software, signal }, undefined);
    return [contestants, absent].map((list) => list.map(({ name }) => name));
  };
  expect(namesOf(true, true)).toEqual([['llama.cpp, CPU'], ['llama.cpp, Vulkan']]);
  expect(namesOf(true, false)).toEqual([['llama.cpp, Vulkan', 'llama.cpp, CPU'], []]);
  expect(namesOf(false, true)).toEqual([['llama.cpp, Vulkan', 'llama.cpp, CPU'], []]);
});

/** A work of 8 x 64 weights. */
function workOf(format: string, given: Partial<LinearWork> = {}): LinearWork {
  const [n, k] = [8, 64];
  const weights = Float32Array.from({ length: n * k }, (_, i) => Math.sin(i));
  return {
    ...{ kind: 'linear', format, n, k, batch: 2, count: 4, copies: 10, x: new Float32Array(2 * k) },
    weights: async () => weights,
    stored: async () => formatByName(format).reference.quantize(weights, n, k),
    ...given,
  };
}

test('ONNX Runtime cycles through as many weights as ours, and states what it reads', async () => {
  const four = (await onnxWork(workOf('q4_0'), 4, 'nothing else'))!;
  expect(four.sessions * four.weights.length).toBeGreaterThanOrEqual(10);
  expect(four.weights).toHaveLength(4);
  // Half a byte a weight, and four bytes of scale for 32; x and y in f32.
  expect(four.prepared.traffic).toEqual({
    bytes: 8 * 64 * (0.5 + 4 / 32) + 4 * 2 * (8 + 64),
    operations: 2 * 2 * 8 * 64,
    arithmetic: 'i8',
  });
  expect(four.prepared.note).toBe(
    'MatMulNBits at accuracy level 4: 4 products of one input in a run, over 12 copies of the weight in 3 sessions that take turns; nothing else; the same codes, with scales in f32, as its operator takes them beside inputs in f32, where ours are in f16: 5 bits a weight instead of 4.5',
  );
  expect(four.prepared.tolerance).toBeGreaterThan(0);

  const eight = (await onnxWork(workOf('q8_0', { copies: 3 }), 0, ''))!;
  expect(eight.prepared.traffic).toMatchObject({ bytes: 8 * 64 * (1 + 4 / 32) + 4 * 2 * (8 + 64), arithmetic: 'f32' });
  expect([eight.sessions, eight.weights.length, eight.prepared.tolerance]).toEqual([1, 3, undefined]);
  expect(eight.prepared.note).toContain('9 bits a weight instead of 8.5');

  // The reference rounds as ours does.
  const rounded = workOf('q4_0', { rounding: 'int8 inputs' });
  const unrounded = (await onnxWork(rounded, 0, ''))!.prepared;
  expect(unrounded.tolerance).toBeGreaterThan(0);
  expect(unrounded.note).toContain('inputs as they are, where ours are rounded to int8');
  expect((await onnxWork(rounded, 4, ''))!.prepared).toMatchObject({ tolerance: four.prepared.tolerance });

  const dense = (await onnxWork(workOf('f32'), 0, ''))!;
  expect(dense.prepared.traffic).toMatchObject({ bytes: 4 * 8 * 64 + 4 * 2 * (8 + 64) });
  expect(dense.prepared.note).not.toContain('codes');
  expect(await onnxWork(workOf('f32'), 4, '')).toBeUndefined();
  expect(await onnxWork(workOf('q4_k'), 0, '')).toBeUndefined();
});

test('no two products of a graph are of the same input and weight, which an optimizer would make one', async () => {
  const graphs: { graph: { node: { input: string[]; output: string[] }[] } }[] = [];
  const encoder = onnxEncoder({
    encode(model) {
      graphs.push(model as (typeof graphs)[number]);
      return { finish: () => new Uint8Array() };
    },
  });
  const { weights, products } = (await onnxWork(workOf('q4_0', { count: 8, copies: 3 }), 0, ''))!;
  const model = encoder.independent(weights, products);
  expect(model.inputs).toEqual(['x0', 'x1', 'x2']);
  expect(model.outputs).toEqual(['y0', 'y1', 'y2', 'y3', 'y4', 'y5', 'y6', 'y7']);
  const { node } = graphs[0]!.graph;
  expect(node).toHaveLength(8);
  expect(new Set(node.map(({ input }) => input.join())).size).toBe(8);

  const waiting = encoder.independent(weights, { ...products, done: true });
  expect(waiting.outputs).toEqual(model.outputs);
  expect(graphs[1]!.graph.node).toHaveLength(9);
});
