// llama.cpp at its best number of threads.
import { availableParallelism } from 'node:os';
import { type LlamaStart, type LlamaTimer, openLlamaTimer } from './llama-timer.ts';

/** Runs before anything is timed: llama.cpp compiles its shaders. */
const WARM_UP = 2;
const RUNS = 3;
/** Tokens that are written to find the best number of threads. */
const TOKENS = 16;

export interface FastestLlama {
  readonly timer: LlamaTimer;
  readonly threads: number;
  /** How it was started, for who wants to do the same. */
  readonly flags: string;
}

/** Powers of two up to as many as run at once. The threads of the Vulkan build only wait, and each process compiles its shaders anew. */
export function threadCounts(device: LlamaStart['device'], most = availableParallelism()): number[] {
  if (device !== 'cpu') return [1];
  return [...Array.from({ length: Math.floor(Math.log2(most)) + 1 }, (_, i) => 2 ** i).filter((n) => n < most), most];
}

/**
 * llama.cpp with the number of threads, of `threadCounts`, that decodes fastest, warm; or what to do about its absence.
 * @param prompt tokens that are written behind
 * @throws Error where it can't write; no process of it stays then
 */
export async function openFastestLlama(
  start: Omit<LlamaStart, 'threads'>,
  prompt: readonly number[],
  signal?: AbortSignal,
  open = openLlamaTimer,
): Promise<FastestLlama | string> {
  let best: { readonly timer: LlamaTimer; readonly threads: number; readonly time: number } | undefined;
  let trying: LlamaTimer | undefined;
  try {
    for (const threads of threadCounts(start.device)) {
      const timer = await open({ ...start, threads }, signal);
      if (typeof timer === 'string') {
        best?.timer.close();
        return timer;
      }
      trying = timer;
      const times: number[] = [];
      for (let i = 0; i < WARM_UP + RUNS; i++) times.push((await timer.time(prompt, TOKENS)).decode);
      trying = undefined;
      const time = Math.min(...times.slice(WARM_UP));
      if (best && best.time <= time) timer.close();
      else {
        best?.timer.close();
        best = { timer, threads, time };
      }
    }
  } catch (error) {
    trying?.close();
    best?.timer.close();
    throw error;
  }
  const { timer, threads } = best!;
  return { timer, threads, flags: llamaFlags(start, timer.device, threads) };
}

/** What llama.cpp was told; everything else is its default. */
export function llamaFlags(
  { device, contextSize }: Omit<LlamaStart, 'threads'>,
  name: string,
  threads: number,
): string {
  const layers = device === 'cpu' ? 'no layers on a GPU' : `all layers on ${name}`;
  const fastest = device === 'cpu' ? ', the fastest number of them' : '';
  return `${threads === 1 ? '1 thread' : `${threads} threads`}${fastest}, ${layers}, batch and context of ${contextSize}, else its defaults`;
}
