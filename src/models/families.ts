import { ModelError } from '../errors.ts';
import type { Graph } from '../graph/graph.ts';
import { suggest } from '../suggest.ts';
import type { Family } from './family.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { qwen2, qwen3 } from './qwen.ts';
import { smollm3 } from './smollm3.ts';

export type { Family } from './family.ts';

/** Every family that Compressa runs. A new one is a file and a line here. */
export const families: readonly Family[] = [llama, mistral, qwen2, qwen3, smollm3, gemma, gemma2, gemma3];

/**
 * The graph of the model that a parsed `config.json` describes. `fileName` names it in messages. Throws `ModelError`
 * for an architecture that no family knows, or a config that makes no sense.
 */
export function graphOf(config: unknown, fileName: string): Graph {
  const named = architecturesIn(config);
  const supported = families.flatMap((family) => family.architectures);
  for (const name of named) {
    const family = families.find((candidate) => candidate.architectures.includes(name));
    if (family) return family.build(config, fileName);
  }
  const problem =
    named.length === 0
      ? '"architectures" is missing or names nothing'
      : `architecture "${named[0]!.slice(0, 100)}" is not supported`;
  const hint = named.length === 0 ? '' : suggest(named[0]!.slice(0, 100), supported);
  throw new ModelError(
    `${fileName}: ${problem}.${hint} Supported: ${supported.join(', ')}. Matrices of other models can still be ` +
      'compressed: give the .safetensors file itself instead of the folder.',
  );
}

function architecturesIn(config: unknown): string[] {
  if (typeof config !== 'object' || config === null || !('architectures' in config)) return [];
  const { architectures } = config;
  return Array.isArray(architectures) ? architectures.filter((name) => typeof name === 'string') : [];
}
