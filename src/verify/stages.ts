import type { ScoreOptions } from './accuracy.ts';

export interface VerifyProgress {
  readonly stage: string;
  /** Done and in all; a stage begins with 0. */
  readonly done: number;
  readonly total: number;
  /** What is counted, such as "windows". */
  readonly unit: string;
}

/** Begins a stage: gives the `signal` and `onProgress` that its work takes. */
export type BeginStage = (
  stage: string,
  unit: string,
  total: number,
) => Required<Pick<ScoreOptions, 'onProgress'>> & ScoreOptions;

export function stagesOf(
  signal: AbortSignal | undefined,
  onProgress: ((progress: VerifyProgress) => void) | undefined,
): BeginStage {
  return (stage, unit, total) => {
    const report = (done: number, all: number) => onProgress?.({ stage, done, total: all, unit });
    report(0, total);
    return { ...(signal && { signal }), onProgress: report };
  };
}
