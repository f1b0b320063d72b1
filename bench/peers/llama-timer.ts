// How fast llama.cpp is, as node-llama-cpp ships it: in a process of its own, since it reads its settings once. `npm run peers` installs it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export interface LlamaStart {
  readonly path: string;
  readonly contextSize: number;
  readonly device: 'cpu' | 'vulkan';
  readonly threads: number;
}

export interface LlamaRequest {
  readonly tokens: readonly number[];
  readonly count: number;
}

/** Milliseconds to the first token behind the prompt, from there to the last, and the tokens, each the likeliest. */
export interface LlamaTimes {
  readonly prefill: number;
  readonly decode: number;
  readonly chosen: readonly number[];
}

export type LlamaAnswer = { error: string } | { device: string } | LlamaTimes;

export interface LlamaTimer {
  readonly device: string;
  /** Takes a prompt through the model, nothing kept from before, and writes `count` tokens behind it. */
  time(tokens: readonly number[], count: number): Promise<LlamaTimes>;
  close(): void;
}

/** By default ggml passes software devices over. */
const ENVIRONMENT = { GGML_VK_VISIBLE_DEVICES: '0' };
/** What others set to have its Vulkan backend compute in floats only. */
const FLOATS_ONLY = ['GGML_VK_DISABLE_INTEGER_DOT_PRODUCT', 'GGML_VK_DISABLE_F16'];

/** Opens a GGUF file in llama.cpp, or says what to do about its absence. */
export async function openLlamaTimer(start: LlamaStart): Promise<LlamaTimer | string> {
  try {
    createRequire(import.meta.url).resolve('node-llama-cpp');
  } catch (error) {
    return `llama.cpp is not installed (Linux x64 only): npm run peers (${(error as Error).message.split('\n')[0]})`;
  }
  const env: NodeJS.ProcessEnv = { ...process.env, ...ENVIRONMENT };
  for (const name of FLOATS_ONLY) delete env[name];
  const child = fork(fileURLToPath(new URL('./llama-process.ts', import.meta.url)), [JSON.stringify(start)], { env });
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
  return {
    device: opened.device,
    async time(tokens, count) {
      const answer = next();
      child.send({ tokens, count } satisfies LlamaRequest);
      const times = await answer;
      if (!('prefill' in times)) throw new Error('error' in times ? times.error : 'llama.cpp gave no times');
      return times;
    },
    close: () => child.kill(),
  };
}
