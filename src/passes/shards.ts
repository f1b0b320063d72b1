import { ArgumentError } from '../errors.ts';
import { MAX_SHARDS } from '../files/checkpoint.ts';
import { byteLengthOf } from '../files/safetensors-write.ts';
import type { PlannedTensor } from './plan.ts';

/** Bytes of tensors in a file of weights, where nothing else is asked for: as Hugging Face cuts them. */
export const SHARD_BYTES = 5_000_000_000;

export const WEIGHTS_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** A file of weights and the tensors in it. */
export interface Shard {
  readonly file: string;
  readonly tensors: readonly PlannedTensor[];
}

/** Bytes that a tensor takes in a safetensors file, all its arrays together. */
const bytesOf = ({ specs }: PlannedTensor): number => specs.reduce((sum, spec) => sum + byteLengthOf(spec), 0);

/**
 * Cuts the tensors of a plan, in their order, into files of at most `shardBytes` bytes of data; a tensor is never cut, so one that is
 * larger has a file of its own. Where one file takes all, it is called `model.safetensors`.
 * @throws ArgumentError where that makes more files than are read
 */
export function shardsOf(tensors: readonly PlannedTensor[], shardBytes = SHARD_BYTES): Shard[] {
  if (!(shardBytes >= 1))
    throw new ArgumentError(`Files of ${shardBytes} bytes can't be written. Give a size above 0.`);
  const groups: PlannedTensor[][] = [[]];
  let held = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (held > 0 && bytes > 0 && held + bytes > shardBytes) {
      groups.push([]);
      held = 0;
    }
    groups.at(-1)!.push(tensor);
    held += bytes;
  }
  if (groups.length > MAX_SHARDS) {
    throw new ArgumentError(
      `Files of ${shardBytes} bytes would be ${groups.length} in all; at most ${MAX_SHARDS} are read. Give a larger size.`,
    );
  }
  if (groups.length === 1) return [{ file: WEIGHTS_FILE, tensors }];
  const number = (i: number) => String(i).padStart(5, '0');
  return groups.map((group, i) => ({
    file: `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`,
    tensors: group,
  }));
}

/** The index of shards: which file holds each tensor. */
export function shardIndex(shards: readonly Shard[]): Uint8Array {
  const total = shards.reduce((sum, { tensors }) => sum + tensors.reduce((part, t) => part + bytesOf(t), 0), 0);
  // Text by hand: an object would reorder names like "7".
  const map = shards.flatMap(({ file, tensors }) =>
    tensors.flatMap(({ specs }) => specs.map(({ name }) => `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`)),
  );
  return new TextEncoder().encode(
    `{\n  "metadata": {\n    "total_size": ${total}\n  },\n  "weight_map": {\n${map.join(',\n')}\n  }\n}\n`,
  );
}
