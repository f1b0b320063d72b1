import { isSparse } from '../formats/format.ts';
import { formatBytes } from '../formats/layout.ts';
import { codeBytes } from '../formats/w8a8.ts';
import type { Gpu } from '../gpu/gpu.ts';
import { Scratch } from '../gpu/scratch.ts';
import type { LinearNeed } from '../graph/variant-choice.ts';
import {
  integerKernel,
  integerLinearSteps,
  integerVariants,
  multipliesPacked,
  quantizeActivationsStep,
  usualIntegerVariant,
} from '../kernels/integer-linear.ts';
import { linearSteps } from '../kernels/linear.ts';
import { linearCandidates, linearVariants, usualVariant } from '../kernels/linear-variants.ts';
import { packedProducts } from '../kernels/packed-products.ts';
import { allocateWeight, type Weight } from '../kernels/weight.ts';
import { fillWeight } from '../verify/synthetic-weights.ts';
import { releaseWeights } from '../verify/with-decoder.ts';
import { kernelVersion } from './kernel-version.ts';
import { copiesOf, type Work, type WorkContext, workInput } from './work.ts';

/** Names of the variants that multiply so on this device, the usual one first. */
export function linearNames(gpu: Gpu, need: LinearNeed): string[] {
  const { activations: integers } = need.format;
  if (isSparse(need.format)) {
    const usual = packedProducts().usualVariantOf(gpu, need, need.format);
    const all = packedProducts().variantsOf(gpu, need, need.format);
    return [usual, ...all.flatMap(({ name }) => (name === usual ? [] : [name]))];
  }
  const usual = integers ? usualIntegerVariant(gpu, need) : usualVariant(gpu, need, need.format);
  const all = linearCandidates(gpu, need, integers ? integerVariants : linearVariants).map(({ name }) => name);
  return [usual, ...all.filter((name) => name !== usual)];
}

/** What they run. */
export function linearVersion(gpu: Gpu, need: LinearNeed): string {
  const { format } = need;
  if (isSparse(format)) return kernelVersion(packedProducts().variantsOf(gpu, need, format));
  const list = format.activations ? integerVariants : linearVariants;
  const steps = linearNames(gpu, need).map((name) => {
    const variant = list.find((one) => one.name === name)!;
    // Products of integers read codes as words, whatever the format's own file says.
    const kernel = format.activations
      ? integerKernel(variant, need, multipliesPacked(gpu))
      : { ...variant.kernel(need), format: format.shader };
    return { kernel, grid: variant.grid(need) };
  });
  return kernelVersion(steps);
}

/** Products of a shape with synthetic weights, by the variants that a tuner looks at or by some of them. @throws OutOfMemoryError where not even one fits */
export async function linearWork(
  { gpu, maker }: WorkContext,
  need: LinearNeed,
  variants: readonly string[] = linearNames(gpu, need),
): Promise<Work> {
  const { format, rows, k, tokens } = need;
  const bytes = formatBytes(format, rows, k);
  const block = await maker.block(format, k);
  const scratch = new Scratch(gpu);
  const weights: Weight[] = [];
  const release = () => {
    releaseWeights(weights);
    scratch.release();
  };
  try {
    const copies = copiesOf(gpu, bytes);
    await gpu.guard('Weights to tune with', () => {
      for (let copy = 0; copy < copies; copy++) {
        const weight = allocateWeight(gpu, format, rows, k, `copy ${copy}`);
        weights.push(weight);
        fillWeight(gpu, weight, block);
      }
    });
    const x = scratch.upload(workInput(tokens * k, 7), 'x');
    const size = 4 * tokens * rows;
    const y = { ...scratch.room(size, 'y'), size };
    const common = { y, tokens };
    const products = isSparse(format) ? packedProducts().productSteps : linearSteps;
    let steps = (variant: string, weight: Weight) => products({ ...common, x, weight, variant });
    if (format.activations) {
      const codes = scratch.room(tokens * codeBytes(k), 'codes');
      const scales = scratch.room(4 * tokens, 'scales');
      await gpu.scheduler.run([quantizeActivationsStep({ x, to: { codes, scales }, tokens, k })]);
      const packed = multipliesPacked(gpu);
      steps = (variant, weight) => integerLinearSteps({ ...common, x: { codes, scales }, weight, variant, packed });
    }
    return {
      variants,
      copies,
      out: y,
      steps: (variant, copy) => steps(variant, weights[copy]!),
      release,
    };
  } catch (error) {
    release();
    throw error;
  }
}
