import { ArgumentError } from '../errors.ts';
import { checkCancelled } from '../files/cancel.ts';
import { chooseTokenStep, throwIfChoiceFailed } from '../kernels/choose-token.ts';
import { STATE_BYTES, stateWords } from '../kernels/state.ts';
import type { Decoder } from './decoder.ts';
import { checkSampling, type Sampling } from './reference/sampling.ts';

/** How many tokens to make, how they are chosen, and where to stop. */
export interface GenerateOptions {
  readonly maxTokens: number;
  /** Default: greedy, the most likely token each time. */
  readonly sampling?: Partial<Sampling>;
  /** Of the random draws, 0 to 2^32 - 1: the same seed gives the same tokens. Default 0. */
  readonly seed?: number;
  /** Tokens that end the text; they are not yielded. */
  readonly stopTokens?: Iterable<number>;
  readonly signal?: AbortSignal;
  /** Most tokens that are submitted before the host waits for them: what a stop token may waste. Default 8. */
  readonly inFlight?: number;
}

/** Why no more tokens come: a stop token, as many as were asked for, or caches that hold no more. */
export type StopReason = 'stop-token' | 'max-tokens' | 'cache-full';

/**
 * Takes the prompt through the model behind what the caches hold, and yields the tokens that follow. Each token is one submit: it is
 * chosen on the GPU and feeds the next from there; the host only reads back every `inFlight` tokens, and the first at once.
 *
 * Whenever it yields or ends, also early, the decoder's position is behind everything that came before the token yielded last; after a
 * stop token, behind that one too. The decoder may not be used for anything else meanwhile.
 * @throws ArgumentError, CancelledError, NonFiniteError, OutOfMemoryError, DeviceLostError
 */
export async function* generate(
  decoder: Decoder,
  promptTokens: ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<number, StopReason, undefined> {
  const { maxTokens, seed = 0, signal, inFlight = 8 } = options;
  const sampling: Sampling = { temperature: 0, topK: 0, topP: 1, ...options.sampling };
  checkCount('The number of tokens to generate', maxTokens);
  checkCount('The number of tokens in flight', inFlight);
  checkSampling(sampling);
  const stops = new Set(options.stopTokens);
  const { gpu, graph } = decoder;
  const { ids, state } = decoder.buffers;
  const start = stateWords(decoder.position, seed);
  // The last token needs no room: it is chosen, but not taken through the model.
  const room = decoder.maxPositions - decoder.position - promptTokens.length + 1;
  const limit = Math.max(1, Math.min(maxTokens, room));
  checkCancelled(signal, WHAT);

  const chosen = { buffer: gpu.memory.allocate(4 * limit, 'chosen tokens'), size: 4 * limit };
  const { vocabulary } = graph;
  const common = { vocabulary, state, ids, chosen, capacity: limit, sampling };
  const releases = [() => gpu.memory.release(chosen.buffer)];
  try {
    const { batch } = await decoder.record(1, { lastOnly: true });
    const choose = chooseTokenStep({ ...common, logits: batch.logits, row: 0, tokens: 1 });
    const next = await gpu.scheduler.record([...batch.steps, choose], 'next token');
    releases.push(() => next.release());
    checkCancelled(signal, WHAT);

    const prompt = await decoder.forward(promptTokens, { lastOnly: true, signal });
    const tokens = promptTokens.length;
    const chooseFirst = chooseTokenStep({ ...common, logits: prompt.logits, row: prompt.logitRows - 1, tokens });
    const first = await gpu.scheduler.record([chooseFirst], 'first token');
    releases.push(() => first.release());
    gpu.upload(state.buffer, new Uint8Array(start.buffer));
    first.submit();

    let position = decoder.position;
    for (let done = 0; done < limit; ) {
      const count = done === 0 ? 1 : Math.min(inFlight, limit - done);
      if (done > 0) for (let i = 0; i < count; i++) next.submit();
      const got = new Uint32Array((await gpu.readBack(chosen.buffer, 4 * done, 4 * count)).buffer);
      // A failed choice gives token 0, so that only then the state needs to be looked at.
      if (got.includes(0))
        throwIfChoiceFailed(new Uint32Array((await gpu.readBack(state.buffer, 0, STATE_BYTES)).buffer));
      for (const token of got) {
        checkCancelled(signal, WHAT);
        if (decoder.position !== position) {
          throw new ArgumentError('The decoder was used for something else while it generated text.');
        }
        // Taken through the model with this submit: the token before.
        if (done > 0) {
          decoder.advance(1);
          position++;
        }
        done++;
        if (stops.has(token)) return 'stop-token';
        yield token;
      }
    }
    return limit < maxTokens ? 'cache-full' : 'max-tokens';
  } finally {
    for (const release of releases) release();
  }
}

const WHAT = 'Generating text';

function checkCount(what: string, count: number): void {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new ArgumentError(`${what} is ${count}; give a whole number, 1 or more.`);
  }
}
