import type { Segment } from '../graph/segments.ts';
import type { KernelCheck } from './kernel-check.ts';
import type { Notes } from './notes.ts';
import type { HostValues, Stream } from './streams.ts';

/** A stream between two segments: what later ones read, for each of its windows. */
export class StreamState {
  readonly stream: Stream;
  /** Holds its values to the f64 reference. */
  readonly check: KernelCheck | undefined;
  #values: HostValues[] | undefined;
  #dropped = false;

  constructor(stream: Stream, check?: KernelCheck) {
    this.stream = stream;
    this.check = check;
    if (!stream.fork) this.#values = stream.windows.map(() => new Map());
  }

  /** Whether it has begun and not failed. */
  get runs(): boolean {
    return this.#values !== undefined && !this.#dropped;
  }

  get tokens(): number {
    return this.stream.windows[0]!.length;
  }

  /** What is known of a window, f32 [tokens, width] each. */
  values(window: number): HostValues {
    return this.#values![window]!;
  }

  /** Begins with the values of the stream that it forks from, of the tokens that both have. */
  fork(from: StreamState, widths: Readonly<Record<string, number>>): void {
    const cut = (_: Uint32Array, window: number) =>
      new Map([...from.values(window)].map(([name, value]) => [name, value.subarray(0, this.tokens * widths[name]!)]));
    this.#values = this.stream.windows.map(cut);
  }

  /** Takes what a segment made of a window, and forgets what nobody reads any more. */
  advance(window: number, { live }: Segment, made: HostValues): void {
    this.#values![window] = new Map([...this.values(window), ...made].filter(([name]) => live.includes(name)));
  }

  /** Ends the stream, and frees its values. */
  drop(): void {
    this.#dropped = true;
    this.#values = undefined;
  }

  /** Does work for this stream; where it may be left out and fails, it ends with a note. */
  async attempt(notes: Notes, work: () => Promise<void>): Promise<void> {
    const { optional } = this.stream;
    if (optional === undefined) return work();
    const done = await notes.attempt(optional, async () => {
      await work();
      return true;
    });
    if (done === null) this.drop();
  }
}
