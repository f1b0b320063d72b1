import type { Gpu } from 'compressa';

/** One measured figure with its threshold. */
export interface Measurement {
  readonly claim: string;
  readonly threshold: string;
  readonly measured: string;
  readonly pass: boolean;
}

/** A file in `bench/claims/` exports one of these as `claim`. */
export interface Claim {
  readonly name: string;
  measure(gpu: Gpu): Promise<Measurement[]>;
}

export const SAMPLE_MODEL = 'models/union-7m';
