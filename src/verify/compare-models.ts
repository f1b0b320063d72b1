import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import type { Graph, Operation } from '../graph/graph.ts';
import { modelGraph } from '../passes/model-graph.ts';

/** What each of two models runs. */
export interface Graphs {
  readonly original: Graph;
  /** The same object where there is one model. */
  readonly compressed: Graph;
}

/**
 * The graph of each model by its own config.json.
 * @throws ModelError where their vocabularies differ: their probabilities are then of different things
 */
export function graphsOf(original: Checkpoint, compressed: Checkpoint | undefined): Graphs | undefined {
  if (!original.config) return undefined;
  const one = modelGraph(original);
  if (!compressed || (!compressed.config && sameBasis(original, compressed))) return { original: one, compressed: one };
  const other = modelGraph(compressed, compressed.config ?? original.config);
  if (one.vocabulary !== other.vocabulary) {
    throw new ModelError(
      `${original.name} has a vocabulary of ${one.vocabulary} tokens, ${compressed.name} one of ${other.vocabulary}: their probabilities can't be compared.`,
    );
  }
  return { original: one, compressed: other };
}

/** Whether weights of one model mean in the other what they mean in their own: else one of them is rotated. */
export const sameBasis = (original: Checkpoint, compressed: Checkpoint): boolean =>
  JSON.stringify(basisOf(original)) === JSON.stringify(basisOf(compressed));

const basisOf = ({ tree }: Checkpoint) => {
  const { rotation, hadamard } = tree?.graph ?? {};
  return [rotation?.seed, rotation?.block, hadamard?.ffn];
};

/** The graphs of two models as one object where both compute the same, so that their weights can run through it together. */
export function joinGraphs({ original, compressed }: Graphs): Graphs {
  const parts = ({ operations, values, weights, layerRanges }: Graph) =>
    JSON.stringify([operations, Object.entries(values), weights, layerRanges]);
  return parts(original) === parts(compressed) ? { original, compressed: original } : { original, compressed };
}

/** Differences that are named; the rest is counted. */
const MOST_NAMED = 3;

/** The graphs of two models as their configs have them, whatever became of single matrices. */
export function unfactored(original: Checkpoint, compressed: Checkpoint): Graphs | undefined {
  const plain = ({ name, config, tree }: Checkpoint) =>
    ({ name, config, tree: tree && { ...tree, weights: new Map() } }) satisfies Pick<
      Checkpoint,
      'name' | 'config' | 'tree'
    >;
  if (!original.config) return undefined;
  const one = modelGraph(plain(original));
  const other = modelGraph(plain(compressed), compressed.config ?? original.config);
  return joinGraphs({ original: one, compressed: other });
}

/** Where the configs of two models make them compute differently; undefined where they don't. */
export function operationsNote({ original, compressed }: Graphs): string | undefined {
  if (original === compressed) return undefined;
  const others = new Map(compressed.operations.map((operation) => [operation.out, operation]));
  const differing: string[] = [];
  for (const operation of original.operations) {
    const other = others.get(operation.out);
    others.delete(operation.out);
    if (!other) differing.push(`${operation.out} is in the original only`);
    else {
      const fields = differingFields(operation, other);
      if (fields.length > 0) differing.push(`${operation.out} (${operation.op}: ${fields.join(', ')})`);
    }
  }
  for (const name of others.keys()) differing.push(`${name} is in the compressed model only`);
  if (differing.length === 0) return undefined;
  const more = differing.length - MOST_NAMED;
  const named = `${differing.slice(0, MOST_NAMED).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
  return `The config.json of the two models lead to different operations: ${named}. Each model ran its own.`;
}

/** Paths such as `rotary.inverseFrequencies`. */
function differingFields(a: Operation, b: Operation): string[] {
  const flat = (value: object, prefix = ''): [string, string][] =>
    Object.entries(value).flatMap(([key, part]) =>
      typeof part === 'object' && part !== null && !Array.isArray(part)
        ? flat(part, `${prefix}${key}.`)
        : [[`${prefix}${key}`, JSON.stringify(part)] as [string, string]],
    );
  const [mine, other] = [new Map(flat(a)), new Map(flat(b))];
  return [...new Set([...mine.keys(), ...other.keys()])].filter((key) => mine.get(key) !== other.get(key));
}

/** A note where the two come with different tokenizers, byte for byte; undefined where they don't, or where one has none. */
export async function tokenizerNote(original: Checkpoint, compressed: Checkpoint): Promise<string | undefined> {
  const [a, b] = [await original.fileBytes('tokenizer.json'), await compressed.fileBytes('tokenizer.json')];
  if (!a || !b || (a.length === b.length && a.every((byte, i) => byte === b[i]))) return undefined;
  return `The tokenizer.json of the two models differ (${a.length} and ${b.length} bytes): the text was cut up by the original's.`;
}
