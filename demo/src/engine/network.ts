import { type Checkpoint, type Graph, modelGraph, openCheckpoint } from '../../../src/index.ts';
import { allWeightsOf, checkWeight, matrixShape } from '../../../src/passes/stored-weight.ts';
import type { ModelInput } from './model-source.ts';

/** A tensor of the model, from headers. */
export interface TensorEntry {
  readonly name: string;
  /** As a matrix: a vector is one row. */
  readonly rows: number;
  readonly k: number;
  readonly shape: readonly number[];
  /** In the file. */
  readonly bytes: number;
  /** How the file holds it: a format, or an element type in lower case. */
  readonly format: string;
  /** Undefined: it belongs to no layer. */
  readonly layer: number | undefined;
  readonly role: string;
  /** Whether the page can show its weights, and if not, why. */
  readonly problem: string | undefined;
}

/** An open model. */
export interface Network {
  readonly input: ModelInput;
  readonly checkpoint: Checkpoint;
  readonly tensors: readonly TensorEntry[];
  /** Undefined where the files do not say how to run it; `problem` says why. */
  readonly graph: Graph | undefined;
  readonly problem: string | undefined;
  readonly weights: number;
  readonly bytes: number;
}

const FLOATS = new Set(['F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2']);

const layerOf = (name: string): number | undefined => {
  const digits = /(?:^|\.)(?:layers|blk|h|block|blocks|layer)\.(\d+)\./.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
};

/** @throws FileError, ModelError that name file and tensor */
export async function openNetwork(input: ModelInput, signal?: AbortSignal): Promise<Network> {
  const checkpoint = await openCheckpoint(input.open(), { checkWeight, ...(signal && { signal }) });
  try {
    const { graph, problem } = graphOrProblem(checkpoint);
    const roles = new Map(graph?.weights.map((weight) => [weight.name, weight]));
    const tensors: TensorEntry[] = [];
    for (const [name, weight] of allWeightsOf(checkpoint)) {
      const known = roles.get(name);
      const bytes =
        weight.kind === 'quantized'
          ? weight.parts.reduce((sum, part) => sum + part.byteLength, 0)
          : weight.info.byteLength;
      const { rows, k } = matrixShape(weight.shape);
      tensors.push({
        ...{
          name,
          rows,
          k,
          bytes,
          shape: weight.shape,
          layer: known?.layer ?? layerOf(name),
          role: known?.role ?? 'tensor',
        },
        format:
          weight.kind === 'quantized'
            ? weight.format.name
            : weight.kind === 'opaque'
              ? weight.type
              : weight.info.type.toLowerCase(),
        problem: problemOf(weight, rows * k),
      });
    }
    return {
      ...{ input, checkpoint, tensors, graph, problem },
      weights: tensors.reduce((sum, { rows, k }) => sum + rows * k, 0),
      bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

type Weight = ReturnType<typeof allWeightsOf> extends Map<string, infer W> ? W : never;

function problemOf(weight: Weight, count: number): string | undefined {
  if (weight.kind === 'opaque') return `It is stored as ${weight.type}, which this page can list but not read.`;
  if (weight.kind === 'dense' && !FLOATS.has(weight.info.type)) return `It holds ${weight.info.type}, no weights.`;
  return count === 0 ? 'It is empty.' : undefined;
}

function graphOrProblem(checkpoint: Checkpoint): {
  readonly graph: Graph | undefined;
  readonly problem: string | undefined;
} {
  if (!checkpoint.config) {
    const problem = checkpoint.configProblem ?? 'There is no config.json, so nothing says how to run it.';
    return { graph: undefined, problem };
  }
  try {
    return { graph: modelGraph(checkpoint), problem: undefined };
  } catch (error) {
    return { graph: undefined, problem: error instanceof Error ? error.message : String(error) };
  }
}
