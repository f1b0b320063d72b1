import { FileError } from '../errors.ts';
import type { ElementType } from '../formats/format.ts';
import { elementCount } from './element-type.ts';
import type { TensorInfo } from './safetensors-header.ts';
import { quote } from './text.ts';
import { MAX_WEIGHT_DEPTH, type WeightNode } from './weight-tree-schema.ts';

/** A file as far as the tree needs it. */
export interface TensorFile {
  readonly name: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** A node with arrays that only a registry of formats can size. */
export type ArraysNode = Extract<WeightNode, { kind: 'quantized' | 'nm' | 'block-sparse' }>;

/**
 * Asked about every `quantized`, `nm` and `block-sparse` node, whose packed arrays only a registry of formats can size: `parts` are its tensors
 * by the format's array names (for `nm`: `indices`, for `block-sparse`: `lists`, and `values` where those are dense). Returns what is wrong, as a clause ("lacks …"), or undefined.
 */
export type CheckWeight = (
  node: ArraysNode,
  parts: ReadonlyMap<string, TensorInfo>,
  weight: string,
) => string | undefined;

const REAL: readonly ElementType[] = ['F32', 'F16', 'BF16', 'F64'];
const PACKED: readonly ElementType[] = ['U8', 'U32', 'F16', 'BF16', 'F32'];
const INDEX: readonly ElementType[] = ['U8', 'U16', 'U32'];

/** Checks one weight of a tree: depth, tensors, types, shapes. Contents of index arrays are checked where they are read. */
export function checkNode(root: WeightNode, weight: string, file: TensorFile, check?: CheckWeight): void {
  const used = new Set<string>();

  const fail = (path: string, cause: string): never => {
    throw new FileError(
      `${file.name}: weight ${quote(weight)}${path && ` (at ${path})`} ${cause}. Compress the model again.`,
    );
  };

  const tensor = (name: string, types: readonly ElementType[], ranks: readonly number[], path: string): TensorInfo => {
    used.add(name);
    const info = file.tensors.get(name);
    if (!info) return fail(path, `needs the tensor ${quote(name)}, which the file lacks`);
    if (!types.includes(info.type)) {
      fail(
        path,
        `needs tensor ${quote(name)} (offset ${info.offset}) as one of ${types.join(', ')}, but it is ${info.type}`,
      );
    }
    if (!ranks.includes(info.shape.length)) {
      fail(
        path,
        `needs tensor ${quote(name)} (offset ${info.offset}) with ${ranks.join(' or ')} dimensions, but its shape is [${info.shape}]`,
      );
    }
    return info;
  };

  const packed = (node: ArraysNode, path: string, parts: [string, TensorInfo][]) => {
    const complaint = check?.(node, new Map(parts), weight);
    if (complaint !== undefined) fail(path, complaint);
  };

  const checkSize = (shape: readonly number[], path: string): void => {
    if (elementCount(shape) === undefined) fail(path, `has the absurd shape [${shape}]`);
  };

  /** The shape of the matrix that `node` stands for. */
  const shapeOf = (node: WeightNode, path: string, depth: number): readonly number[] => {
    if (depth > MAX_WEIGHT_DEPTH) fail(path, `nests more than ${MAX_WEIGHT_DEPTH} levels`);
    const child = (inner: WeightNode, key: string): readonly number[] =>
      shapeOf(inner, path ? `${path}.${key}` : key, depth + 1);
    const expect = (actual: readonly number[], key: string, expected: readonly number[]): void => {
      if (!sameShape(actual, expected)) {
        fail(path, `needs its ${key} with shape [${expected}], but they have [${actual}]`);
      }
    };
    switch (node.kind) {
      case 'dense':
        return tensor(node.data, REAL, [0, 1, 2, 3, 4, 5, 6, 7, 8], path).shape;
      case 'quantized': {
        checkSize(node.shape, path);
        if (node.shape[1] % node.group !== 0) {
          fail(path, `has rows of ${node.shape[1]}, which groups of ${node.group} do not divide`);
        }
        const parts = Object.entries(node.parts);
        packed(
          node,
          path,
          parts.map(([key, name]) => [key, tensor(name, PACKED, [1, 2], path)]),
        );
        return node.shape;
      }
      case 'nm': {
        checkSize(node.shape, path);
        const [rows, columns] = node.shape;
        if (node.n > node.m) fail(path, `keeps ${node.n} of every ${node.m} weights`);
        // Rows may end within a group, and values within a block of their format: both are filled up.
        const least = Math.ceil(columns / node.m) * node.n;
        const values = child(node.values, 'values');
        if (values.length !== 2 || values[0] !== rows || values[1]! < least) {
          fail(path, `needs its values with shape [${rows},${least}] or more columns, but they have [${values}]`);
        }
        const dense = node.values.kind === 'dense' ? file.tensors.get(node.values.data) : undefined;
        packed(node, path, [
          ['indices', tensor(node.indices, INDEX, [1, 2], path)],
          ...(dense ? [['values', dense] as [string, TensorInfo]] : []),
        ]);
        return node.shape;
      }
      case 'block-sparse': {
        checkSize(node.shape, path);
        const [rows, columns] = node.shape;
        const blockRows = Math.ceil(rows / node.block[0]);
        const lists = tensor(node.lists, ['U32'], [1, 2], path);
        const kept = elementCount(lists.shape)! - 2 * blockRows - 1;
        if (kept < 0)
          fail(path, `needs ${2 * blockRows + 1} or more numbers as its lists, but they have [${lists.shape}]`);
        if (kept > blockRows * Math.ceil(columns / node.block[1])) {
          fail(path, `lists ${kept} blocks of [${node.block}], more than a matrix of [${node.shape}] has`);
        }
        const least = node.block[0] * node.block[1];
        const values = child(node.values, 'values');
        if (values.length !== 2 || values[0] !== kept || values[1]! < least) {
          fail(path, `needs its values with shape [${kept},${least}] or more columns, but they have [${values}]`);
        }
        const dense = node.values.kind === 'dense' ? file.tensors.get(node.values.data) : undefined;
        packed(node, path, [['lists', lists], ...(dense ? [['values', dense] as [string, TensorInfo]] : [])]);
        return node.shape;
      }
      case 'low-rank': {
        const left = child(node.left, 'left');
        const right = child(node.right, 'right');
        if (left.length !== 2) fail(path, `needs a matrix on its left, but that has shape [${left}]`);
        if (right.length !== 2) fail(path, `needs a matrix on its right, but that has shape [${right}]`);
        expect(left, 'left factor', [left[0]!, node.rank]);
        expect(right, 'right factor', [node.rank, right[1]!]);
        return [left[0]!, right[1]!];
      }
      case 'sum': {
        const shapes = node.terms.map((term, i) => child(term, `terms[${i}]`));
        for (const [i, shape] of shapes.entries()) expect(shape, `term ${i}`, shapes[0]!);
        return shapes[0]!;
      }
    }
  };

  shapeOf(root, '', 1);
  // Otherwise two different weights would answer to one name.
  if (file.tensors.has(weight) && !used.has(weight)) {
    fail('', 'is also a plain tensor of the file, which its representation does not use');
  }
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, i) => size === b[i]);
