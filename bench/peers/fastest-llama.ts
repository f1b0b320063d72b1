// llama.cpp at its best number of threads.
import { type LlamaStart, type LlamaTimer, openLlamaTimer } from './llama-timer.ts';

/** Runs before anything is timed: llama.cpp compiles its shaders. */
const WARM_UP = 2;
const RUNS = 3;
/** Tokens that are written to find the best number of threads. */
const TOKENS = 16;

export interface FastestLlama {
  readonly timer: LlamaTimer;
  readonly threads: number;
}

/**
 * llama.cpp with the number of threads, of those given, that decodes fastest, warm; or what to do about its absence.
 * @param prompt tokens that are written behind
 */
export async function openFastestLlama(
  start: Omit<LlamaStart, 'threads'>,
  threadCounts: readonly number[],
  prompt: readonly number[],
  signal?: AbortSignal,
): Promise<FastestLlama | string> {
  let best: (FastestLlama & { readonly time: number }) | undefined;
  for (const threads of threadCounts) {
    const timer = await openLlamaTimer({ ...start, threads }, signal);
    if (typeof timer === 'string') {
      best?.timer.close();
      return timer;
    }
    const times: number[] = [];
    for (let i = 0; i < WARM_UP + RUNS; i++) times.push((await timer.time(prompt, TOKENS)).decode);
    const time = Math.min(...times.slice(WARM_UP));
    if (best && best.time <= time) timer.close();
    else {
      best?.timer.close();
      best = { timer, threads, time };
    }
  }
  return best ?? 'llama.cpp was given no number of threads';
}

export const threadsText = (count: number): string => (count === 1 ? '1 thread' : `${count} threads`);
