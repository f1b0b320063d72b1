import { Decoder, type Gpu, type Graph, nodeFolder, openModel, scoreWindows } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { validationWindows } from '../model-quality.ts';

type CacheType = 'f32' | 'f16' | 'int8' | 'int4';

const MOST_INT8 = 0.002;

/**
 * What rounding keys and values costs the sample model, weights as they are, over 16 windows of 256 tokens of its validation text. The control, whose tokens see
 * only their own keys and values, must fail: it shows that the score depends on what is cached.
 */
export const claim: Claim = {
  name: 'key and value cache',
  async measure(gpu) {
    const windows = validationWindows();
    const exact = await perplexityOf(gpu, 'f32', windows);
    const increase = async (cache: CacheType, change?: (graph: Graph) => Graph) =>
      (await perplexityOf(gpu, cache, windows, change)) / exact - 1;
    const measurements: Measurement[] = [];
    for (const cache of ['f16', 'int8', 'int4'] as const) {
      const measured = await increase(cache);
      measurements.push({
        claim: `perplexity with keys and values in ${cache} over f32 (${exact.toFixed(4)})`,
        threshold: cache === 'int4' ? 'reported' : `below +${100 * MOST_INT8}%`,
        measured: `${measured < 0 ? '' : '+'}${(100 * measured).toFixed(4)}%`,
        pass: cache === 'int4' ? Number.isFinite(measured) : measured < MOST_INT8,
      });
    }
    const control = await increase('int8', alone);
    measurements.push({
      claim: 'the control, in int8, each token seeing only itself',
      threshold: `above +${100 * MOST_INT8}%`,
      measured: `+${(100 * control).toFixed(1)}%`,
      pass: control > MOST_INT8,
    });
    return measurements;
  },
};

const alone = (graph: Graph): Graph => ({
  ...graph,
  operations: graph.operations.map((one) => (one.op === 'attention' ? { ...one, window: 1 } : one)),
});

async function perplexityOf(
  gpu: Gpu,
  cache: CacheType,
  windows: readonly Uint32Array[],
  change: (graph: Graph) => Graph = (graph) => graph,
): Promise<number> {
  const model = await openModel(await nodeFolder(SAMPLE_MODEL), { gpu, maxPositions: 1 });
  const maxPositions = windows[0]!.length;
  const options = { cache, maxPositions };
  const decoder = new Decoder(gpu, change(model.graph), model.weights, options);
  try {
    return (await scoreWindows(decoder, decoder, windows)).perplexity.original;
  } finally {
    decoder.release();
    await model.close();
  }
}
