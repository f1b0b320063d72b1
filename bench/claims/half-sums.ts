import { Decoder, type Gpu, nodeFolder, openModel, scoreWindows } from 'compressa';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { validationWindows } from '../model-quality.ts';

/** How much the perplexity may change, either way: what f16 rounds off is far below what any format of weights does. */
const MOST = 0.001;

/**
 * What sums in f16, 32 columns at a time, cost the sample model over 16 windows of its validation text, weights as they are.
 */
export const claim: Claim = {
  name: 'half sums',
  async measure(gpu) {
    const claim = 'perplexity with products summed in f16';
    const threshold = `within ${100 * MOST}% of f32, and not the same`;
    if (!gpu.features.has('shader-f16')) {
      return [{ claim, threshold, measured: 'this device has no shader-f16', pass: false }];
    }
    const windows = validationWindows();
    const exact = await perplexityOf(gpu, 'f32', windows);
    const half = await perplexityOf(gpu, 'f16', windows);
    const change = half / exact - 1;
    const measurement: Measurement = {
      claim,
      threshold,
      measured: `${half.toFixed(5)} beside ${exact.toFixed(5)}: ${(100 * change).toFixed(4)}%`,
      pass: Math.abs(change) <= MOST && change !== 0,
    };
    return [measurement];
  },
};

async function perplexityOf(gpu: Gpu, sums: 'f32' | 'f16', windows: readonly Uint32Array[]): Promise<number> {
  const model = await openModel(await nodeFolder(SAMPLE_MODEL), { gpu, maxPositions: 1 });
  const decoder = new Decoder(gpu, model.graph, model.weights, { sums, maxPositions: windows[0]!.length });
  try {
    return (await scoreWindows(decoder, decoder, windows)).perplexity.original;
  } finally {
    decoder.release();
    await model.close();
  }
}
