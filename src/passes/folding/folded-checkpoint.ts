import type { Checkpoint } from '../../files/checkpoint.ts';
import { decodeToF32 } from '../../files/convert.ts';
import type { TensorInfo } from '../../files/safetensors-read.ts';
import { formatByName } from '../../formats/registry.ts';
import type { ScaleFolding } from '../../graph/scale-folding.ts';
import { denseFormatOf } from '../stored-weight.ts';

/** What factors do to one weight: all are multiplied. */
interface Change {
  /** One for each column, or each element of a vector. */
  readonly columns: Float64Array[];
  /** One for each row. */
  readonly rows: Float64Array[];
  /** Added to a norm's weight before it is multiplied, and taken off afterwards. */
  readonly offset: number;
}

/** A checkpoint whose weights have factors moved between them. */
export interface FoldedCheckpoint {
  /** Reads as the model with all factors that were set; matrices have the type of the source, vectors that may change are F32. */
  readonly checkpoint: Checkpoint;
  /** Moves factors, f32 [folding.channels], positive and finite; once for each folding. */
  set(folding: ScaleFolding, factors: Float32Array): void;
}

/** Whether all weights of a folding are stored as plain floats, which can be multiplied. */
export function canFold({ tensors, tree }: Checkpoint, { matrices, into }: ScaleFolding): boolean {
  const bias = into.kind === 'rows' && into.bias !== undefined ? [into.bias] : [];
  return [...matrices, into.weight, ...bias].every((name) => {
    const info = tensors.get(name);
    return info !== undefined && denseFormatOf(info.type) !== undefined && !tree?.weights.has(name);
  });
}

/** @param foldings all for which factors may be set */
export function foldedCheckpoint(source: Checkpoint, foldings: readonly ScaleFolding[]): FoldedCheckpoint {
  const changes = new Map<string, Change>();
  const change = (name: string, offset = 0): Change => {
    const known = changes.get(name) ?? { columns: [], rows: [], offset };
    changes.set(name, known);
    return known;
  };
  for (const { matrices, into } of foldings) {
    for (const name of matrices) change(name);
    change(into.weight, into.kind === 'norm' ? into.offset : 0);
    if (into.kind === 'rows' && into.bias !== undefined) change(into.bias);
  }
  const tensors = new Map(
    [...source.tensors].map(([name, info]) => [name, changes.has(name) ? folded(info) : info] as const),
  );
  return {
    checkpoint: {
      ...source,
      // Of a class, which the fields alone are not.
      fileBytes: (name) => source.fileBytes(name),
      close: () => source.close(),
      tensors,
      async read(tensor, rowStart, rowCount, signal) {
        const name = typeof tensor === 'string' ? tensor : tensor.name;
        const bytes = await source.read(name, rowStart, rowCount, signal);
        const known = changes.get(name);
        return known ? multiplied(source.tensors.get(name)!, known, bytes, rowStart ?? 0) : bytes;
      },
    },
    set({ matrices, into, channelOf }, factors) {
      const columns = Float64Array.from(channelOf, (channel) => factors[channel]!);
      for (const name of matrices) changes.get(name)!.columns.push(columns);
      const inverse = Float64Array.from(factors, (factor) => 1 / factor);
      if (into.kind === 'norm') changes.get(into.weight)!.columns.push(inverse);
      else {
        changes.get(into.weight)!.rows.push(inverse);
        if (into.bias !== undefined) changes.get(into.bias)!.columns.push(inverse);
      }
    },
  };
}

/** As it shows: vectors gain the digits that a factor takes. */
function folded(info: TensorInfo): TensorInfo {
  if (info.shape.length !== 1) return info;
  return { ...info, type: 'F32', byteLength: 4 * info.shape[0]! };
}

function multiplied(
  { type, shape }: TensorInfo,
  { columns, rows, offset }: Change,
  bytes: Uint8Array,
  first: number,
): Uint8Array<ArrayBuffer> {
  const values = decodeToF32(bytes, type);
  const isVector = shape.length === 1;
  const k = isVector ? 1 : shape[1]!;
  for (let i = 0; i < values.length; i++) {
    const row = first + Math.floor(i / k);
    let factor = 1;
    for (const of of columns) factor *= of[isVector ? row : i % k]!;
    for (const of of rows) factor *= of[row]!;
    values[i] = (values[i]! + offset) * factor - offset;
  }
  if (isVector || type === 'F32') return new Uint8Array(values.buffer);
  const format = denseFormatOf(type) ?? formatByName('f32');
  const { data } = format.reference.quantize(values, values.length / k, k);
  return data!.slice(0, 2 * values.length) as Uint8Array<ArrayBuffer>;
}
