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

/** Turns clock times into times since `origin`. */
export const spansFrom =
  (origin: number, onTimeline: (span: TimelineSpan) => void): RecordSpan =>
  (stage, tensor, start, end) =>
    onTimeline({ stage, tensor, start: start - origin, end: end - origin });
