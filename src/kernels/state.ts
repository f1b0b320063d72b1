import { ArgumentError } from '../errors.ts';

/** Words of the state buffer: what changes from token to token while one recording is replayed. */
export const STATE = {
  /** Position of the first token of the batch: as many are cached before it. */
  position: 0,
  /** Tokens chosen so far: index of the next in the output. */
  count: 1,
  /** Seed of the random numbers. */
  seed: 2,
  /** 0, or 1 + the index of the first logit that was NaN or infinite; stays once set. */
  failed: 3,
} as const;

/** Bytes of the state buffer. */
export const STATE_BYTES = 16;

/** Contents of a state buffer, 4 words: see `STATE`. @throws ArgumentError for what is no whole number from 0 to 2^32 - 1 */
export function stateWords(position = 0, seed = 0, count = 0): Uint32Array<ArrayBuffer> {
  for (const [name, value] of Object.entries({ position, seed, count })) {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new ArgumentError(`The ${name} is ${value}; give a whole number from 0 to 2^32 - 1.`);
    }
  }
  const words = new Uint32Array(STATE_BYTES / 4);
  words[STATE.position] = position;
  words[STATE.count] = count;
  words[STATE.seed] = seed;
  return words;
}
