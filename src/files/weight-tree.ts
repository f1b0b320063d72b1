import * as v from 'valibot';
import { ArgumentError, FileError } from '../errors.ts';
import { MAX_NAME_LENGTH, MAX_TENSORS } from './safetensors-limits.ts';
import { type JsonObject, parseJsonObjectText } from './strict-json.ts';
import { quote } from './text.ts';
import { type CheckWeight, checkNode, type TensorFile } from './weight-tree-check.ts';
import {
  type GraphChanges,
  GraphChangesSchema,
  type WeightNode,
  WeightNodeSchema,
  type WeightTree,
} from './weight-tree-schema.ts';

export type { CheckWeight, TensorFile } from './weight-tree-check.ts';
export type { GraphChanges, WeightNode, WeightTree } from './weight-tree-schema.ts';

/** Key of `__metadata__` that holds the tree. */
export const WEIGHT_TREE_KEY = 'compressa';
/** Version of the tree that this code reads and writes. */
export const WEIGHT_TREE_VERSION = 1;

/**
 * Parses a weight tree and checks every node against the tensors of its file.
 * @param json the string under `__metadata__.compressa`
 * @param file the file's name and tensors
 * @param check what a caller that knows the formats has to say about each node with packed arrays
 * @throws FileError that names the file, the weight and the node.
 */
export function parseWeightTree(json: string, file: TensorFile, check?: CheckWeight): WeightTree {
  const where = `${file.name}: the weight tree in __metadata__.${WEIGHT_TREE_KEY}`;
  const { version, weights, graph, ...rest } = parseJsonObjectText(json, where, { refusePrototypeKeys: true });
  if (version !== WEIGHT_TREE_VERSION) {
    throw new FileError(
      `${where} has version ${quote(String(JSON.stringify(version)))}; this Compressa reads version ${WEIGHT_TREE_VERSION}. Update Compressa.`,
    );
  }
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) throw new FileError(`${where} has the unknown key ${quote(unknown)}. Update Compressa.`);
  if (!isObject(weights)) throw new FileError(`${where} has no object "weights". Compress the model again.`);
  const changes = graph === undefined ? undefined : parseGraphChanges(graph, where);
  const entries = Object.entries(weights);
  if (entries.length > MAX_TENSORS)
    throw new FileError(`${where} has more than ${MAX_TENSORS} weights. Split the model into shards.`);
  const nodes = new Map<string, WeightNode>();
  const owners = new Map<string, string>();
  for (const [name, value] of entries) {
    const node = parseNode(value, name, where);
    checkNode(node, name, file, check);
    for (const tensor of tensorsOf(node)) {
      const owner = owners.get(tensor);
      // Whoever walks the file's tensors would find only one of the two.
      if (owner !== undefined && owner !== name) {
        throw new FileError(
          `${where}: the weights ${quote(owner)} and ${quote(name)} are both made of the tensor ${quote(tensor)}. Compress the model again.`,
        );
      }
      owners.set(tensor, name);
    }
    nodes.set(name, node);
  }
  return { version: WEIGHT_TREE_VERSION, weights: nodes, ...(changes && { graph: changes }) };
}

/** Checks what a file says of a graph besides the config. `where` names the place in messages. @throws FileError */
export function parseGraphChanges(graph: unknown, where: string): GraphChanges {
  if (!isObject(graph)) throw new FileError(`${where} has a "graph" that is no object. Compress the model again.`);
  const parsed = v.safeParse(GraphChangesSchema, graph, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  throw new FileError(
    `${where}: "graph", at ${quote(v.getDotPath(issue) ?? 'graph')}: ${quote(issue.message)}. Compress the model again, or update Compressa.`,
  );
}

/** The JSON for `__metadata__.compressa`. @throws ArgumentError for a tree that would not be read again. */
export function serializeWeightTree(tree: WeightTree): string {
  // As a Map's entries: names like "7" would move in an object.
  const weights = [...tree.weights].map(([name, node]) => `${JSON.stringify(name)}:${JSON.stringify(node)}`);
  const graph = tree.graph === undefined ? '' : `,"graph":${JSON.stringify(tree.graph)}`;
  const json = `{"version":${WEIGHT_TREE_VERSION},"weights":{${weights.join(',')}}${graph}}`;
  try {
    const parsed = parseJsonObjectText(json, 'The weight tree', { refusePrototypeKeys: true });
    for (const [name, value] of Object.entries(parsed.weights as JsonObject)) parseNode(value, name, 'The weight tree');
    if (parsed.graph !== undefined) parseGraphChanges(parsed.graph, 'The weight tree');
  } catch (error) {
    throw new ArgumentError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  return json;
}

/** A weight that runs as a product of two of a lower rank, or as a matrix and such a product. */
export interface FactoredNode {
  readonly base?: WeightNode;
  readonly factors: WeightNode & { readonly kind: 'low-rank' };
}

/** Undefined for every other node, sums of other terms included. */
export function factoredNode(node: WeightNode): FactoredNode | undefined {
  if (node.kind === 'low-rank') return { factors: node };
  if (node.kind !== 'sum' || node.terms.length !== 2) return undefined;
  const [base, factors] = node.terms as [WeightNode, WeightNode];
  const isMatrix = base.kind === 'dense' || base.kind === 'quantized';
  return isMatrix && factors.kind === 'low-rank' ? { base, factors } : undefined;
}

/** Every tensor that a node names, its children's included. */
export function tensorsOf(node: WeightNode): string[] {
  switch (node.kind) {
    case 'dense':
      return [node.data];
    case 'quantized':
      return Object.values(node.parts);
    case 'nm':
      return [...tensorsOf(node.values), node.indices];
    case 'block-sparse':
      return [...tensorsOf(node.values), node.lists];
    case 'low-rank':
      return [...tensorsOf(node.left), ...tensorsOf(node.right)];
    case 'sum':
      return node.terms.flatMap(tensorsOf);
  }
}

function parseNode(value: unknown, name: string, where: string): WeightNode {
  if (name.length === 0 || name.length > MAX_NAME_LENGTH) {
    throw new FileError(
      `${where} has a weight ${quote(name)} with a name of ${name.length} characters. Compress the model again.`,
    );
  }
  const parsed = v.safeParse(WeightNodeSchema, value, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  const at = v.getDotPath(issue);
  throw new FileError(
    `${where}: weight ${quote(name)}${at ? `, at ${quote(at)}` : ''}: ${quote(issue.message)}. ` +
      'Compress the model again, or update Compressa.',
  );
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
