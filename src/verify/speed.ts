import { checkCancelled } from '../files/cancel.ts';
import type { Decoder } from '../graph/decoder.ts';
import { generate } from '../graph/generate.ts';
import { bootstrap, MIN_INTERVAL_VALUES, median } from './statistics.ts';

/** How much is timed. */
export interface SpeedOptions {
  /** Tokens of one prefill. Default 64. */
  readonly prefillTokens?: number;
  /** Tokens that one decode run writes behind its first. Default 8, which is what generate has in flight. */
  readonly decodeTokens?: number;
  /** Most interleaved rounds; fewer than six give no interval. Default 15. */
  readonly rounds?: number;
  /** Once six rounds are timed, none starts after this many seconds: a slow device is measured less often. Default 12. */
  readonly seconds?: number;
  readonly signal?: AbortSignal;
  /** Rounds done and in all, the first, which warms up, included. */
  readonly onProgress?: (done: number, total: number) => void;
}

export const SPEED_DEFAULTS = { prefillTokens: 64, decodeTokens: 8, rounds: 15, seconds: 12 } as const;

/** Tokens per second of a model in its dense types and compressed. */
export interface Rate {
  /** Tokens per second, medians over the rounds. */
  readonly f32: number;
  readonly f16: number | null;
  readonly compressed: number;
  /** `compressed` divided by the larger of `f32` and `f16`: above 1 is faster. */
  readonly ratio: number;
  /** 95% bootstrap interval of the ratio, over paired rounds; null where there are too few. */
  readonly interval: readonly [number, number] | null;
}

/** Speeds of a model that was timed with its dense forms. */
export interface Speed {
  readonly prefill: Rate;
  readonly decode: Rate;
  /** Rounds that were timed. */
  readonly rounds: number;
  readonly prefillTokens: number;
  readonly decodeTokens: number;
}

/** The same model in the forms that are timed. */
export interface SpeedModels {
  readonly f32: Decoder;
  readonly f16?: Decoder;
  readonly compressed: Decoder;
}

/**
 * Times the models in turn, round by round, so that a device whose clock drifts treats all alike. A prefill ends when the GPU has
 * finished. Decoding is timed as a caller of `generate` sees it, tokens chosen and read back, from the first that comes out to the last:
 * what `generate` prepares once a text is not in it.
 * @throws NonFiniteError where a model computes what is no number, CancelledError, OutOfMemoryError, DeviceLostError
 */
export async function measureSpeed(models: SpeedModels, options: SpeedOptions = {}): Promise<Speed> {
  const { prefillTokens, decodeTokens, rounds, seconds, signal, onProgress } = { ...SPEED_DEFAULTS, ...options };
  const prompt = Uint32Array.from({ length: prefillTokens }, (_, i) => (i * 37 + 11) % models.f32.graph.vocabulary);
  const names = (['f32', 'f16', 'compressed'] as const).filter((name) => models[name] !== undefined);
  const times = {
    prefill: { f32: [], f16: [], compressed: [] },
    decode: { f32: [], f16: [], compressed: [] },
  } as Record<'prefill' | 'decode', Record<(typeof names)[number], number[]>>;
  const started = performance.now();
  let timed = 0;
  for (let round = -1; round < rounds; round++) {
    if (timed >= MIN_INTERVAL_VALUES && performance.now() - started > 1000 * seconds) break;
    // Round -1 warms up: it compiles, allocates and records. The order turns, so that no model always follows the same one.
    for (let i = 0; i < names.length; i++) {
      checkCancelled(signal, 'The speed measurement');
      const name = names[(i + round + 1) % names.length]!;
      const decoder = models[name]!;
      decoder.rewind();
      const prefill = await time(decoder, () => decoder.forward(prompt, { lastOnly: true }));
      const decode = await timeDecoding(decoder, prompt, round < 0 ? 1 : decodeTokens, signal);
      if (round < 0) continue;
      times.prefill[name].push(prefill);
      times.decode[name].push(decode);
    }
    if (round >= 0) timed++;
    onProgress?.(round + 2, rounds + 1);
  }
  // Those that a slow device was spared do not count as done.
  onProgress?.(timed + 1, timed + 1);
  return {
    prefill: rate(times.prefill, prefillTokens),
    decode: rate(times.decode, decodeTokens),
    rounds: timed,
    prefillTokens,
    decodeTokens,
  };
}

async function time(decoder: Decoder, work: () => Promise<unknown>): Promise<number> {
  await decoder.gpu.idle();
  const start = performance.now();
  await work();
  await decoder.gpu.idle();
  return secondsSince(start);
}

/** Browsers round their clocks: what takes no time that shows took one microsecond. */
const secondsSince = (start: number): number => Math.max(1e-6, (performance.now() - start) / 1000);

/** Seconds that `count` tokens take behind the first one after the prompt, which the caches hold. */
async function timeDecoding(
  decoder: Decoder,
  prompt: Uint32Array,
  count: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  decoder.rewind(prompt.length - 1);
  const tokens = generate(decoder, prompt.subarray(-1), { maxTokens: count + 1, ...(signal && { signal }) });
  await tokens.next();
  const start = performance.now();
  for await (const _ of tokens);
  return secondsSince(start);
}

/** Rates from the seconds that each model took in each round. */
export function rate(seconds: Record<'f32' | 'f16' | 'compressed', readonly number[]>, tokens: number): Rate {
  const useF16 = seconds.f16.length > 0 && median(seconds.f16) < median(seconds.f32);
  const dense = useF16 ? seconds.f16 : seconds.f32;
  const medianOf = (values: readonly number[], rounds: readonly number[]) => median(rounds.map((i) => values[i]!));
  // Of medians, as the rates are: the median of the rounds' own ratios can be on the other side of 1.
  const ratioOf = (rounds: readonly number[]) => medianOf(dense, rounds) / medianOf(seconds.compressed, rounds);
  return {
    f32: tokens / median(seconds.f32),
    f16: seconds.f16.length > 0 ? tokens / median(seconds.f16) : null,
    compressed: tokens / median(seconds.compressed),
    ratio: ratioOf([...dense.keys()]),
    interval: dense.length < MIN_INTERVAL_VALUES ? null : bootstrap(dense.length, ratioOf),
  };
}
