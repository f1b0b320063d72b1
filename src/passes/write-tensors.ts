import type { Checkpoint } from '../files/checkpoint.ts';
import { decodeToF32 } from '../files/convert.ts';
import { contentBytes } from '../formats/layout.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { type Chunk, chunksOf, readChunk } from './chunks.ts';
import type { CompressProgress } from './compress-options.ts';
import { checkFinite, checkScales } from './finite-check.ts';
import { joined } from './joined.ts';
import { runPipeline } from './pipeline.ts';
import type { Plan, PlannedTensor } from './plan.ts';
import { quantizeChunk } from './quantize-chunk.ts';
import { quantizeScales } from './quantize-scales.ts';
import { countSaturated, type SaturatedCounts } from './saturation.ts';
import type { TensorOutput } from './tensor-output.ts';
import type { RecordSpan } from './timeline.ts';

/** A compression from its plan on. */
export interface Work {
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly writer: TensorOutput;
  /** Tensors that `writer` has already. */
  readonly written: readonly PlannedTensor[];
  /** Is told what is cut off, before the tensor's last rows are written. */
  readonly saturated: SaturatedCounts;
  readonly gpu: Gpu;
  readonly chunkBytes?: number;
  /** As `Prepared.strict`. */
  readonly strict: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CompressProgress) => void;
  readonly record?: RecordSpan;
}

/** A chunk on its way to the output. */
interface Converted {
  readonly arrays: readonly Uint8Array[];
  /** Bytes of the input that it was. */
  readonly bytes: number;
}

/** Reads, converts and writes every tensor of the plan that is not written apart: while one chunk is on the GPU, the next is read and the last written. */
export async function writeTensors(work: Work): Promise<void> {
  const { checkpoint, plan, writer, written, gpu, signal, record } = work;
  const total = plan.summary.bytesBefore;
  let done = 0;
  for (const tensor of written) {
    await writer.skip(tensor);
    done += tensor.report.bytesBefore;
  }
  const skipped = new Set(written);
  // A caller's own buffers stay where they are.
  const room = { binding: gpu.bindingLimit, memory: gpu.memory.budget - gpu.memory.bytesInUse };
  const apart = new Set(plan.apart);
  const chunks = plan.tensors
    .filter((tensor) => !skipped.has(tensor) && !apart.has(tensor))
    .flatMap((tensor) => chunksOf(tensor, room, work.chunkBytes));
  const scales = new ScalesOfTensor(gpu);
  await runPipeline<Chunk, Uint8Array[], Converted>(
    chunks,
    {
      read: (chunk, stopped) => readChunk(checkpoint, chunk, stopped),
      compute: async (chunk, arrays, stopped) => ({
        arrays: await convert(work, scales, chunk, arrays, stopped),
        bytes: arrays.reduce((sum, array) => sum + array.byteLength, 0),
      }),
      write: async (chunk, { arrays, bytes }) => {
        await writer.write(chunk.tensor, arrays, chunk.rows, chunk.last);
        done += bytes;
        work.onProgress?.({ done, total, tensor: chunk.tensor.name });
      },
    },
    {
      nameOf: (index) => chunks[index]!.tensor.name,
      ...(signal && { signal }),
      ...(record && { record }),
    },
  );
}

/** The arrays of a chunk as the output holds them. @throws NonFiniteError */
async function convert(
  { gpu, strict, saturated }: Work,
  scales: ScalesOfTensor,
  chunk: Chunk,
  arrays: Uint8Array[],
  signal: AbortSignal,
): Promise<readonly Uint8Array[]> {
  const { weight, target, gguf } = chunk.tensor;
  if (weight.kind === 'quantized') checkScales(chunk, weight.format, arrays, weight.shape[1]);
  if (weight.kind !== 'dense') return arrays;
  const [bytes] = arrays as [Uint8Array];
  if (target) {
    if (target.single)
      return scales.take(chunk, await quantizeChunk(gpu, chunk, weight.info, target.single, bytes, signal));
    const quantized = await quantizeChunk(gpu, chunk, weight.info, target, bytes, signal);
    const { name } = chunk.tensor;
    const count = countSaturated(target, weight.info, bytes, quantized);
    if (count > 0) saturated.set(name, (saturated.get(name) ?? 0) + count);
    return quantized;
  }
  checkFinite(chunk, weight.info, bytes, strict);
  return gguf?.toF32 ? [new Uint8Array(decodeToF32(bytes, weight.info.type).buffer)] : arrays;
}

/** Scales that are quantized all together, of the tensor at work: its chunks come one after the other. */
class ScalesOfTensor {
  readonly #gpu: Gpu;
  #parts: Uint8Array[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** The arrays of a chunk, given those of the format before its scales are quantized: these come with the tensor's last rows, all at once. */
  async take({ tensor, last }: Chunk, [codes, scales]: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const format = tensor.target!;
    // A copy: the arrays of a chunk share one buffer.
    this.#parts.push(scales!.slice());
    if (!last) return format.arrays.map((_, i) => (i === 0 ? codes! : new Uint8Array(0)));
    const [rows, k] = tensor.weight.shape as [number, number];
    const all = joined(this.#parts);
    this.#parts = [];
    const arrays = await quantizeScales(this.#gpu, format, all, rows, k, tensor.name);
    const rest = format.arrays.slice(1);
    return [codes!, ...rest.map((array) => arrays[array.name]!.subarray(0, contentBytes(array, rows, k)))];
  }
}
