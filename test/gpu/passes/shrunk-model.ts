import { openCheckpoint } from '../../../src/files/checkpoint.ts';
import { memoryFolder } from '../../../src/files/model-files.ts';
import { memoryOutput } from '../../../src/files/sink.ts';
import type { Gpu } from '../../../src/gpu/gpu.ts';
import { compress } from '../../../src/passes/compress.ts';
import { dequantizedWeights } from '../../../src/passes/load-weights.ts';
import { modelGraph } from '../../../src/passes/model-graph.ts';
import type { Recipe } from '../../../src/passes/recipe.ts';
import type { ShrinkRule } from '../../../src/passes/shrinking/shrinking.ts';
import { checkWeight } from '../../../src/passes/stored-weight.ts';
import { modelFolder, smallConfig, windowsOf } from '../small-model.ts';

/** What the models are calibrated with. */
export const windows = windowsOf(101);

/** A recipe that shrinks, and stores linear matrices in a format. */
export const recipeOf = (shrink: ShrinkRule, format = 'keep'): Recipe => ({
  version: 1,
  rules: [{ match: '*', role: 'linear', format }],
  shrink,
});

/** A model that was shrunk: its graph, values and the report. */
export async function shrunk(gpu: Gpu, shrink: ShrinkRule, { settings = smallConfig(), format = 'keep' } = {}) {
  const model = await modelFolder(settings);
  const output = memoryOutput();
  const recipe = recipeOf(shrink, format);
  const report = await compress(model.open(), output, { gpu, recipe, calibration: { windows } });
  const files = Object.fromEntries(output.files);
  const checkpoint = await openCheckpoint(memoryFolder('shrunk', files), { checkWeight });
  const graph = modelGraph(checkpoint);
  return { model, report, files, graph, values: await dequantizedWeights(checkpoint, graph), checkpoint };
}
