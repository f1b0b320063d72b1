import type { Checkpoint } from '../files/checkpoint.ts';
import { ELEMENT_BYTES, elementCount } from '../files/element-type.ts';
import type { TensorInfo } from '../files/safetensors-read.ts';
import type { WeightNode } from '../files/weight-tree.ts';
import { type ElementType, type Format, valuesOf } from '../formats/format.ts';
import { factorsOf } from '../graph/low-rank.ts';
import { denseFormatOf, findWeight, readValues, type StoredWeight } from './stored-weight.ts';

type Packed = StoredWeight & { readonly kind: 'quantized' };

/**
 * A checkpoint whose packed weights show as dense ones, with zeros for what is gone: in the type of their values, or in F32 where those are quantized. Others are
 * as they were. It closes `source`.
 * @throws FileError
 */
export function unpackedCheckpoint(source: Checkpoint): Checkpoint {
  const packed = new Map<string, Packed>();
  const taken = new Set<string>();
  const dense = (name: string, node: WeightNode): WeightNode => {
    if (node.kind === 'low-rank') {
      const { left, right } = factorsOf(name);
      return { ...node, left: dense(left, node.left), right: dense(right, node.right) };
    }
    if (node.kind !== 'nm' && node.kind !== 'block-sparse') return node;
    const stored = findWeight(source, name) as Packed;
    packed.set(name, stored);
    for (const part of stored.parts) taken.add(part.name);
    return { kind: 'dense', data: name };
  };
  const { tree } = source;
  if (!tree) return source;
  const nodes = [...tree.weights].map(([name, node]) => [name, dense(name, node)] as const);
  if (packed.size === 0) return source;
  const tensors = new Map([...source.tensors].filter(([name]) => !taken.has(name)));
  for (const [name, { format, shape }] of packed) tensors.set(name, infoOf(name, typeOf(format), shape));
  return {
    ...source,
    tensors,
    tree: { ...tree, weights: new Map(nodes.filter(([name, node]) => node.kind !== 'dense' || node.data !== name)) },
    async read(tensor, rowStart = 0, rowCount, signal) {
      const name = typeof tensor === 'string' ? tensor : tensor.name;
      const stored = packed.get(name);
      if (!stored) return source.read(tensor, rowStart, rowCount, signal);
      const rows = rowCount ?? stored.shape[0] - rowStart;
      const values = await readValues(source, stored, rowStart, rows, signal);
      const format = denseFormatOf(typeOf(stored.format))!;
      const { data } = format.reference.quantize(values, rows, stored.shape[1]);
      return data!.slice(0, values.length * ELEMENT_BYTES[typeOf(stored.format)]) as Uint8Array<ArrayBuffer>;
    },
  };
}

const typeOf = (format: Format): ElementType => {
  const { kind, arrays } = valuesOf(format);
  return kind === 'dense' ? arrays[0]!.type : 'F32';
};

const infoOf = (name: string, type: ElementType, shape: readonly number[]): TensorInfo => ({
  ...{ name, type, shape, offset: 0 },
  byteLength: elementCount(shape)! * ELEMENT_BYTES[type],
});
