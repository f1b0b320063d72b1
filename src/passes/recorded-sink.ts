import { ArgumentError } from '../errors.ts';
import type { ByteSink, ResumableSink } from '../files/sink.ts';
import { sha256 } from './hash.ts';

/** Bytes that follow each other in a file, and their SHA-256. */
export type Part = readonly [bytes: number, sha256: string];

/** Most bytes of a part: bounds what hashing, and reading back to compare, hold at a time. */
export const PART_BYTES = 16 * 1024 * 1024;

/** A sink that keeps account of what goes through it. */
export interface RecordedSink extends ByteSink {
  skip(bytes: number): void;
  /** What was written since the last call, once it is on the disk. */
  takeParts(): Promise<Part[]>;
}

/**
 * Writes to a file whose first `kept` bytes an earlier run of the same job has written: those are not written again.
 * @param sink truncated to `kept` bytes
 */
export function recordedSink(sink: ResumableSink, kept: number): RecordedSink {
  let position = 0;
  let parts: Part[] = [];
  return {
    name: sink.name,
    async write(bytes) {
      const there = Math.min(bytes.byteLength, Math.max(0, kept - position));
      for (let at = there; at < bytes.byteLength; at += PART_BYTES) {
        const part = bytes.subarray(at, at + PART_BYTES);
        const [hash] = await Promise.all([sha256(part), sink.write(part)]);
        parts.push([part.byteLength, hash]);
      }
      position += bytes.byteLength;
    },
    skip(bytes) {
      position += bytes;
      if (position > kept)
        throw new ArgumentError(`${sink.name}: only ${kept} bytes are there; ${position} can't be skipped.`);
    },
    async takeParts() {
      await sink.flush();
      const taken = parts;
      parts = [];
      return taken;
    },
    commit: () => sink.commit(),
    abort: () => sink.abort(),
  };
}
