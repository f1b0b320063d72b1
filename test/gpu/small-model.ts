import { type ModelFiles, memoryFolder } from '../../src/files/model-files.ts';
import { writeSafetensors } from '../../src/files/safetensors-write.ts';
import { memorySink } from '../../src/files/sink.ts';
import type { Graph } from '../../src/graph/graph.ts';
import { graphOf } from '../../src/models/families.ts';
import { randomSource } from './random.ts';
import { randomValues } from './random-weights.ts';

/** A model of two layers that runs in a blink: rows are multiples of 32. */
export const smallConfig = (family = 'Llama', more: object = {}) => ({
  architectures: [`${family}ForCausalLM`],
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  vocab_size: 101,
  max_position_embeddings: 64,
  query_pre_attn_scalar: 16,
  ...more,
});

export const WINDOWS = 5;
export const TOKENS = 24;

/** Random tokens. */
export function windowsOf(vocabulary: number, seed = 3): Uint32Array[] {
  const random = randomSource(seed);
  return Array.from({ length: WINDOWS }, () =>
    Uint32Array.from({ length: TOKENS }, () => Math.floor(vocabulary * random())),
  );
}

/** A folder of a model with random weights in f32, which `change` may change. */
export async function modelFolder(
  settings: object,
  change: (name: string, values: Float32Array) => void = () => {},
): Promise<{ graph: Graph; values: (name: string) => Float32Array; open: () => ModelFiles }> {
  const graph = graphOf(settings, 'config.json');
  const values = randomValues(graph, 7);
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) {
    change(name, values(name));
    await writer.write(name, new Uint8Array(values(name).buffer));
  }
  await writer.finish();
  const files = { 'config.json': JSON.stringify(settings), 'model.safetensors': sink.bytes() };
  return { graph, values, open: () => memoryFolder('random', files) };
}
