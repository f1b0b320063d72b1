/** How far a verification is. */
export interface VerifyProgress {
  readonly stage: string;
  /** Done and in all; a stage begins with 0. */
  readonly done: number;
  readonly total: number;
  /** What is counted, such as "windows". */
  readonly unit: string;
  /** What is at work, such as "layer 3 of 8". */
  readonly what?: string;
}

/** What the work of a stage takes. */
export interface StageOptions {
  readonly signal?: AbortSignal;
  readonly onProgress: (done: number, total: number, what?: string) => void;
}

/** Begins a stage: gives the `signal` and `onProgress` that its work takes. `what` is at work first. */
export type BeginStage = (stage: string, unit: string, total: number, what?: string) => StageOptions;

export function stagesOf(
  signal: AbortSignal | undefined,
  onProgress: ((progress: VerifyProgress) => void) | undefined,
): BeginStage {
  return (stage, unit, total, first) => {
    const report = (done: number, all: number, what?: string) =>
      onProgress?.({ stage, done, total: all, unit, ...(what !== undefined && { what }) });
    report(0, total, first);
    return { ...(signal && { signal }), onProgress: report };
  };
}
