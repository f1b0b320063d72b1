import {
  type Checkpoint,
  calibrate,
  compress,
  dequantizedWeights,
  type Gpu,
  type Graph,
  graphOf,
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
} from 'compressa';
import { folderOf, OUTLIER, type Weights, withOutliers } from '../changed-model.ts';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { calibrationWindows, sampleTokens } from '../model-quality.ts';

/** Tokens whose logits are compared in f64. */
const TOKENS = 48;

/** What SmoothQuant does to the sample model, and to the same model with outliers in its activations, as large models have them. */
export const claim: Claim = {
  name: 'smooth-quant',
  async *measure(gpu, takes) {
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const graph = graphOf(original.config, 'config.json');
    const weights = await dequantizedWeights(original, graph);
    const percent = (x: number) => `${(100 * x).toFixed(3)}%`;
    if (takes('sample')) {
      const smoothed = await smoothedBy(gpu, original, graph, weights);
      const plain = await increase(gpu, original, graph, weights);
      const after = await increase(gpu, original, graph, smoothed);
      yield same(graph, 'the smoothed model', weights, smoothed);
      yield {
        claim: 'perplexity increase with w8a8, smoothed',
        threshold: 'under 1%',
        measured: `${percent(after)} (not smoothed ${percent(plain)})`,
        pass: after < 0.01,
      };
    }
    if (takes('outliers')) {
      const rough = withOutliers(graph, weights);
      const again = await smoothedBy(gpu, original, graph, rough);
      const outliers = await increase(gpu, original, graph, rough);
      const repaired = await increase(gpu, original, graph, again);
      yield same(graph, 'the model with outliers, smoothed', weights, again);
      yield {
        claim: `perplexity increase with w8a8, activations with outliers ${OUTLIER} times as large, smoothed`,
        threshold: 'under 1%, and a tenth of that without',
        measured: `${percent(repaired)} (not smoothed ${percent(outliers)})`,
        pass: repaired < 0.01 && repaired < outliers / 10,
      };
    }
    await original.close();
  },
};

/** The weights smoothed by what the calibration text shows. */
async function smoothedBy(gpu: Gpu, original: Checkpoint, graph: Graph, weights: Weights): Promise<Weights> {
  const sink = memorySink();
  await calibrate(await folderOf(original, graph, weights), sink, {
    gpu,
    calibration: { windows: calibrationWindows() },
  });
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
  const tokens = [...sampleTokens('validation').subarray(0, TOKENS)];
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
  const tokens = sampleTokens('validation');
  const { accuracy } = await verify(await openCheckpoint(model), compressed, {
    gpu,
    tokens,
    windows: 16,
    speed: false,
  });
  return accuracy!.perplexity.compressed! / accuracy!.perplexity.original - 1;
}
