import { compress, httpFolder, memoryOutput, openGpu, type Recipe } from 'compressa';

const RECIPE: Recipe = {
  version: 1,
  rules: [{ match: '*', role: 'linear', format: 'q4_0', prune: { pattern: '2:4' } }],
};

/** Prunes and quantizes the sample model once to compile, and once more as it is measured. @returns milliseconds of the second time */
export async function compressSample(url: string, begins: () => void): Promise<number> {
  const gpu = await openGpu();
  const once = () => compress(httpFolder(url), memoryOutput(), { gpu, recipe: RECIPE });
  await once();
  begins();
  const started = performance.now();
  await once();
  const took = performance.now() - started;
  gpu.close();
  return took;
}
