import { ArgumentError, FormatError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { bitsAndBytes } from '../files/containers/bitsandbytes.ts';
import { compressedTensors } from '../files/containers/compressed-tensors.ts';
import { type ContainedMatrix, type Container, moduleOf } from '../files/containers/container.ts';
import { mlx } from '../files/containers/mlx.ts';
import { byteLengthOf } from '../files/safetensors-write.ts';
import { quote } from '../files/text.ts';
import { factoredNode } from '../files/weight-tree.ts';
import type { ElementType, HostArrays } from '../formats/format.ts';
import { suggest } from '../suggest.ts';
import { joined } from './joined.ts';
import { type Plan, type PlannedTensor, sizesOf } from './plan.ts';
import type { TensorOutput } from './tensor-output.ts';

/** Ways of storing quantized matrices that other stacks load. */
export const CONTAINERS = ['compressed-tensors', 'mlx', 'bitsandbytes'] as const;
/** One of them. */
export type ContainerName = (typeof CONTAINERS)[number];

const BY_NAME: Readonly<Record<ContainerName, Container>> = {
  'compressed-tensors': compressedTensors,
  mlx,
  bitsandbytes: bitsAndBytes,
};

/** @throws ArgumentError that says which there are */
export function containerByName(name: string): Container {
  const known = CONTAINERS.find((container) => container === name);
  if (known) return BY_NAME[known];
  throw new ArgumentError(
    `There is no container "${name}".${suggest(name, CONTAINERS)} Known: ${CONTAINERS.join(', ')}.`,
  );
}

/** A plan whose matrices another stack's container holds. */
export interface ContainedPlan {
  readonly container: Container;
  readonly plan: Plan;
  readonly matrices: ReadonlyMap<PlannedTensor, ContainedMatrix>;
  /** The whole of config.json. */
  readonly config: Uint8Array;
}

/**
 * Gives the matrices of a plan the tensors that a container has for them; there is no weight tree then.
 * @throws FormatError that names a matrix which it can't hold; ArgumentError where there are none, or no config.json
 */
export function placeInContainer(container: Container, plan: Plan, checkpoint: Checkpoint): ContainedPlan {
  if (!checkpoint.config) {
    throw new ArgumentError(`${checkpoint.name}: only a model, with its config.json, goes into ${container.name}.`);
  }
  if (plan.tree.graph?.hadamard !== undefined) {
    throw new ArgumentError(
      `${container.name} can't say that inputs of matrices are rotated as the model runs: rotate without the inner activations, or leave the container out.`,
    );
  }
  const matrices = new Map<PlannedTensor, ContainedMatrix>();
  const placed = new Map<PlannedTensor, PlannedTensor>();
  const kept: string[] = [];
  const factored = [...plan.tree.weights].find(([, node]) => factoredNode(node));
  if (factored) {
    throw new FormatError(
      `${checkpoint.name}: ${quote(factored[0])} is made of factors, which ${container.name} can't say. Leave the container out.`,
    );
  }
  let headIsKept = true;
  for (const tensor of plan.tensors) {
    const { name, report, weight, target } = tensor;
    const format = weight.kind === 'quantized' ? weight.format : target;
    if (format?.kind !== 'block') {
      if (report.role === 'linear') kept.push(moduleOf(name));
      placed.set(tensor, tensor);
      continue;
    }
    const [rows, k] = weight.shape as [number, number];
    const problem = problemOf(container, tensor);
    if (problem !== undefined) {
      throw new FormatError(
        `Tensor ${quote(name)} cannot be ${format.name} in ${container.name}: ${problem}. Choose another format (${container.suggestion}, say), or keep this tensor.`,
      );
    }
    if (report.role === 'head') headIsKept = false;
    const type = weight.kind === 'dense' ? weight.info.type : typeOfRest(plan);
    const matrix: ContainedMatrix = { name, format, type, rows, k };
    const specs = container.tensors(matrix);
    const bytesAfter = specs.reduce((sum, spec) => sum + byteLengthOf(spec), 0);
    const moved = { ...tensor, specs, report: { ...report, bytesAfter } };
    placed.set(tensor, moved);
    matrices.set(moved, matrix);
  }
  if (matrices.size === 0) throw new ArgumentError(`${container.name} holds quantized matrices: the plan has none.`);
  const reports = new Map([...placed].map(([before, after]) => [before.report, after.report]));
  const summary = { ...plan.summary, ...sizesOf(plan.summary.tensors.map((report) => reports.get(report)!)) };
  const ignored = headIsKept ? [...kept, 'lm_head'] : kept;
  const config = { ...checkpoint.config, ...container.config([...matrices.values()], ignored) };
  return {
    container,
    matrices,
    config: new TextEncoder().encode(`${JSON.stringify(config, undefined, 2)}\n`),
    plan: {
      summary,
      tensors: plan.tensors.map((tensor) => placed.get(tensor)!),
      apart: plan.apart.map((tensor) => placed.get(tensor)!),
      calibrated: plan.calibrated,
      tree: { version: 1, weights: new Map() },
    },
  };
}

function problemOf(container: Container, { name, report, weight, target }: PlannedTensor): string | undefined {
  const format = weight.kind === 'quantized' ? weight.format : target!;
  if (!name.endsWith('.weight')) return 'its name does not end in .weight';
  if (report.role === 'embedding' && !container.embeddings) return 'embeddings stay as they are there';
  if (report.role === 'head' && !container.heads) return 'heads stay as they are there';
  return container.problem(format);
}

/** The type of a model that is compressed already: that of its embedding. */
function typeOfRest({ tensors }: Plan): ElementType {
  const embedding = tensors.find(({ report, weight }) => report.role === 'embedding' && weight.kind === 'dense');
  return embedding?.weight.kind === 'dense' ? embedding.weight.info.type : 'F16';
}

/** Writes the arrays of matrices as the tensors of a container, to an output that takes them as they are. */
export function containerOutput(
  inner: TensorOutput,
  { container, matrices }: Pick<ContainedPlan, 'container' | 'matrices'>,
): TensorOutput {
  /** The arrays besides the codes, of the tensor at work: small beside them. */
  let held: (readonly Uint8Array[])[] = [];
  return {
    ...inner,
    async write(tensor, arrays, rows, last) {
      const matrix = matrices.get(tensor);
      if (!matrix) return inner.write(tensor, arrays, rows, last);
      const { format, k } = matrix;
      held.push(arrays.slice(1).map((array) => array.slice()));
      const codes = container.codes(format, arrays[0]!, rows, k);
      if (!last) return inner.write(tensor, [codes], rows, false);
      const whole: HostArrays = {};
      for (const [i, { name }] of format.arrays.slice(1).entries()) whole[name] = joined(held.map((part) => part[i]!));
      held = [];
      await inner.write(tensor, [codes, ...container.rest(matrix, whole)], rows, true);
    },
  };
}
