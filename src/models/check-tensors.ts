import { ModelError } from '../errors.ts';
import { quote } from '../files/text.ts';
import type { Graph } from '../graph/graph.ts';
import { nearest } from '../suggest.ts';

/**
 * Throws `ModelError` unless every weight of the graph is among `infos` with the shape that the graph expects.
 * Tensors that the graph does not use are nobody's concern here. `file` names the checkpoint in messages.
 */
export function checkTensors(
  graph: Graph,
  infos: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  file = 'The checkpoint',
): void {
  const wanted = new Set(graph.weights.map((weight) => weight.name));
  for (const { name, shape } of graph.weights) {
    const info = infos.get(name);
    if (!info) {
      // A name that is wanted itself is no misspelling of another.
      const spare = [...infos.keys()].filter((candidate) => !wanted.has(candidate));
      const remedy = name === 'lm_head.weight' ? TIED_HEAD : 'Is a part of the checkpoint missing?';
      const near = nearest(name, spare);
      const hint = near === undefined ? '' : ` Did you mean ${quote(near)}?`;
      throw new ModelError(
        `${file} has no tensor "${name}" (${shapeText(shape)}), which its config asks for.${hint} ${remedy}`,
      );
    }
    if (shape.length !== info.shape.length || shape.some((length, axis) => length !== info.shape[axis])) {
      throw new ModelError(
        `${file}: tensor "${name}" is ${shapeText(info.shape)} but its config asks for ${shapeText(shape)}. ` +
          'Use the config.json that belongs to this checkpoint.',
      );
    }
  }
}

const TIED_HEAD = 'If the head shares the embedding, config.json must say "tie_word_embeddings": true.';

const shapeText = (shape: readonly number[]): string => `[${shape.join(', ')}]`;
