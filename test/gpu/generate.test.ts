import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { CancelledError } from '../../src/errors.ts';
import { openCheckpoint } from '../../src/files/checkpoint.ts';
import { nodeFolder } from '../../src/files/node-files.ts';
import type { Gpu } from '../../src/gpu/gpu.ts';
import { Decoder } from '../../src/graph/decoder.ts';
import { type GenerateOptions, generate, type StopReason } from '../../src/graph/generate.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { chooseToken } from '../../src/graph/reference/sampling.ts';
import { ReferenceRun } from '../../src/graph/reference.ts';
import type { Weight } from '../../src/kernels/weight.ts';
import { graphOf } from '../../src/models/families.ts';
import { dequantizedWeights, loadWeights } from '../../src/passes/load-weights.ts';
import { countedCalls } from './counted-calls.ts';
import { openTestGpu } from './open-test-gpu.ts';

const FOLDER = 'models/union-7m';
const prompt: number[] = JSON.parse(readFileSync(`${FOLDER}/REFERENCE.json`, 'utf8')).prompt.tokens;
const GREEDY = { temperature: 0, topK: 0, topP: 1 };

let gpu: Gpu;
let graph: Graph;
let weights: Map<string, Weight>;
let decoder: Decoder;
/** What the f64 reference chooses after the prompt. */
const expected: number[] = [];
beforeAll(async () => {
  gpu = await openTestGpu();
  const checkpoint = await openCheckpoint(await nodeFolder(FOLDER));
  graph = graphOf(checkpoint.config, `${FOLDER}/config.json`);
  weights = await loadWeights(gpu, checkpoint, graph);
  decoder = new Decoder(gpu, graph, weights);
  const run = new ReferenceRun(graph, await dequantizedWeights(checkpoint, graph));
  await checkpoint.close();
  let logits = run.forward(prompt);
  while (expected.length < 16) {
    const token = chooseToken(logits.slice(-graph.vocabulary), GREEDY, 0);
    expected.push(token);
    logits = run.forward([token]);
  }
});
afterAll(() => gpu.close());
beforeEach(() => decoder.rewind());

async function all(options: GenerateOptions, from = decoder, tokens: ArrayLike<number> = prompt) {
  const got: number[] = [];
  const run = generate(from, tokens, options);
  for (;;) {
    const { value, done } = await run.next();
    if (done) return { tokens: got, reason: value as StopReason };
    got.push(value);
  }
}

test('greedy tokens are those of the f64 reference', async () => {
  expect(await all({ maxTokens: 16 })).toEqual({ tokens: expected, reason: 'max-tokens' });
  expect(decoder.position).toBe(prompt.length + 15);
});

test('one submit for each token and one read-back for eight', async () => {
  await all({ maxTokens: 1 });
  decoder.rewind();
  const before = { ...gpu.counters };
  const { tokens } = await all({ maxTokens: 41 });
  expect(tokens).toHaveLength(41);
  // The prompt itself is one more.
  expect(gpu.counters.submits - before.submits).toBe(42);
  // Of the first token and of 5 times 8; a token 0 needs a look at the state.
  expect(gpu.counters.readBacks - before.readBacks).toBeLessThanOrEqual(6 + tokens.filter((id) => id === 0).length);
});

test('no buffer, bind group or pipeline is made for a token', async () => {
  const run = generate(decoder, prompt, { maxTokens: 41 });
  // The first token and the eight behind it, whose read-back may need a buffer.
  for (let i = 0; i < 9; i++) await run.next();
  const made = countedCalls(gpu.device, [
    ...(['createBuffer', 'createBindGroup', 'createBindGroupLayout', 'createShaderModule'] as const),
    ...(['createPipelineLayout', 'createComputePipeline', 'createComputePipelineAsync'] as const),
  ]);
  const { submits } = gpu.counters;
  for (let i = 0; i < 16; i++) await run.next();
  expect(gpu.counters.submits - submits).toBeGreaterThanOrEqual(16);
  expect(made.stop()).toEqual({});
  await run.return('max-tokens');
});

test('the same seed gives the same tokens, however many are in flight; another seed gives others', async () => {
  const sampled = async (seed: number, inFlight: number) => {
    decoder.rewind();
    const options = { maxTokens: 24, sampling: { temperature: 1, topK: 50, topP: 0.95 }, seed, inFlight };
    return (await all(options)).tokens;
  };
  const tokens = await sampled(7, 8);
  expect(await sampled(7, 3)).toEqual(tokens);
  expect(await sampled(8, 8)).not.toEqual(tokens);
});

test('stops at a stop token, keeps the position, and goes on from there', async () => {
  const at = expected.findIndex((id, i) => i >= 4 && expected.indexOf(id) === i);
  const { tokens, reason } = await all({ maxTokens: 16, stopTokens: [expected[at]!] });
  expect(reason).toBe('stop-token');
  expect(tokens).toEqual(expected.slice(0, at));
  expect(decoder.position).toBe(prompt.length + at);
  const rest = await all({ maxTokens: 15 - at }, decoder, [expected[at]!]);
  expect(rest.tokens).toEqual(expected.slice(at + 1));
});

test('stops when the caches are full', async () => {
  const small = new Decoder(gpu, graph, weights, { maxPositions: prompt.length + 4 });
  expect(await all({ maxTokens: 16 }, small)).toEqual({ tokens: expected.slice(0, 5), reason: 'cache-full' });
  expect(small.position).toBe(small.maxPositions);
  await expect(all({ maxTokens: 1 }, small, [1])).rejects.toThrow(/room for/);
  small.release();
});

test('can be cancelled, and left early, without losing memory or position', async () => {
  await all({ maxTokens: 1 });
  const inUse = gpu.memory.bytesInUse;
  decoder.rewind();
  const controller = new AbortController();
  const got: number[] = [];
  const work = async () => {
    for await (const token of generate(decoder, prompt, { maxTokens: 16, signal: controller.signal })) {
      got.push(token);
      if (got.length === 3) controller.abort();
    }
  };
  await expect(work()).rejects.toThrow(CancelledError);
  expect(got).toEqual(expected.slice(0, 3));
  expect(decoder.position).toBe(prompt.length + 2);
  expect(gpu.memory.bytesInUse).toBe(inUse);

  decoder.rewind();
  for await (const token of generate(decoder, prompt, { maxTokens: 16 })) {
    expect(token).toBe(expected[0]);
    break;
  }
  expect(decoder.position).toBe(prompt.length);
  expect(gpu.memory.bytesInUse).toBe(inUse);
  expect((await all({ maxTokens: 15 }, decoder, [expected[0]!])).tokens).toEqual(expected.slice(1));
});

test('refuses what makes no sense, and another use of the decoder meanwhile', async () => {
  await expect(all({ maxTokens: 0 })).rejects.toThrow(/tokens to generate is 0/);
  await expect(all({ maxTokens: 1, inFlight: 0.5 })).rejects.toThrow(/in flight is 0.5/);
  await expect(all({ maxTokens: 1, seed: -1 })).rejects.toThrow(/seed is -1/);
  await expect(all({ maxTokens: 1, sampling: { topP: 0 } })).rejects.toThrow(/Top-p/);
  await expect(all({ maxTokens: 1 }, decoder, [])).rejects.toThrow(/no tokens/);
  const run = generate(decoder, prompt, { maxTokens: 4 });
  await run.next();
  await decoder.forward([1]);
  await expect(run.next()).rejects.toThrow(/something else/);
});
