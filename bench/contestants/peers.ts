import type { Contestant } from '../suite/contestant.ts';
import type { AbsentPeer } from '../suite/results-schema.ts';

/** What decides which peers a run in Node has. */
export interface PeerOptions {
  readonly quick: boolean;
  /** Whether the device computes on the CPU. */
  readonly software: boolean;
  readonly signal: AbortSignal;
}

/** Others that do what the suite measures. */
export interface Peers {
  readonly contestants: readonly Contestant[];
  /** Those that could not be had, and why. */
  readonly absent: readonly AbsentPeer[];
  /** Ends what they keep open from case to case. */
  close(): Promise<void>;
}
