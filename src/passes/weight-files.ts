import type { ByteSink } from '../files/sink.ts';
import { serializeWeightTree, WEIGHT_TREE_KEY } from '../files/weight-tree.ts';
import { containerOutput } from './containers.ts';
import type { PlannedTensor } from './plan.ts';
import type { Prepared } from './prepare.ts';
import type { Shard } from './shards.ts';
import { ggufOutput, safetensorsOutput, type TensorOutput } from './tensor-output.ts';

/** A file of the output that holds weights. */
export interface WeightFile extends Shard {
  /** Begins it: the header is written. */
  begin(sink: ByteSink): Promise<TensorOutput>;
}

/** The files that hold the weights of a prepared compression, in their order. The weight tree is in the first. */
export function weightFilesOf({
  checkpoint,
  plan,
  shards,
  gguf,
  contained,
}: Pick<Prepared, 'checkpoint' | 'plan' | 'shards' | 'gguf' | 'contained'>): WeightFile[] {
  const tree: Record<string, string> =
    plan.tree.weights.size > 0 || plan.tree.graph ? { [WEIGHT_TREE_KEY]: serializeWeightTree(plan.tree) } : {};
  const { [WEIGHT_TREE_KEY]: _, ...metadata } = checkpoint.metadata;
  const begin = async (sink: ByteSink, tensors: readonly PlannedTensor[], first: boolean): Promise<TensorOutput> => {
    if (gguf) return ggufOutput(sink, tensors, gguf.entries, gguf.target);
    if (!contained) return safetensorsOutput(sink, tensors, first ? { ...metadata, ...tree } : metadata);
    return containerOutput(
      await safetensorsOutput(sink, tensors, { ...metadata, ...contained.container.metadata }),
      contained,
    );
  };
  return shards.map(({ file, tensors }, i) => ({ file, tensors, begin: (sink) => begin(sink, tensors, i === 0) }));
}

/**
 * The files one after the other: each begins with its first tensor and is complete when the next begins.
 * @param open gives the sink of a file
 */
export function filesOutput(files: readonly WeightFile[], open: (file: string) => Promise<ByteSink>): TensorOutput {
  const homes = new Map(files.flatMap((file, i) => file.tensors.map((tensor) => [tensor, i] as const)));
  let at = -1;
  let current: TensorOutput | undefined;
  const moveTo = async (index: number): Promise<TensorOutput> => {
    while (at < index) {
      await current?.finish();
      const file = files[++at]!;
      current = await file.begin(await open(file.file));
    }
    return current!;
  };
  const homeOf = (tensor: PlannedTensor): Promise<TensorOutput> => moveTo(homes.get(tensor)!);
  return {
    async write(tensor, ...rest) {
      await (await homeOf(tensor)).write(tensor, ...rest);
    },
    async skip(tensor) {
      await (await homeOf(tensor)).skip(tensor);
    },
    async finish() {
      await (await moveTo(files.length - 1)).finish();
    },
  };
}
