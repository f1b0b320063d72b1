import type { GgufEntry } from '../files/gguf/entries.ts';
import { ggmlTypeByName } from '../files/gguf/ggml-types.ts';
import { ROPE_FACTORS } from '../files/gguf/tensor-names.ts';
import { writeGguf } from '../files/gguf/write.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import type { ByteSink } from '../files/sink.ts';
import type { Format, HostArrays } from '../formats/format.ts';
import { arrayBytes } from '../formats/layout.ts';
import type { GgufTarget } from './gguf-plan.ts';
import type { PlannedTensor } from './plan.ts';

/** Takes the tensors of a plan, in its order, some rows at a time. */
export interface TensorOutput {
  /**
   * The next rows of a tensor.
   * @param arrays as its format lays them out, without padding; one in all where the bytes are taken as they are
   * @param last whether these rows end the tensor
   */
  write(tensor: PlannedTensor, arrays: readonly Uint8Array[], rows: number, last: boolean): Promise<void>;
  /** Passes over a tensor that an earlier run has written. */
  skip(tensor: PlannedTensor): Promise<void>;
  /** Completes the file. */
  finish(): Promise<void>;
}

/** A safetensors file: an array after the other. */
export async function safetensorsOutput(
  sink: ByteSink,
  tensors: readonly PlannedTensor[],
  metadata: Readonly<Record<string, string>>,
): Promise<TensorOutput> {
  const writer = await writeSafetensors(
    sink,
    tensors.flatMap((tensor) => tensor.specs),
    metadata,
  );
  /** Arrays that follow the codes in the file, of the tensor at work: small beside them. */
  let held: (readonly Uint8Array[])[] = [];
  return {
    async write({ specs }, arrays, _rows, last) {
      await writer.write(specs[0]!.name, arrays[0]!);
      // Copies: the arrays of a chunk share one buffer, and its codes would stay with them.
      if (arrays.length > 1) held.push(arrays.slice(1).map((array) => array.slice()));
      if (!last) return;
      for (let array = 1; array < specs.length; array++) {
        for (const part of held) await writer.write(specs[array]!.name, part[array - 1]!);
      }
      held = [];
    },
    async skip({ specs }) {
      for (const { name } of specs) await writer.skip(name);
    },
    finish: () => writer.finish(),
  };
}

/** A GGUF file: quantized rows in the blocks of ggml. */
export async function ggufOutput(
  sink: ByteSink,
  tensors: readonly PlannedTensor[],
  entries: readonly GgufEntry[],
  { config }: GgufTarget,
): Promise<TensorOutput> {
  const specs = tensors.map((tensor) => tensor.gguf!.spec);
  const { ropeFactors } = config;
  if (ropeFactors) {
    specs.unshift({ name: ROPE_FACTORS, type: ggmlTypeByName('f32')!, shape: [ropeFactors.length] });
  }
  const writer = await writeGguf(sink, entries, specs);
  if (ropeFactors) await writer.write(ROPE_FACTORS, new Uint8Array(ropeFactors.buffer));
  return {
    async write(tensor, arrays, rows) {
      const { name } = tensor.gguf!.spec;
      const format = tensor.weight.kind === 'quantized' ? tensor.weight.format : tensor.target;
      const bytes = format?.kind === 'block' ? blocksOf(format, arrays, rows, tensor.weight.shape[1]!) : arrays[0]!;
      await writer.write(name, bytes);
    },
    skip: (tensor) => writer.skip(tensor.gguf!.spec.name),
    finish: () => writer.finish(),
  };
}

function blocksOf(format: Format, arrays: readonly Uint8Array[], rows: number, k: number): Uint8Array {
  const host: HostArrays = {};
  for (const [i, array] of format.arrays.entries()) {
    const padded = new Uint8Array(arrayBytes(array, rows, k));
    padded.set(arrays[i]!);
    host[array.name] = padded;
  }
  return format.codecs.ggml!.encode(host, rows, k);
}
