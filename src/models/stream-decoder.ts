const REPLACEMENT = '\uFFFD';
/** Bytes of the longest character, so replacement characters at the end that may still turn into one. */
const UNFINISHED = 4;
/** Tokens kept at most. Only endless broken UTF-8 gets here; without a bound each token would cost more than the last. */
const MAX_WINDOW = 64;

/**
 * Turns tokens into text one by one. A character whose bytes are spread over several tokens comes out whole, with
 * the last of them; the pieces together equal the text of all tokens.
 */
export class StreamDecoder {
  readonly #decode: (ids: readonly number[]) => string;
  /** The last tokens: decoders treat the first token of a text differently, so the new one is never alone. */
  #window: number[] = [];
  /** Where in the window the tokens begin that came after the last whole character but one. */
  #settled = 0;
  /** Characters of the window's text that are out already. */
  #shown = 0;

  constructor(decode: (ids: readonly number[]) => string) {
    this.#decode = decode;
  }

  /** The text that `id` completes; empty while a character is unfinished. */
  push(id: number): string {
    this.#window.push(id);
    const text = this.#decode(this.#window);
    let end = text.length;
    while (end > 0 && text.length - end < UNFINISHED && text[end - 1] === REPLACEMENT) end--;
    const overlong = end < text.length && this.#window.length >= MAX_WINDOW;
    // In a byte-level text all the bytes of an unfinished character show as one replacement character.
    if (overlong) end = text.length - 1;
    const added = text.slice(this.#shown, end);
    this.#shown = Math.max(this.#shown, end);
    if (overlong) this.#restart(this.#window.length - (UNFINISHED - 1), 0, 1);
    else if (end === text.length) this.#restart(this.#settled, this.#window.length - this.#settled, 0);
    return added;
  }

  /** What is left at the end of the text: bytes of an unfinished character come out as U+FFFD. */
  finish(): string {
    const rest = this.#decode(this.#window).slice(this.#shown);
    this.#window = [];
    this.#settled = 0;
    this.#shown = 0;
    return rest;
  }

  /** Drops the first `dropped` tokens; `held` characters at the end are not out yet. */
  #restart(dropped: number, settled: number, held: number): void {
    this.#window = this.#window.slice(dropped);
    this.#settled = settled;
    this.#shown = this.#decode(this.#window).length - held;
  }
}
