// How fast llama.cpp is, as node-llama-cpp ships it: in a process of its own, since it reads its settings once. `npm run peers` installs it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface LlamaStart {
  readonly path: string;
  readonly contextSize: number;
  /** The number of a Vulkan device (`llamaDeviceOf`), or the CPU. */
  readonly device: 'cpu' | number;
  readonly threads: number;
}

/** To write `count` tokens behind `tokens`, which follow the first `keep` of those before; or to say how likely each token is behind them. */
export type LlamaRequest =
  | { readonly tokens: readonly number[]; readonly count: number; readonly keep: number }
  | { readonly tokens: readonly number[]; readonly count: 'likelihoods' };

/** Milliseconds to the first token behind the prompt, from there to the last, and the tokens, each the likeliest. */
export interface LlamaTimes {
  readonly prefill: number;
  readonly decode: number;
  readonly chosen: readonly number[];
}

export type LlamaAnswer = { error: string } | { device: string } | { logProbabilities: number[] } | LlamaTimes;

export interface LlamaTimer {
  readonly device: string;
  /** Takes a prompt through the model, behind the first `keep` tokens of what came before (default: none), and writes `count` tokens behind it. */
  time(tokens: readonly number[], count: number, keep?: number): Promise<LlamaTimes>;
  /** Logarithms of the probabilities of each token behind some that start a text. */
  logProbabilities(tokens: readonly number[]): Promise<number[]>;
  close(): void;
}

/** What others set to have its Vulkan backend compute in floats only. */
const FLOATS_ONLY = ['GGML_VK_DISABLE_INTEGER_DOT_PRODUCT', 'GGML_VK_DISABLE_F16'];

/** What to do where llama.cpp is not installed. */
export function llamaAbsence(): string | undefined {
  try {
    createRequire(import.meta.url).resolve('node-llama-cpp');
    return undefined;
  } catch (error) {
    return `llama.cpp is not installed (Linux x64 only): npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
}

/** Opens a GGUF file in llama.cpp, or says what to do about its absence. A signal ends the process. */
export async function openLlamaTimer(start: LlamaStart, signal?: AbortSignal): Promise<LlamaTimer | string> {
  const absence = llamaAbsence();
  if (absence !== undefined) return absence;
  // By default ggml passes software devices over.
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...(start.device !== 'cpu' && { GGML_VK_VISIBLE_DEVICES: String(start.device) }),
  };
  for (const name of FLOATS_ONLY) delete env[name];
  const child = fork(fileURLToPath(new URL('./llama-process.ts', import.meta.url)), [JSON.stringify(start)], { env });
  signal?.addEventListener('abort', () => child.kill(), { once: true });
  const next = async (): Promise<LlamaAnswer> => {
    const ended = new AbortController();
    try {
      const [answer] = await Promise.race([
        once(child, 'message', { signal: ended.signal }),
        once(child, 'exit', { signal: ended.signal }).then(([code]) => [{ error: `llama.cpp ended with ${code}` }]),
      ]);
      return answer;
    } finally {
      ended.abort();
    }
  };
  const opened = await next();
  if (!('device' in opened)) {
    child.kill();
    return 'error' in opened ? opened.error : 'llama.cpp answered before it was asked';
  }
  const ask = async (request: LlamaRequest): Promise<LlamaAnswer> => {
    const answer = next();
    child.send(request);
    const said = await answer;
    if ('error' in said) throw new Error(said.error);
    return said;
  };
  return {
    device: opened.device,
    async time(tokens, count, keep = 0) {
      const times = await ask({ tokens, count, keep });
      if (!('prefill' in times)) throw new Error('llama.cpp gave no times');
      return times;
    },
    async logProbabilities(tokens) {
      const answer = await ask({ tokens, count: 'likelihoods' });
      if (!('logProbabilities' in answer)) throw new Error('llama.cpp gave no probabilities');
      return answer.logProbabilities;
    },
    close: () => child.kill(),
  };
}
