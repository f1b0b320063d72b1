import type { Contestant } from '../suite/contestant.ts';
import type { AbsentPeer } from '../suite/results-schema.ts';

/** What decides which peers a run in Node has. */
export interface PeerOptions {
  readonly quick: boolean;
  /** What the run's device is called: peers have to compute on the same. */
  readonly device: string;
  /** Whether it computes on the CPU. */
  readonly software: boolean;
  readonly signal: AbortSignal;
}

/** Others that do what the suite measures. */
export interface Peers {
  readonly contestants: readonly Contestant[];
  /** Those that could not be had, and why: also those that turned out not to be when a case asked them. */
  readonly absent: readonly AbsentPeer[];
  /** Ends what they keep open from case to case. */
  close(): Promise<void>;
}
