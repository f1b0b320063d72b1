import { contentBytes } from '../../../src/formats/layout.ts';
import { packedFormat } from '../../../src/formats/packed.ts';
import type { Format, MaskPattern } from '../../../src/index.ts';
import { denseFormat, type Plan } from './knobs.ts';

/** Bytes of a tensor as the engine writes it, and where it can also pack what an N:M pattern leaves, packed. */
export interface PlanBytes {
  readonly stored: number;
  readonly packed?: number | undefined;
}

const bytesOf = (format: Format, rows: number, k: number): number =>
  format.arrays.reduce((sum, array) => sum + contentBytes(array, rows, k), 0);

/** @param type in which the file holds the tensor now, where it stays dense */
export function planBytes({ format, pattern, packing, rank }: Plan, rows: number, k: number, type: string): PlanBytes {
  const target = format ?? denseFormat(type);
  if (rank > 0) return { stored: bytesOf(target, rows, rank) + bytesOf(target, rank, k) };
  const packed = pattern && packedBytes(pattern, target, rows, k);
  if (packing && packed !== undefined) return { stored: packed };
  return { stored: bytesOf(target, rows, k), ...(packed !== undefined && { packed }) };
}

function packedBytes(pattern: MaskPattern, format: Format, rows: number, k: number): number | undefined {
  if (pattern.kind !== 'n:m') return undefined;
  try {
    return bytesOf(packedFormat(format, pattern), rows, k);
  } catch {
    return undefined; // A pattern or format that isn't packed.
  }
}
