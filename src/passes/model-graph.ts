import { ModelError } from '../errors.ts';
import type { Checkpoint } from '../files/checkpoint.ts';
import { factoredNode } from '../files/weight-tree.ts';
import type { Graph } from '../graph/graph.ts';
import { makesInner, withInnerHadamard } from '../graph/inner-hadamard.ts';
import { withLowRank } from '../graph/low-rank.ts';
import { MAX_HADAMARD_BLOCK } from '../kernels/hadamard.ts';
import { graphOf } from '../models/families.ts';

/**
 * The graph of an open model: what its config says, and what its weight tree adds. `config` stands for another file's where it has none.
 * @throws ModelError as `graphOf`, and where the two do not fit
 */
export function modelGraph(
  { name, tree, ...own }: Pick<Checkpoint, 'name' | 'config' | 'tree'>,
  config = own.config,
): Graph {
  const changes = tree?.graph;
  // Norms of a rotated model lie in its head, so that no embedding can stand for it.
  const untied = changes?.rotation && { tie_word_embeddings: false };
  const plain = graphOf(config && { ...config, ...untied }, `${name}/config.json`);
  const factored = [...(tree?.weights ?? [])].flatMap(([weight, node]) => {
    const found = factoredNode(node);
    return found ? [[weight, { rank: found.factors.rank, base: found.base !== undefined }] as const] : [];
  });
  const graph = factored.length === 0 ? plain : withLowRank(plain, new Map(factored));
  const block = changes?.hadamard?.ffn;
  if (block === undefined) return graph;
  if (block > MAX_HADAMARD_BLOCK) {
    throw new ModelError(
      `${name}: its weight tree asks for Hadamard transforms of ${block}; at most ${MAX_HADAMARD_BLOCK} are computed. Compress the model again.`,
    );
  }
  for (const operation of graph.operations.filter(makesInner)) {
    const width = graph.values[operation.out]!;
    if (width % block === 0) continue;
    throw new ModelError(
      `${name}: its weight tree asks for Hadamard transforms of ${block}, which do not divide the ${width} values of ${operation.out}. Use the config.json that belongs to it.`,
    );
  }
  return withInnerHadamard(graph, block);
}
