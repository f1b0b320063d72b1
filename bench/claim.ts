import type { Gpu } from 'compressa';

/** One measured figure with its threshold. */
export interface Measurement {
  readonly claim: string;
  readonly threshold: string;
  readonly measured: string;
  /** Null: it can't be measured on this device. */
  readonly pass: boolean | null;
}

/** Whether a part of a claim, a format say, is to be measured. */
export type Takes = (part: string) => boolean;

/** A file in `bench/claims/` exports one of these as `claim`. */
export interface Claim {
  readonly name: string;
  /**
   * A figure as soon as it is known, or all at the end.
   * @param takes of claims that have parts: all, unless the command line names some
   */
  measure(gpu: Gpu, takes: Takes): AsyncIterable<Measurement> | Promise<Measurement[]>;
}

export const SAMPLE_MODEL = 'models/union-7m';
