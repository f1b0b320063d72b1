// The process of `openLlamaTimer`: llama.cpp opens a model and times what it is told to.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { LlamaAnswer, LlamaRequest, LlamaStart } from './llama-timer.ts';

const start: LlamaStart = JSON.parse(process.argv[2]!);
const reply = (answer: LlamaAnswer) => process.send!(answer);

async function serve(): Promise<void> {
  const { getLlama } = await import(pathToFileURL(createRequire(import.meta.url).resolve('node-llama-cpp')).href);
  const { path, contextSize, device, threads } = start;
  const vulkan = device === 'vulkan';
  // Never: its other settings look for a download or a compiler.
  const llama = await getLlama({ build: 'never', gpu: vulkan && 'vulkan', logLevel: 'error', maxThreads: threads });
  const [name] = vulkan ? await llama.getGpuDeviceNames() : ['CPU'];
  if (name === undefined) throw new Error('llama.cpp finds no Vulkan device: install a driver, such as lavapipe');
  const model = await llama.loadModel({ modelPath: path, gpuLayers: vulkan ? 'max' : 0 });
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads });
  const sequence = context.getSequence();
  process.on('message', async ({ tokens, count }: LlamaRequest) => {
    await sequence.clearHistory();
    const chosen: number[] = [];
    const begin = performance.now();
    let first = begin;
    for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      if (chosen.length === 0) first = performance.now();
      chosen.push(token);
      if (chosen.length === count) break;
    }
    reply({ prefill: first - begin, decode: performance.now() - first, chosen });
  });
  reply({ device: name });
}

serve().catch((error: Error) => {
  reply({ error: error.message });
  process.disconnect();
});
