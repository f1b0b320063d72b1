import type { Graph } from '../graph/graph.ts';

/** A kind of model: knows its `config.json` and builds its graph. */
export interface Family {
  /** What `architectures` in `config.json` says. */
  readonly architectures: readonly string[];
  /** `file` names the config in error messages. Throws `ModelError`. */
  build(config: unknown, file: string): Graph;
}
