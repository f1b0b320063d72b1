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

/** Opens a GGUF file in llama.cpp on the CPU, or says what to do about its absence. */
export async function openLlama(path: string, contextSize: number): Promise<LlamaModel | string> {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve('node-llama-cpp');
  } catch (error) {
    return `llama.cpp is not installed (Linux x64 only): npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const { getLlama } = await import(pathToFileURL(entry).href);
  // Never: its other settings look for a download or a compiler.
  const llama = await getLlama({ build: 'never', gpu: false, logLevel: 'error', maxThreads: 2 });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads: 2 });
  const sequence = context.getSequence();
  return {
    async probabilities(tokens) {
      await sequence.clearHistory();
      const input = tokens.map((token) => [token, { generateNext: { probabilities: true } }]);
      const output = await sequence.controlledEvaluate(input);
      return output.map((each: { next: { probabilities: Map<number, number> } }) => each.next.probabilities);
    },
    tokenize: (text) => model.tokenize(text, false, 'trimLeadingSpace'),
    async close() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}
