import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLlamaPeers } from '../../../bench/contestants/llama-contestants.ts';
import { elsewhere } from '../../../bench/contestants/node-peers.ts';
import { onnxWork } from '../../../bench/contestants/onnx-work.ts';
import { openFastestLlama, threadCounts } from '../../../bench/peers/fastest-llama.ts';
import { llamaDeviceOf } from '../../../bench/peers/llama-devices.ts';
import type { LlamaStart, LlamaTimer } from '../../../bench/peers/llama-timer.ts';
import { onnxEncoder } from '../../../bench/peers/onnx-model.ts';
import { sameDevice } from '../../../bench/peers/same-device.ts';
import { PEER_SCRIPTS } from '../../../bench/peers-page/scripts.ts';
import { installedPeers } from '../../../bench/peers-page/serve.ts';
import type { LinearWork, ModelWork } from '../../../bench/suite/contestant.ts';
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
  const on = { device: 'a-gpu', signal };
  const missing = openLlamaPeers({ ...on, quick: false, software: true }, 'not there: npm run peers');
  expect(missing.contestants).toEqual([]);
  expect(missing.absent).toEqual([{ name: 'llama.cpp', reason: 'not there: npm run peers' }]);

  const namesOf = (quick: boolean, software: boolean) => {
    // As where it is installed.
    const { contestants, absent } = openLlamaPeers({ ...on, quick, software }, undefined);
    return [contestants, absent].map((list) => list.map(({ name }) => name));
  };
  expect(namesOf(true, true)).toEqual([['llama.cpp, CPU'], ['llama.cpp, Vulkan']]);
  expect(namesOf(true, false)).toEqual([['llama.cpp, Vulkan', 'llama.cpp, CPU'], []]);
  expect(namesOf(false, true)).toEqual([['llama.cpp, Vulkan', 'llama.cpp, CPU'], []]);
});

test('GPUs are told apart by their names, as Vulkan has them or Dawn writes them', () => {
  expect(sameDevice('llvmpipe (LLVM 15.0.6, 256 bits)', 'llvmpipe-llvm-15-0-6-256-bits-')).toBe(true);
  expect(sameDevice('NVIDIA H200', 'nvidia-h200')).toBe(true);
  expect(sameDevice('NVIDIA H200', 'llvmpipe-llvm-15-0-6-256-bits-')).toBe(false);
  expect(sameDevice('NVIDIA H200', 'nvidia-h20')).toBe(false);
  expect(sameDevice('', '')).toBe(false);
  expect(elsewhere('nvidia-h200', 'nvidia-h200')).toBeUndefined();
  expect(elsewhere('llvmpipe-llvm-15', 'nvidia-h200')).toBe(
    'it computes on nvidia-h200, whichever is asked for; ours is measured on llvmpipe-llvm-15',
  );
});

test('llama.cpp gets the device that ours is measured on, among all that it has', async () => {
  const names = ['NVIDIA H200', 'llvmpipe (LLVM 15.0.6, 256 bits)'];
  const of = (name: string, list = names) => llamaDeviceOf(name, async (index) => list[index]);
  expect(await of('nvidia-h200')).toBe(0);
  expect(await of('llvmpipe-llvm-15-0-6-256-bits-')).toBe(1);
  expect(await of('amd-radeon')).toBe(
    'it finds no device named amd-radeon, which ours is measured on, only NVIDIA H200, llvmpipe (LLVM 15.0.6, 256 bits)',
  );
  expect(await of('nvidia-h200', [])).toMatch(/finds no Vulkan device: install a driver/);
});

test('a Vulkan build that has not the run’s device is absent once a case asks it, and is looked for once', async () => {
  const work: ModelWork = {
    ...{ kind: 'model', model: 'm', format: 'q4_0', phase: 'decode', count: 1, prompt: Uint32Array.of(1) },
    gguf: () => Promise.reject(new Error('nobody reads it')),
  };
  const asked: string[] = [];
  const { signal } = new AbortController();
  const llama = openLlamaPeers(
    { device: 'llvmpipe', quick: false, software: true, signal },
    undefined,
    async (name) => {
      asked.push(name);
      return 'only a GPU';
    },
  );
  const vulkan = llama.contestants.find(({ name }) => name === 'llama.cpp, Vulkan')!;
  expect(llama.absent).toEqual([]);
  expect(await vulkan.prepare({ kind: 'own', count: 1 })).toBeUndefined();
  expect(asked).toEqual([]);
  for (let i = 0; i < 2; i++) expect(await vulkan.prepare(work)).toBeUndefined();
  expect(asked).toEqual(['llvmpipe']);
  expect(llama.absent).toEqual([{ name: 'llama.cpp, Vulkan', reason: 'only a GPU' }]);
});

/** llama.cpp in no process: what it takes by its threads, and whether it is closed. */
function timers(decode: (threads: number) => number) {
  const open = new Set<number>();
  const opening = async ({ threads }: LlamaStart): Promise<LlamaTimer> => {
    open.add(threads);
    return {
      device: 'CPU',
      time: async () => ({ prefill: 1, decode: decode(threads), chosen: [] }),
      logProbabilities: async () => [],
      close: () => void open.delete(threads),
    };
  };
  return { open, opening };
}
const START = { path: 'x', contextSize: 8, device: 'cpu' } as const;

test('llama.cpp gets its best number of threads, and nothing else stays open', async () => {
  expect(threadCounts('cpu', 12)).toEqual([1, 2, 4, 8, 12]);
  expect(threadCounts('cpu', 16)).toEqual([1, 2, 4, 8, 16]);
  expect(threadCounts(0, 16)).toEqual([1]);
  const { open, opening } = timers((threads) => 1 + Math.abs(threads - 1));
  const found = await openFastestLlama(START, [1], undefined, opening);
  expect(found).toMatchObject({
    threads: 1,
    flags: '1 thread, the fastest number of them, no layers on a GPU, batch and context of 8, else its defaults',
  });
  expect([...open]).toEqual([1]);
});

test('llama.cpp that can not write leaves no process', async () => {
  const most = threadCounts('cpu').at(-1)!;
  const { open, opening } = timers((threads) => {
    if (threads === most) throw new Error('it wrote nothing');
    return 1;
  });
  await expect(openFastestLlama(START, [1], undefined, opening)).rejects.toThrow('it wrote nothing');
  expect([...open]).toEqual([]);
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
