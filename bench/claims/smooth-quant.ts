import { readFileSync } from 'node:fs';
import {
  type Checkpoint,
  calibrate,
  compress,
  dequantizedWeights,
  findScaleFoldings,
  foldScales,
  type Gpu,
  type Graph,
  graphOf,
  type ModelFiles,
  memoryFolder,
  memoryOutput,
  memorySink,
  memorySource,
  nodeFolder,
  openCheckpoint,
  ReferenceRun,
  readStatistics,
  smooth,
  verify,
  writeSafetensors,
} from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';

type Weights = (name: string) => Float32Array;

const tokensOf = (file: string): Uint16Array => {
  const bytes = readFileSync(`${SAMPLE_MODEL}/${file}.tokens.u16`);
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
};

/** Tokens whose logits are compared in f64. */
const TOKENS = 48;
/** How much larger some channels of every norm are made, and which. */
const OUTLIER = 64;
const isOutlier = (channel: number) => channel % 85 === 3;

/** What SmoothQuant does to the sample model, and to the same model with outliers in its activations, as large models have them. */
export const claim: Claim = {
  name: 'smooth-quant',
  async measure(gpu) {
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const graph = graphOf(original.config, 'config.json');
    const weights = await dequantizedWeights(original, graph);
    const smoothed = await smoothedBy(gpu, original, graph, weights);
    // The same function: factors that only make some activations large, and the columns that read them small.
    const rough = moved(graph, weights, (channel) => (isOutlier(channel) ? 1 / OUTLIER : 1));
    const again = await smoothedBy(gpu, original, graph, rough);
    const results: Measurement[] = [
      same(graph, 'the smoothed model', weights, smoothed),
      same(graph, 'the model with outliers, smoothed', weights, again),
    ];
    const [plain, after] = [
      await increase(gpu, original, graph, weights),
      await increase(gpu, original, graph, smoothed),
    ];
    const [outliers, repaired] = [
      await increase(gpu, original, graph, rough),
      await increase(gpu, original, graph, again),
    ];
    await original.close();
    const percent = (x: number) => `${(100 * x).toFixed(3)}%`;
    results.push(
      {
        claim: 'perplexity increase with w8a8, smoothed',
        threshold: 'under 1%',
        measured: `${percent(after)} (not smoothed ${percent(plain)})`,
        pass: after < 0.01,
      },
      {
        claim: `perplexity increase with w8a8, activations with outliers ${OUTLIER} times as large, smoothed`,
        threshold: 'under 1%, and a tenth of that without',
        measured: `${percent(repaired)} (not smoothed ${percent(outliers)})`,
        pass: repaired < 0.01 && repaired < outliers / 10,
      },
    );
    return results;
  },
};

/** The model with factors moved between each norm and what reads it. */
function moved(graph: Graph, weights: Weights, factor: (channel: number) => number): Weights {
  const changed = new Map<string, Float32Array>();
  const now: Weights = (name) => changed.get(name) ?? weights(name);
  for (const folding of findScaleFoldings(graph)) {
    if (folding.into.kind !== 'norm') continue;
    const factors = Float32Array.from({ length: folding.channels }, (_, channel) => factor(channel));
    for (const [name, values] of foldScales(folding, factors, now)) changed.set(name, values);
  }
  return now;
}

/** The weights as a folder in f32. */
async function folderOf(original: Checkpoint, graph: Graph, weights: Weights): Promise<ModelFiles> {
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

/** The weights smoothed by what the calibration text shows. */
async function smoothedBy(gpu: Gpu, original: Checkpoint, graph: Graph, weights: Weights): Promise<Weights> {
  const tokens = tokensOf('calibration');
  const windows = Array.from({ length: 64 }, (_, i) => Uint32Array.from(tokens.subarray(256 * i, 256 * (i + 1))));
  const sink = memorySink();
  await calibrate(await folderOf(original, graph, weights), sink, { gpu, calibration: { windows } });
  const statistics = await readStatistics(memorySource('statistics', sink.bytes()));
  const maxima = new Map<string, Float32Array>();
  for (const entry of statistics.header.inputs) {
    const found = await statistics.load(gpu, { ...entry, at: 0, layer: undefined });
    maxima.set(entry.input, (await found.columns()).absMax);
    found.release();
  }
  await statistics.close();
  const changed = smooth(graph, weights, (input) => maxima.get(input));
  return (name) => changed.get(name) ?? weights(name);
}

/** How far the logits of two models are apart, in f64. */
function same(graph: Graph, what: string, weights: Weights, others: Weights): Measurement {
  const tokens = [...tokensOf('validation').subarray(0, TOKENS)];
  const [a, b] = [weights, others].map((of) => new ReferenceRun(graph, of).forward(tokens)) as [
    Float64Array,
    Float64Array,
  ];
  const largest = a.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const worst = a.reduce((most, x, i) => Math.max(most, Number.isFinite(b[i]!) ? Math.abs(x - b[i]!) : Infinity), 0);
  return {
    claim: `logits of ${what} against the original's, relative to the largest`,
    threshold: 'under 1e-4',
    measured: (worst / largest).toExponential(1),
    pass: worst / largest < 1e-4,
  };
}

/** Increase in perplexity of a model in w8a8. */
async function increase(gpu: Gpu, original: Checkpoint, graph: Graph, weights: Weights): Promise<number> {
  const model = await folderOf(original, graph, weights);
  const output = memoryOutput();
  await compress(model, output, { gpu, format: 'w8a8' });
  const compressed = await openCheckpoint(memoryFolder('w8a8', Object.fromEntries(output.files)));
  const tokens = tokensOf('validation');
  const { accuracy } = await verify(await openCheckpoint(model), compressed, {
    gpu,
    tokens,
    windows: 16,
    speed: false,
  });
  return accuracy!.perplexity.compressed! / accuracy!.perplexity.original - 1;
}
