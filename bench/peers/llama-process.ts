// The process of `openLlamaTimer`: llama.cpp opens a model and times what it is told to.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { LlamaAnswer, LlamaRequest, LlamaStart } from './llama-timer.ts';

const start: LlamaStart = JSON.parse(process.argv[2]!);
const reply = (answer: LlamaAnswer) => process.send!(answer);

async function serve(): Promise<void> {
  const { getLlama } = await import(pathToFileURL(createRequire(import.meta.url).resolve('node-llama-cpp')).href);
  const { path, contextSize, device, threads } = start;
  const vulkan = device !== 'cpu';
  // Never: its other settings look for a download or a compiler.
  const llama = await getLlama({ build: 'never', gpu: vulkan && 'vulkan', logLevel: 'error', maxThreads: threads });
  const [name] = vulkan ? await llama.getGpuDeviceNames() : ['CPU'];
  if (name === undefined) throw new Error('llama.cpp finds no Vulkan device: install a driver, such as lavapipe');
  const model = await llama.loadModel({ modelPath: path, gpuLayers: vulkan ? 'max' : 0 });
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads });
  const sequence = context.getSequence();
  const write = async (tokens: readonly number[], count: number): Promise<LlamaAnswer> => {
    const chosen: number[] = [];
    const begin = performance.now();
    let first = begin;
    for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      if (chosen.length === 0) first = performance.now();
      chosen.push(token);
      if (chosen.length === count) break;
    }
    if (chosen.length < count) return { error: `llama.cpp wrote ${chosen.length} tokens instead of ${count}` };
    return { prefill: first - begin, decode: performance.now() - first, chosen };
  };
  const likelihoods = async (tokens: readonly number[]): Promise<LlamaAnswer> => {
    const last = tokens.length - 1;
    const input = tokens.map((token, i) => (i < last ? token : [token, { generateNext: { probabilities: true } }]));
    const output = await sequence.controlledEvaluate(input);
    const found: Map<number, number> = output[last].next.probabilities;
    const logProbabilities = new Array<number>(found.size);
    // Of f32: what is less than the least of its normal numbers is there as that.
    for (const [token, p] of found) logProbabilities[token] = Math.log(Math.max(p, 2 ** -126));
    return { logProbabilities };
  };
  process.on('message', async (request: LlamaRequest) => {
    const { tokens, count } = request;
    try {
      if (count === 'likelihoods' || request.keep === 0) await sequence.clearHistory();
      else await sequence.eraseContextTokenRanges([{ start: request.keep, end: sequence.nextTokenIndex }]);
      reply(await (count === 'likelihoods' ? likelihoods(tokens) : write(tokens, count)));
    } catch (error) {
      reply({ error: (error as Error).message });
    }
  });
  reply({ device: name });
}

serve().catch((error: Error) => {
  reply({ error: error.message });
  process.disconnect();
});
