import {
  type CompressReport,
  compress,
  dequantizedWeights,
  type Gpu,
  graphOf,
  type Method,
  type ModelFiles,
  memoryFolder,
  memoryOutput,
  nodeFolder,
  openCheckpoint,
  verify,
} from 'compressa';
import { folderOf, OUTLIER, withOutliers } from '../changed-model.ts';
import { type Claim, type Measurement, SAMPLE_MODEL } from '../claim.ts';
import { calibrationWindows, sampleTokens } from '../model-quality.ts';

const FORMAT = 'int3-g64-asym';
/** Of calibration: factors of channels need fewer than codes do. */
const WINDOWS = 16;

/** What AWQ gains on the sample model at three bits, and on the same model with outliers in its activations, as large models have them. */
export const claim: Claim = {
  name: 'awq',
  async *measure(gpu, takes) {
    const original = await openCheckpoint(await nodeFolder(SAMPLE_MODEL));
    const graph = graphOf(original.config, 'config.json');
    const weights = await dequantizedWeights(original, graph);
    const rough = await folderOf(original, graph, withOutliers(graph, weights));
    await original.close();
    if (takes('sample')) yield* await compare(gpu, 'the sample model', await nodeFolder(SAMPLE_MODEL));
    if (takes('outliers')) yield* await compare(gpu, `with outliers ${OUTLIER} times as large`, rough);
  },
};

async function compare(gpu: Gpu, what: string, model: ModelFiles): Promise<Measurement[]> {
  const by = async (method: Method) => {
    const output = memoryOutput();
    const report = await compress(model, output, {
      gpu,
      format: FORMAT,
      method,
      calibration: { windows: calibrationWindows().slice(0, WINDOWS) },
    });
    const compressed = await openCheckpoint(memoryFolder(method, Object.fromEntries(output.files)));
    const before = await openCheckpoint(model);
    const { accuracy } = await verify(before, compressed, {
      gpu,
      tokens: sampleTokens('validation'),
      windows: 16,
      speed: false,
    });
    await Promise.all([before.close(), compressed.close()]);
    const { original, compressed: after, control } = accuracy!.perplexity;
    return { increase: after! / original - 1, control: control! / original - 1, lost: lostBy(report) };
  };
  const [rtn, search, awq] = [await by('rtn'), await by('search'), await by('awq')];
  const percent = (x: number) => `${(100 * x).toFixed(3)}%`;
  const least = Math.min(rtn.increase, search.increase);
  return [
    {
      claim: `perplexity increase, ${FORMAT}, ${what}`,
      threshold: 'less than by rounding and by searched scales; control at least 100 times',
      measured: `awq ${percent(awq.increase)}, rounded ${percent(rtn.increase)}, searched ${percent(search.increase)}; rows shuffled ${percent(awq.control)}`,
      pass: awq.increase < least && awq.control > 100 * awq.increase,
    },
    {
      claim: `error of the outputs on the calibration, ${FORMAT}, ${what}`,
      threshold: 'less than by rounding and by searched scales',
      measured: `awq ${percent(awq.lost)}, rounded ${percent(rtn.lost)}, searched ${percent(search.lost)}`,
      pass: awq.lost < Math.min(rtn.lost, search.lost),
    },
  ];
}

/** Mean over the matrices of tr(ΔW H ΔWᵀ) / tr(W H Wᵀ). */
function lostBy({ tensors }: CompressReport): number {
  const errors = tensors.flatMap(({ error }) => (error ? [error.chosen] : []));
  return errors.reduce((sum, error) => sum + error, 0) / errors.length;
}
