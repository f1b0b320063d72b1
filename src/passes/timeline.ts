/** What a part of a tensor goes through: from the source, through the checks and the GPU, to the output. */
export type Stage = 'read' | 'compute' | 'write';

/** A stage at work on some rows of a tensor. */
export interface TimelineSpan {
  readonly stage: Stage;
  readonly tensor: string;
  /** Milliseconds since the compression began. */
  readonly start: number;
  readonly end: number;
}

/** Takes a span with times of `performance.now()`. */
export type RecordSpan = (stage: Stage, tensor: string, start: number, end: number) => void;

/** Does a piece of work and tells when it was done. */
export async function recorded<T>(
  record: RecordSpan | undefined,
  stage: Stage,
  tensor: string,
  work: () => Promise<T>,
): Promise<T> {
  const start = performance.now();
  const result = await work();
  record?.(stage, tensor, start, performance.now());
  return result;
}

/** Turns clock times into times since `origin`. */
export const spansFrom =
  (origin: number, onTimeline: (span: TimelineSpan) => void): RecordSpan =>
  (stage, tensor, start, end) =>
    onTimeline({ stage, tensor, start: start - origin, end: end - origin });
