// llama.cpp as node-llama-cpp ships it: opens GGUF files and says what it thinks comes next. `npm run peers` installs it.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** A model that llama.cpp has open. */
export interface LlamaModel {
  /**
   * Probabilities of the next token after each of `tokens`, which start a text.
   * @returns for each position a map from token to probability
   */
  probabilities(tokens: readonly number[]): Promise<Map<number, number>[]>;
  /** Tokens of a text, without special ones. */
  tokenize(text: string): number[];
  close(): Promise<void>;
}

/**
 * Where llama.cpp computes. On the CPU it rounds activations to 8 bits where weights are quantized; on Vulkan, with the settings
 * here, both are floats of 32 bits.
 */
export type LlamaDevice = 'cpu' | 'vulkan';

/** Read by ggml when its Vulkan backend is loaded. By default it passes software devices over. */
const FLOAT_VULKAN = {
  GGML_VK_VISIBLE_DEVICES: '0',
  GGML_VK_DISABLE_INTEGER_DOT_PRODUCT: '1',
  GGML_VK_DISABLE_F16: '1',
};

/** Opens a GGUF file in llama.cpp, or says what to do about its absence. */
export async function openLlama(
  path: string,
  contextSize: number,
  device: LlamaDevice = 'cpu',
): Promise<LlamaModel | string> {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve('node-llama-cpp');
  } catch (error) {
    return `llama.cpp is not installed (Linux x64 only): npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const { getLlama } = await import(pathToFileURL(entry).href);
  // Never: its other settings look for a download or a compiler.
  const vulkan = device === 'vulkan';
  if (vulkan) Object.assign(process.env, FLOAT_VULKAN);
  const llama = await getLlama({ build: 'never', gpu: vulkan && 'vulkan', logLevel: 'error', maxThreads: 2 });
  if (vulkan && (await llama.getGpuDeviceNames()).length === 0) {
    await llama.dispose();
    return 'llama.cpp finds no Vulkan device: install a driver, such as lavapipe';
  }
  const model = await llama.loadModel({ modelPath: path, gpuLayers: vulkan ? 'max' : 0 });
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads: 2 });
  const sequence = context.getSequence();
  return {
    async probabilities(tokens) {
      await sequence.clearHistory();
      const input = tokens.map((token) => [token, { generateNext: { probabilities: true } }]);
      const output = await sequence.controlledEvaluate(input);
      return output.map((each: { next: { probabilities: Map<number, number> } }) => each.next.probabilities);
    },
    tokenize: (text) => model.tokenize(text, false),
    async close() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}
