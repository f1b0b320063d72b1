import { graphOf, memorySink, writeSafetensors } from 'compressa';
import { random } from './random.ts';

/** A safetensors file of random f32 weights for a config: large enough in queries and keys that positions matter. */
export async function randomModel(config: object): Promise<Uint8Array> {
  const next = random(11);
  const graph = graphOf(config, 'config.json');
  const sink = memorySink();
  const writer = await writeSafetensors(
    sink,
    graph.weights.map(({ name, shape }) => ({ name, type: 'F32' as const, shape })),
  );
  for (const { name, shape, role } of graph.weights) {
    // Gemma's are stored as the distance from 1.
    const center = role === 'norm' && !/Gemma/.test(JSON.stringify(config)) ? 1 : 0;
    const width = /[qk]_proj/.test(name) ? 0.6 : 0.3;
    const values = Float32Array.from(
      { length: shape.reduce((product, size) => product * size, 1) },
      () => center + width * (next() - 0.5),
    );
    await writer.write(name, new Uint8Array(values.buffer));
  }
  await writer.finish();
  return sink.bytes();
}
