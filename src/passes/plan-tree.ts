import { factoredNode, type WeightNode, type WeightTree } from '../files/weight-tree.ts';
import type { Format } from '../formats/format.ts';
import { groupOf } from '../formats/layout.ts';
import { factorsOf } from '../graph/low-rank.ts';
import { nodeOfFactors } from './factorize/plan-factors.ts';
import type { PlannedTensor } from './plan.ts';

/** The block format in which the output holds a tensor. */
export const blockFormat = ({ weight, target }: PlannedTensor): Format | undefined => {
  const format = weight.kind === 'quantized' ? weight.format : target;
  return format?.kind === 'block' ? format : undefined;
};

/** @param tensors of its arrays, in their order */
function nodeOf(format: Format, shape: readonly [number, number], tensors: readonly string[]): WeightNode {
  const { packed, blocks } = format;
  if (blocks) {
    const { values, layout, kept } = blocks;
    return {
      ...{ kind: 'block-sparse', block: [layout.block.rows, layout.block.columns], shape },
      ...{ values: nodeOf(values, [kept, layout.slots], tensors), lists: tensors.at(-1)! },
    };
  }
  if (packed) {
    const { pattern, values } = packed;
    const of = {
      ...{ n: pattern.keep, m: pattern.of, vector: pattern.rows ?? 1, shape },
      values: nodeOf(values, [shape[0], packed.layout(...shape).slots], tensors),
    };
    return { kind: 'nm', ...of, indices: tensors.at(-1)! };
  }
  if (format.kind === 'dense') return { kind: 'dense', data: tensors[0]! };
  const parts = Object.fromEntries(format.arrays.map((array, i) => [array.name, tensors[i]!]));
  return { kind: 'quantized', format: format.name, group: groupOf(format, shape[1]), shape, parts };
}

/** What the matrices of an output are made of; `before`: of its source, whose factors are planned one by one. */
export function treeOf(tensors: readonly PlannedTensor[], before: WeightTree | undefined): WeightTree {
  const weights = new Map<string, WeightNode>();
  for (const tensor of tensors) {
    const { factors } = tensor;
    if (factors) {
      const [rows, columns] = tensor.weight.shape as readonly [number, number];
      weights.set(tensor.name, nodeOfFactors(tensor.name, factors, rows, columns));
      continue;
    }
    const format = blockFormat(tensor);
    if (!format || tensor.gguf) continue;
    const names = tensor.specs.map(({ name }) => name);
    weights.set(tensor.name, nodeOf(format, tensor.weight.shape as readonly [number, number], names));
  }
  // Factors are planned by themselves, and belong together again.
  for (const [name, node] of before?.weights ?? []) {
    const factored = factoredNode(node);
    if (!factored) continue;
    const names = factorsOf(name);
    const take = (part: string): WeightNode => {
      const stored = weights.get(part) ?? { kind: 'dense', data: part };
      weights.delete(part);
      return stored;
    };
    const { rank } = factored.factors;
    const product: WeightNode = { kind: 'low-rank', rank, left: take(names.left), right: take(names.right) };
    weights.set(name, factored.base ? { kind: 'sum', terms: [take(names.base), product] } : product);
  }
  return { version: 1, weights, ...(before?.graph && { graph: before.graph }) };
}
