import { quote } from '../files/text.ts';
import type { Graph } from '../graph/graph.ts';
import { byName } from './stored-weight.ts';

/** Buffers that older checkpoints saved with their weights, and the copy of an embedding that is the head, too. */
const HARMLESS = /(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|lm_head\.weight)$/;

const LAYER = /(^|\.)layers\.(\d+)\./;

/** What to say about tensors of a model that its graph does not read: probably the config is not theirs. */
export function unusedNotices(names: Iterable<string>, graph: Graph): string[] {
  const used = new Set(graph.weights.map(({ name }) => name));
  const unused = [...names].filter((name) => !used.has(name) && !HARMLESS.test(name)).sort(byName);
  const beyond = unused.find((name) => Number(LAYER.exec(name)?.[2] ?? -1) >= graph.layers);
  const example = beyond ?? unused[0];
  if (example === undefined) return [];
  const many = unused.length === 1 ? '1 tensor is' : `${unused.length} tensors are`;
  const question =
    beyond === undefined
      ? 'does config.json belong to this checkpoint?'
      : `is num_hidden_layers (${graph.layers}) in config.json right?`;
  return [`${many} used by nothing in the config, such as ${quote(example)}: ${question}`];
}
