import {
  type Checkpoint,
  findScaleFoldings,
  foldScales,
  type Graph,
  type ModelFiles,
  memoryFolder,
  memorySink,
  writeSafetensors,
} from 'compressa';

/** Values of a weight by its name. */
export type Weights = (name: string) => Float32Array;

/** How much larger some channels of every norm are made. */
export const OUTLIER = 64;
const isOutlier = (channel: number) => channel % 85 === 3;

/**
 * The same function, but with a few activations {@link OUTLIER} times as large behind every norm, as large models have them, and the columns that read
 * them as much smaller.
 */
export function withOutliers(graph: Graph, weights: Weights): Weights {
  const changed = new Map<string, Float32Array>();
  const now: Weights = (name) => changed.get(name) ?? weights(name);
  for (const folding of findScaleFoldings(graph)) {
    if (folding.into.kind !== 'norm') continue;
    const factors = Float32Array.from({ length: folding.channels }, (_, at) => (isOutlier(at) ? 1 / OUTLIER : 1));
    for (const [name, values] of foldScales(folding, factors, now)) changed.set(name, values);
  }
  return now;
}

/** A model folder with other weights, in f32. */
export async function folderOf(original: Checkpoint, graph: Graph, weights: Weights): Promise<ModelFiles> {
  const sink = memorySink();
  const specs = graph.weights.map(({ name, shape }) => ({ name, shape, type: 'F32' as const }));
  const writer = await writeSafetensors(sink, specs);
  for (const { name } of specs) {
    const { buffer, byteOffset, byteLength } = weights(name);
    await writer.write(name, new Uint8Array(buffer, byteOffset, byteLength));
  }
  await writer.finish();
  return memoryFolder('changed', { 'config.json': JSON.stringify(original.config), 'model.safetensors': sink.bytes() });
}
